"""VDT's published layout: DiT's names for the spatial part, three temporal groups a block, a table of the frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gencore.denoised import Prediction
from gencore.errors import CheckpointError
from gencore.nn.embed import sincos_1d, sincos_grid
from gencore.nn.init import seeded
from gencore.weights.dit_layout import PATCH, POSITIONS, REBUILT, RULES, Official, require_table
from gencore.weights.keymap import Keymap
from gencore_video.backbone import VDT, Temporal

FRAMES = "time_embed"
KEYS = Keymap(
    [
        *RULES,
        (r"blocks\.(\d+)\.temporal_norm1\.(weight|bias)", r"blocks.\1.temporal.norm.\2"),
        (r"blocks\.(\d+)\.temporal_attn\.(qkv|proj)\.(weight|bias)", r"blocks.\1.temporal.attn.\2.\3"),
        (r"blocks\.(\d+)\.temporal_fc\.(weight|bias)", r"blocks.\1.temporal.fc.\2"),
    ],
    ignore={**REBUILT, FRAMES: "rebuilt for any number of frames, and compared with ours"},
)


def build(file: Official, heads: int, temporal: Temporal, *, seed: int = 0) -> VDT:
    """An untrained network of the file's sizes, with its label table."""
    settings: dict[str, Any] = {"classes": max(file.rows - 1, 1), "null": file.rows > 1}
    with seeded(seed):
        return VDT(file.channels, file.patch, width=file.width, depth=file.depth, heads=heads,
                   mlp_ratio=file.mlp_ratio, ports={"label": {"kind": "label", **settings}}, temporal=temporal,
                   prediction=Prediction("epsilon", "learned_range" if file.outputs == 2 else None))  # fmt: skip


def frames_of(file: Official) -> int | None:
    """T of a video checkpoint, whose table of frames is equal to ours; None for image mode, which has none.

    Raises:
        CheckpointError: temporal blocks without the table, the table without the blocks, or another table.
    """
    temporal = any(".temporal_" in name for name in file.state)
    table = file.state.get(FRAMES)
    if (table is not None) != temporal:
        found = f"{FRAMES} without temporal blocks" if table is not None else f"temporal blocks without {FRAMES}"
        raise CheckpointError("checkpoint", found, "both (video mode) or neither (image mode)", file.hint)
    if table is None:
        return None
    if table.ndim != 3 or len(table) != 1 or table.shape[2] != file.width:
        raise CheckpointError("checkpoint", f"{FRAMES} {tuple(table.shape)}", f"(1, T, {file.width})")
    require_table(FRAMES, table[0], sincos_1d(torch.arange(table.shape[1]), file.width).float())
    return table.shape[1]


def write_official(net: VDT, size: tuple[int, int, int]) -> dict[str, Tensor]:
    """The state dict of `net` in the published layout, with the tables of a state of `size` (T, H, W).

    Raises:
        CheckpointError: a network with parts that this layout has no names for.
    """
    state = KEYS.invert().rename(net.state_dict())
    _, height, width = net.patch
    state[PATCH] = state[PATCH].unflatten(1, (-1, height, width))
    state[POSITIONS] = sincos_grid((size[1] // height, size[2] // width), net.width)[None]
    if net.temporal != "none":
        state[FRAMES] = sincos_1d(torch.arange(size[0]), net.width).float()[None]
    return state
