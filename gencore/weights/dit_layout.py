"""The published layout of DiT's trunk, shared by SiT and VDT, and the sizes that its shapes tell (arXiv:2212.09748)."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from torch import Tensor

from gencore.backbone import Backbone
from gencore.errors import CheckpointError, InputError
from gencore.loading import load_strict
from gencore.nn.embed import sincos_grid
from gencore.weights.files import read_checkpoint, select_state_dict
from gencore.weights.importer import looks_like
from gencore.weights.keymap import Keymap, Rule

RULES: list[Rule] = [
    (r"x_embedder\.proj\.(weight|bias)", r"patch_embed.\1"),
    (r"t_embedder\.mlp\.(0|2)\.(weight|bias)", r"time_embed.mlp.\1.\2"),
    (r"y_embedder\.embedding_table\.weight", r"conditioners.label.table.weight"),
    (r"blocks\.(\d+)\.attn\.(qkv|proj)\.(weight|bias)", r"blocks.\1.attn.\2.\3"),
    (r"blocks\.(\d+)\.mlp\.(fc1|fc2)\.(weight|bias)", r"blocks.\1.mlp.\2.\3"),
    (r"blocks\.(\d+)\.adaLN_modulation\.1\.(weight|bias)", r"blocks.\1.modulation.\2"),
    (r"final_layer\.linear\.(weight|bias)", r"final.\1"),
    (r"final_layer\.adaLN_modulation\.1\.(weight|bias)", r"final_modulation.\1"),
]
"""From the published names to those of `gencore.backbones.dit`."""
REBUILT = {r"pos_embed": "rebuilt for any grid, and compared with ours"}
PATCH, TABLE, POSITIONS = "x_embedder.proj.weight", "y_embedder.embedding_table.weight", "pos_embed"
_NEEDED = (PATCH, TABLE, POSITIONS, "blocks.0.mlp.fc1.weight", "final_layer.linear.weight")


@dataclass(frozen=True)
class Official:
    """A file of this layout, with what its shapes tell.

    Args:
        state: the tensors by their published names.
        chosen: which of several state dicts they are.
        options: what its training script had been asked, where the file says.
        rows: of the label table.
        side: of the square grid of tokens.
        table: (N, width) trained positions of that grid; None where they are the fixed table.
        outputs: channels of the output per channel of the state, 1 or 2.
    """

    state: dict[str, Tensor]
    chosen: str
    options: Mapping[str, Any]
    width: int
    channels: int
    patch: int
    depth: int
    mlp_ratio: float
    rows: int
    side: int
    table: Tensor | None
    outputs: int
    hint: str

    def heads(self, sizes: Mapping[str, Mapping[str, int]], heads: int | None) -> int:
        """`heads`, or those of the published size of this width.

        Raises:
            InputError: neither is known, or they do not divide the width.
        """
        known = {size["width"]: size["heads"] for size in sizes.values()}
        found = known.get(self.width) if heads is None else heads
        if found is None or found < 1 or self.width % found:
            raise InputError("heads", found or "nothing", f"a divisor of the width {self.width}",
                             "no shape tells: --heads N")  # fmt: skip
        return found


def read_official(path: str | Path, keys: Keymap, system: str, accepted: str, *, trained: bool = False) -> Official:
    """What a file of this layout holds: a bare state dict, or {ema, model, opt, args}; the EMA is preferred.

    Args:
        keys: every name the layout may have.
        system: the importer's name, and `accepted` its files, for errors.
        trained: accept positions other than the fixed table.

    Raises:
        CheckpointError: damaged, unsafe, or of another layout; the error names the keys and the importer that fits.
    """
    checkpoint = read_checkpoint(path)
    state, chosen = select_state_dict(checkpoint)
    hint = looks_like(state, system)
    faults = {"unexpected": keys.unmatched(state), "missing": [name for name in _NEEDED if name not in state]}
    told = [f"{what}: {', '.join(names[:4])}{' ...' * (len(names) > 4)}" for what, names in faults.items() if names]
    if told:
        raise CheckpointError("checkpoint", f"weights of another layout ({'; '.join(told)})", accepted, hint)
    args = checkpoint.get("args")
    width, channels, patch = _patch(state[PATCH])
    ratio = len(state["blocks.0.mlp.fc1.weight"]) / width
    if int(width * ratio) * width != state["blocks.0.mlp.fc1.weight"].numel():
        ratio = math.nextafter(ratio, math.inf)
    outputs, rest = divmod(len(state["final_layer.linear.weight"]), patch * patch * channels)
    if rest or outputs not in (1, 2):
        raise CheckpointError("checkpoint", f"{len(state['final_layer.linear.weight'])} outputs a token",
                              f"{patch * patch} cells of {channels} or {2 * channels} channels")  # fmt: skip
    side = _side(state[POSITIONS], width)
    table = state[POSITIONS][0] if trained and _gap(state[POSITIONS][0], sincos_grid((side, side), width)) else None
    if table is None:
        require_table(POSITIONS, state[POSITIONS][0], sincos_grid((side, side), width))
    return Official(
        state=state, chosen=chosen or "bare state dict",
        options=vars(args) if isinstance(args, argparse.Namespace) else {}, width=width, channels=channels,
        patch=patch, depth=1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks.")),
        mlp_ratio=ratio, rows=len(state[TABLE]), side=side, table=table, outputs=outputs, hint=hint,
    )  # fmt: skip


def load_official(net: Backbone, file: Official, keys: Keymap) -> None:
    """Load the tensors of `file` into `net`, every one and into every parameter.

    Raises:
        CheckpointError: names or shapes that do not fit, or values that are not finite.
    """
    source = {**file.state, PATCH: file.state[PATCH].flatten(1)}
    own = {} if file.table is None else {"table": file.table}
    shapes = {k: v.shape for k, v in net.state_dict().items() if k not in own}
    load_strict(net, {**keys.apply(source, shapes, file.hint), **own})


def size_name(sizes: Mapping[str, Mapping[str, int]], config: Mapping[str, Any], patch: int) -> str:
    """The published name of a size, ``XL/2``, or its numbers."""
    for name, size in sizes.items():
        if all(config[key] == value for key, value in size.items()):
            return f"{name.upper()}/{patch}"
    return f"width {config['width']} depth {config['depth']} heads {config['heads']} patch {patch}"


def _patch(weight: Tensor) -> tuple[int, int, int]:
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise CheckpointError("checkpoint", f"{PATCH} {tuple(weight.shape)}", "(width, channels, patch, patch)")
    return weight.shape[0], weight.shape[1], weight.shape[2]


def _side(table: Tensor, width: int) -> int:
    """The side of the square grid of tokens."""
    tokens = table.shape[-2] if table.ndim > 1 else 0
    side = isqrt(tokens)
    if not side or tuple(table.shape) != (1, side * side, width):
        raise CheckpointError("checkpoint", f"{POSITIONS} {tuple(table.shape)}", f"(1, N, {width}) of a square grid")
    return side


def require_table(name: str, table: Tensor, ours: Tensor) -> None:
    """Refuse a file whose fixed table is not `ours`.

    Raises:
        CheckpointError: it is not.
    """
    if gap := _gap(table, ours):
        raise CheckpointError("checkpoint", f"{name} {gap:.2g} away from the sin-cos table", "the fixed table")


def _gap(table: Tensor, ours: Tensor) -> float:
    """The largest difference, or 0 where rounding explains it."""
    gap = (table.float() - ours).abs().max().item()
    # Half-precision files round the table by up to 2^-9.
    return 0.0 if gap <= (1e-5 if table.dtype.itemsize >= 4 else 4e-3) else gap
