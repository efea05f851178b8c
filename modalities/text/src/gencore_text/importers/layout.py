"""How MDLM and EDLM checkpoints name their tensors, and in which order their modules own their parameters.

MDLM (arXiv:2406.07524) and EDLM (arXiv:2410.21357) write the same blocks under several roots: ``backbone.`` for a
denoiser or an autoregressive network, ``ebm.`` for an energy, which EDLM stores a second time as ``backbone.ebm.``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from gencore.errors import CheckpointError, InputError
from gencore.nn.rope import Rope
from gencore.weights.keymap import Keymap, Rule

Part = Literal["denoiser", "energy", "ar"]
IMPORTERS: Mapping[Part, str] = {"denoiser": "mdlm", "energy": "edlm-energy", "ar": "mdlm-ar"}
"""The importer of each kind of network."""

_BLOCK = r"blocks\.(\d+)\."
_MODULES = ("vocab_embed", "sigma_map", "rotary_emb", "blocks", "output_layer", "vocab_proj", "energy_head")
_ROOT = re.compile(rf"((?:\w+\.)*?)((?:{'|'.join(_MODULES)})\..+)")
_TOKENS: list[Rule] = [(r"vocab_embed\.embedding", "tokens.weight")]
_BODY: list[Rule] = [
    (_BLOCK + r"norm(1|2)\.weight", r"blocks.\1.norm\2.weight"),
    (_BLOCK + r"attn_qkv\.weight", r"blocks.\1.attn.qkv.weight"),
    (_BLOCK + r"attn_out\.weight", r"blocks.\1.attn.proj.weight"),
    (_BLOCK + r"mlp\.0\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (_BLOCK + r"mlp\.2\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
]
_ADALN: list[Rule] = [
    (r"sigma_map\.mlp\.(0|2)\.(weight|bias)", r"time_embed.mlp.\1.\2"),
    (_BLOCK + r"adaLN_modulation\.(weight|bias)", r"blocks.\1.modulation.\2"),
]
_IGNORE = {r"rotary_emb\.inv_freq": "rebuilt, and compared with ours"}


def _readout(name: str, adaln: bool) -> list[Rule]:
    rules = [(r"output_layer\.norm_final\.weight", f"{name}.norm.weight"),
             (r"output_layer\.linear\.(weight|bias)", rf"{name}.linear.\1")]  # fmt: skip
    return [*rules, (r"output_layer\.adaLN_modulation\.(weight|bias)", rf"{name}.modulation.\1")] if adaln else rules


KEYS: Mapping[Part, Keymap] = {
    "denoiser": Keymap([*_TOKENS, *_BODY, *_ADALN, *_readout("final", True)], _IGNORE),
    "ar": Keymap([*_TOKENS, *_BODY, *_readout("final", False)], _IGNORE),
    "energy": Keymap(
        [*_TOKENS, *_BODY, *_ADALN, *_readout("readout", True), (r"vocab_proj\.(weight|bias)", r"join.\1"),
         (r"energy_head\.0\.(weight|bias)", r"out.0.\1"), (r"energy_head\.2\.weight", "out.2.weight")],
        _IGNORE,
    ),
}  # fmt: skip


def whole_names(part: Part) -> Keymap:
    """The names of `part` as files have them, roots and all, to tell one file from another."""
    keys = KEYS[part]
    return Keymap([(rf"(?:\w+\.)*?{name}", new) for name, new in keys.rules],
                  {rf"(?:\w+\.)*?{name}": why for name, why in keys.ignore.items()})  # fmt: skip


def split_roots(names: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """``({root: names without it}, names of no known module)``, both in the order of the file.

    >>> split_roots(["backbone.vocab_embed.embedding", "backbone.ebm.vocab_proj.bias", "step"])
    ({'backbone.': ['vocab_embed.embedding'], 'backbone.ebm.': ['vocab_proj.bias']}, ['step'])
    """
    roots: dict[str, list[str]] = {}
    rest = []
    for name in names:
        if match := _ROOT.fullmatch(name):
            roots.setdefault(match[1], []).append(match[2])
        else:
            rest.append(name)
    return roots, rest


def part_of(names: Sequence[str]) -> Part:
    """Which network a root's names make: an energy joins two embeddings, and only a denoiser then knows a time."""
    modules = {name.partition(".")[0] for name in names}
    if modules & {"vocab_proj", "energy_head"}:
        return "energy"
    return "denoiser" if "sigma_map" in modules else "ar"


def in_module_order(names: Iterable[str]) -> list[str]:
    """A root's parameters as its module owns them, buffers left out: the order of the nameless average."""
    block = ("norm1", "attn_qkv", "attn_out", "norm2", "mlp", "adaLN_modulation")
    inner = ("norm_final", "linear", "adaLN_modulation")

    def rank(name: str) -> tuple[int, ...]:
        module, *rest = name.split(".")
        kind = int(name.endswith(".bias"))
        if module == "blocks":
            layer = int(rest[2]) if rest[1] == "mlp" else 0
            return _MODULES.index(module), int(rest[0]), block.index(rest[1]), layer, kind
        if module == "output_layer":
            return _MODULES.index(module), inner.index(rest[0]), kind
        numbers = [int(word) for word in rest if word.isdecimal()]
        return _MODULES.index(module), *numbers, kind

    return sorted((name for name in names if not name.startswith("rotary_emb.")), key=rank)


def sizes(tensors: Mapping[str, Tensor], heads: int | None) -> dict[str, int | float]:
    """``vocab``, ``width``, ``depth``, ``heads``, ``mlp_ratio`` and, with a time, ``cond_dim``, from the shapes.

    Args:
        tensors: of one root, under the names of the file.
        heads: where the rotary buffer does not tell.

    Raises:
        CheckpointError: tensors that make no such network.
        InputError: heads that nothing tells, or that differ from what the file does.
    """
    needed = ("vocab_embed.embedding", "blocks.0.mlp.0.weight", "output_layer.linear.weight")
    if missing := [name for name in needed if name not in tensors or tensors[name].ndim != 2]:
        raise CheckpointError("checkpoint", f"weights without {', '.join(missing)}", "the names of an MDLM network")
    vocab, width = tensors[needed[0]].shape
    found: dict[str, int | float] = {
        "vocab": vocab, "width": width, "heads": _heads(width, tensors.get("rotary_emb.inv_freq"), heads),
        "depth": 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")),
        "mlp_ratio": len(tensors[needed[1]]) / width,
    }  # fmt: skip
    if "sigma_map.mlp.2.weight" in tensors:
        found["cond_dim"] = len(tensors["sigma_map.mlp.2.weight"])
    return found


def _heads(width: int, frequencies: Tensor | None, heads: int | None) -> int:
    known = {512: 8, 768: 12, 1024: 16}.get(width)
    told = None
    if frequencies is not None:
        features = 2 * frequencies.numel()
        told, rest = divmod(width, features)
        ours = Rope(features, layout="half").freqs
        # Half-precision files round the frequencies.
        limit = 1e-5 if frequencies.dtype in (torch.float32, torch.float64) else 4e-3
        if rest or (frequencies.flatten().float() - ours).abs().max() > limit:
            raise CheckpointError(
                "checkpoint", "rotary_emb.inv_freq of another kind", "rotary frequencies of base 10000"
            )
        if heads not in (None, told):
            raise InputError("heads", heads, f"{told}, as the file's rotary frequencies tell")
    found = told or heads or known
    if found is None or found < 1 or width % (2 * found):
        raise InputError(
            "heads", found or "nothing", f"a divisor of half the width {width}", "no shape tells: --heads N"
        )
    return found
