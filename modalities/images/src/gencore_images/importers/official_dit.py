"""The checkpoint layout that DiT and SiT share, and its sizes, read from the shapes (arXiv:2212.09748, table 1)."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.denoised import Prediction
from gencore.errors import CheckpointError, InputError
from gencore.loading import load_strict
from gencore.nn.embed import sincos_grid
from gencore.nn.init import seeded
from gencore.weights.files import read_checkpoint, select_state_dict
from gencore.weights.importer import looks_like
from gencore.weights.keymap import Keymap
from gencore_images.presets import SIZES

KEYS = Keymap(
    [
        (r"x_embedder\.proj\.(weight|bias)", r"patch_embed.\1"),
        (r"t_embedder\.mlp\.(0|2)\.(weight|bias)", r"time_embed.mlp.\1.\2"),
        (r"y_embedder\.embedding_table\.weight", r"conditioners.label.table.weight"),
        (r"blocks\.(\d+)\.attn\.(qkv|proj)\.(weight|bias)", r"blocks.\1.attn.\2.\3"),
        (r"blocks\.(\d+)\.mlp\.(fc1|fc2)\.(weight|bias)", r"blocks.\1.mlp.\2.\3"),
        (r"blocks\.(\d+)\.adaLN_modulation\.1\.(weight|bias)", r"blocks.\1.modulation.\2"),
        (r"final_layer\.linear\.(weight|bias)", r"final.\1"),
        (r"final_layer\.adaLN_modulation\.1\.(weight|bias)", r"final_modulation.\1"),
    ],
    ignore={r"pos_embed": "rebuilt for any grid, and compared with ours"},
)
PATCH, TABLE, POSITIONS = "x_embedder.proj.weight", "y_embedder.embedding_table.weight", "pos_embed"
_NEEDED = (PATCH, TABLE, POSITIONS, "blocks.0.mlp.fc1.weight", "final_layer.linear.weight")


@dataclass(frozen=True)
class Read:
    """A network from a file.

    Args:
        net: with its weights.
        classes: K; the network's null row is K where `null`.
        size: (H, W) of the state.
        notes: what a user should know of the file.
    """

    net: DiT
    classes: int
    null: bool
    size: tuple[int, int]
    notes: list[str]


def read_official(path: str | Path, system: str, prediction: Callable[[bool], Prediction], *, heads: int | None = None,
                  classes: int | None = None) -> Read:  # fmt: skip
    """The network in an official DiT or SiT file: a bare state dict, or {ema, model, opt, args}; the EMA is preferred.

    Args:
        system: the importer's name, for errors.
        prediction: what the output means, given whether it has twice the input's channels.
        heads, classes: where the file does not tell, see `import_dit`.

    Raises:
        CheckpointError: damaged, unsafe, or of another layout; the error names the keys and the importer that fits.
        InputError: heads or classes that cannot be.
    """
    checkpoint = read_checkpoint(path)
    state, chosen = select_state_dict(checkpoint)
    hint = looks_like(state, system)
    faults = {"unexpected": KEYS.unmatched(state), "missing": [name for name in _NEEDED if name not in state]}
    told = [f"{what}: {', '.join(names[:4])}{' ...' * (len(names) > 4)}" for what, names in faults.items() if names]
    if told:
        given = f"weights of another layout ({'; '.join(told)})"
        raise CheckpointError("checkpoint", given, "an official DiT or SiT file", hint)
    args = checkpoint.get("args")
    options = vars(args) if isinstance(args, argparse.Namespace) else {}
    rows = len(state[TABLE])
    classes, null = label_rows(rows, options.get("num_classes") if classes is None else classes)
    width, channels, patch = _patch(state[PATCH])
    ratio = len(state["blocks.0.mlp.fc1.weight"]) / width
    if int(width * ratio) * width != state["blocks.0.mlp.fc1.weight"].numel():
        ratio = math.nextafter(ratio, math.inf)
    per_channel, rest = divmod(len(state["final_layer.linear.weight"]), patch * patch * channels)
    if rest or per_channel not in (1, 2):
        raise CheckpointError("checkpoint", f"{len(state['final_layer.linear.weight'])} outputs a token",
                              f"{patch * patch} cells of {channels} or {2 * channels} channels")  # fmt: skip
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    with seeded(0):
        net = DiT(channels, (patch, patch), width=width, depth=depth, heads=_heads(width, heads), mlp_ratio=ratio,
                  ports={"label": {"kind": "label", "classes": classes, "null": null}},
                  prediction=prediction(per_channel == 2))  # fmt: skip
    side = _side(state[POSITIONS], width)
    source = {**state, PATCH: state[PATCH].flatten(1)}
    load_strict(net, KEYS.apply(source, {k: v.shape for k, v in net.state_dict().items()}, hint))
    chosen = chosen or "bare state dict"
    notes = [
        f"{len(state) - 1} tensors mapped, 0 left over; {chosen} chosen; size {size_name(net)} inferred",
        f"position table rebuilt: equal to the file's for {side}x{side} tokens",
        label_note(rows, classes, null),
    ]  # fmt: skip
    return Read(net, classes, null, (side * patch, side * patch), notes)


def write_official(net: DiT, size: tuple[int, int]) -> dict[str, Tensor]:
    """The state dict of `net` in the official layout, with the position table of a state of `size` (H, W).

    Raises:
        CheckpointError: a network with parts that this layout has no names for.
    """
    state = KEYS.invert().rename(net.state_dict())
    height, width = net.patch
    state[PATCH] = state[PATCH].unflatten(1, (-1, height, width))
    state[POSITIONS] = sincos_grid((size[0] // height, size[1] // width), net.width)[None]
    return state


def label_rows(rows: int, classes: int | None) -> tuple[int, bool]:
    """(K, whether there is a null row) of a label table; unless K is known the last of several rows is the null.

    Raises:
        InputError: a number of classes that the table does not have.
    """
    if classes is None:
        classes = max(rows - 1, 1)
    if classes not in (rows - 1, rows):
        raise InputError("classes", classes, f"{rows - 1} (and a null row) or {rows}: the label table has {rows} rows")
    return classes, classes < rows


def label_note(rows: int, classes: int, null: bool) -> str:
    """How a label table was read, and what to say if that is wrong."""
    if not null:
        return f"label table of {rows} rows read as {classes} classes without a null row: no guidance"
    return f"label table of {rows} rows read as {classes} classes and a null row (--classes {rows} if it has none)"


def size_name(net: DiT) -> str:
    """The published name of a size, ``XL/2``, or its numbers."""
    config = net.config()
    for name, size in SIZES.items():
        if all(config[key] == value for key, value in size.items()):
            return f"{name.upper()}/{net.patch[0]}"
    return f"width {net.width} depth {config['depth']} heads {config['heads']} patch {net.patch[0]}"


def _heads(width: int, heads: int | None) -> int:
    known = {size["width"]: size["heads"] for size in SIZES.values()}
    found = known.get(width) if heads is None else heads
    if found is None or found < 1 or width % found:
        raise InputError("heads", found or "nothing", f"a divisor of the width {width}", "no shape tells: --heads N")
    return found


def _patch(weight: Tensor) -> tuple[int, int, int]:
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise CheckpointError("checkpoint", f"{PATCH} {tuple(weight.shape)}", "(width, channels, patch, patch)")
    return weight.shape[0], weight.shape[1], weight.shape[2]


def _side(table: Tensor, width: int) -> int:
    """The side of the square grid of tokens, after a comparison of the file's table with ours."""
    tokens = table.shape[-2] if table.ndim > 1 else 0
    side = isqrt(tokens)
    if not side or tuple(table.shape) != (1, side * side, width):
        raise CheckpointError("checkpoint", f"{POSITIONS} {tuple(table.shape)}", f"(1, N, {width}) of a square grid")
    gap = (table[0].float() - sincos_grid((side, side), width)).abs().max().item()
    # Half-precision files round the table by up to 2^-9.
    if not gap <= (1e-5 if table.dtype in (torch.float32, torch.float64) else 4e-3):
        raise CheckpointError("checkpoint", f"{POSITIONS} {gap:.2g} away from the sin-cos table", "DiT's fixed table")
    return side


def imported(system: str, path: str | Path, notes: list[str], licence: str) -> Mapping[str, Any]:
    """The card of an imported model."""
    return {"licence": licence, "imported": {"system": system, "file": Path(path).name, "notes": notes}}
