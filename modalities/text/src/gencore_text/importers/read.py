"""One network out of an MDLM or EDLM checkpoint, under the names of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from gencore.backbone import Backbone
from gencore.errors import CheckpointError
from gencore.loading import load_strict
from gencore.weights.files import select_state_dict
from gencore.weights.importer import looks_like
from gencore_text.importers.layout import IMPORTERS, KEYS, Part, part_of, sizes, split_roots
from gencore_text.importers.lightning import averaged, options, read_training_file, stripped

Weights = Literal["ema", "raw"]


@dataclass(frozen=True)
class Read:
    """A network's tensors and what the file says of it.

    Args:
        tensors: under the file's names without their root.
        sizes: of `gencore_text.importers.layout.sizes`.
        said: the file's own options: ``time_conditioning``, ``schedule``, ``parameterization``, ``length``,
            ``subs_masking``, as far as it has them.
        notes: what a user should know of the file.
    """

    tensors: Mapping[str, Tensor]
    sizes: Mapping[str, Any]
    said: Mapping[str, Any]
    notes: list[str]


def read_part(path: str | Path, part: Part, *, weights: Weights | None = None, heads: int | None = None) -> Read:
    """The network of kind `part` in a Lightning .ckpt, a Hugging Face folder, or a bare state dict.

    Args:
        weights: "ema" or "raw"; None takes the average where the file has one.
        heads: where neither the file nor its shapes tell.

    Raises:
        CheckpointError: damaged, unsafe, of another layout, or without such a network; the error names what is left
            over and the importer that fits.
    """
    path = Path(path)
    checkpoint = read_training_file(path)
    state, _ = select_state_dict(checkpoint, ("state_dict", "model"))
    notes: list[str] = []
    state = stripped(state, notes.append)
    said = {**_configuration(path), **_training_options(options(checkpoint))}
    state, which = _weights(checkpoint, state, weights)
    roots, rest = split_roots(state)
    if any(name.startswith("noise.") for name in rest):
        notes.append("noise.* is left: the schedule is an option (--schedule)")
        rest = [name for name in rest if not name.startswith("noise.")]
    if rest or not roots:
        given = f"weights of another layout (unexpected: {_few(rest or list(state))})"
        raise CheckpointError("checkpoint", given, "the names of MDLM or EDLM", looks_like(state, IMPORTERS[part]))
    doubled = _without_copies(roots, state)
    kinds: dict[str, Part] = {root: part_of(names) for root, names in roots.items()}
    root = _the_one(part, kinds)
    tensors = {name: state[root + name] for name in roots[root]}
    rebuilt = sum(name.startswith("rotary_emb.") for name in tensors)
    where = f"{root}*" if root else "the bare names"
    notes.append(f"{len(tensors) - rebuilt} tensors mapped, {rebuilt} rebuilt, 0 left over; {which} of {where} chosen")
    notes += [f"{other}* is the same network once more: read once" for other in doubled]
    notes += [f"{other}* is left: another network (gencore convert {IMPORTERS[kind]})"
              for other, kind in kinds.items() if other != root]  # fmt: skip
    return Read(tensors, sizes(tensors, heads or said.get("heads")), said, notes)


def load(net: Backbone, read: Read, part: Part) -> None:
    """The weights of `read` into `net`.

    Raises:
        CheckpointError: names or shapes that do not fit, or weights that are not finite.
    """
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    load_strict(net, KEYS[part].apply(read.tensors, shapes))


def _weights(checkpoint: Mapping[str, Any], state: dict[str, Tensor], weights: Weights | None
             ) -> tuple[dict[str, Tensor], str]:  # fmt: skip
    has = isinstance(checkpoint.get("ema"), Mapping)
    if weights == "raw" or (weights is None and not has):
        return state, "raw weights" if has else "the only weights"
    average = averaged(checkpoint, state)
    return {**state, **average}, f"the average (EMA, {len(average)} tensors in module order; --weights raw)"


def _without_copies(roots: dict[str, list[str]], state: Mapping[str, Tensor]) -> list[str]:
    """Drop roots that repeat another; the average covers ``backbone.`` alone, so ``backbone.ebm.`` stays."""
    gone = []
    for root in [r for r in roots if f"backbone.{r}" in roots and r != ""]:
        copy = f"backbone.{root}"
        if set(roots[root]) != set(roots[copy]):
            odd = sorted(set(roots[root]) ^ set(roots[copy]))
            raise CheckpointError("checkpoint", f"{root}* and {copy}* with {_few(odd)} in one only", "equal copies")
        gone.append(root)
        del roots[root]
    return gone


def _the_one(part: Part, kinds: Mapping[str, Part]) -> str:
    found = [root for root, kind in kinds.items() if kind == part]
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError("checkpoint", f"{len(found)} networks: {', '.join(found)}", f"one {part} network")
    others = sorted({f"gencore convert {IMPORTERS[kind]}" for kind in kinds.values()})
    raise CheckpointError("checkpoint", f"{', '.join(sorted(set(kinds.values())))} only", f"{_A[part]} network",
                          f"try {' or '.join(others)}")  # fmt: skip


_A: Mapping[Part, str] = {"denoiser": "a denoiser", "energy": "an energy", "ar": "an autoregressive"}


def _configuration(path: Path) -> dict[str, Any]:
    """What ``config.json`` beside Hugging Face weights says.

    Raises:
        CheckpointError: no JSON object.
    """
    file = (path if path.is_dir() else path.parent) / "config.json"
    if not file.is_file() or not (path.is_dir() or path.name in ("model.safetensors", "pytorch_model.bin")):
        return {}
    try:
        config = json.loads(file.read_text("utf-8"))
        names = {"n_heads": "heads", "model_length": "length", "time_conditioning": "time_conditioning"}
        return {new: config[old] for old, new in names.items() if config.get(old) is not None}
    except (OSError, ValueError, AttributeError, TypeError):
        raise CheckpointError("checkpoint", file, "a JSON object") from None


def _training_options(config: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "model.n_heads": "heads", "model.length": "length", "time_conditioning": "time_conditioning",
        "noise.type": "schedule", "parameterization": "parameterization", "subs_masking": "subs_masking",
        "training.change_of_variables": "change_of_variables",
    }  # fmt: skip
    return {new: config[old] for old, new in names.items() if old in config}


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
