"""Spatial completion: the same blocks of every frame are generated, in all but the first and last few frames.

Blocks are those of BEiT (arXiv:2106.08254), placed until half of a frame is covered.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.mask import Size

_TRIES, _SMALLEST, _ASPECT = 10, 4, math.log(1 / 0.3)


def blocks(height: int, width: int, cells: int, rng: Random) -> Tensor:
    """(H, W) bool: rectangles of area U(4, rest) and log aspect U(log 0.3, -log 0.3), up to `cells` cells in all.

    Each new block adds between 1 cell and the rest; the search ends early when ten tries in a row fail.
    """
    mask = torch.zeros(height, width, dtype=torch.bool)
    rest = cells
    while rest > 0 and (added := _place(mask, rest, rng)):
        rest -= added
    return mask


def _place(mask: Tensor, rest: int, rng: Random) -> int:
    """Set one more block of `mask`; how many cells it added, 0 where none fits."""
    for _ in range(_TRIES):
        area = rng.uniform(_SMALLEST, rest)
        aspect = math.exp(rng.uniform(-_ASPECT, _ASPECT))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if w >= mask.shape[1] or h >= mask.shape[0]:
            continue
        top, left = rng.randint(0, mask.shape[0] - h), rng.randint(0, mask.shape[1] - w)
        block = mask[top : top + h, left : left + w]
        added = block.numel() - int(block.sum())
        if 0 < added <= rest:
            block[:] = True
            return added
    return 0


@dataclass(frozen=True)
class Complete:
    """`blocks` over a `share` of each frame, but for up to `margin` frames at either end, which are given.

    At least one cell of one frame is generated, however small the clip.

    Args:
        share: of a frame's cells, above 0 and up to 1.
        margin: largest number of frames given at each end; the numbers are drawn one by one.
    """

    share: float = 0.5
    margin: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError("share", self.share, "above 0, up to 1")
        if self.margin < 0:
            raise InputError("margin", self.margin, "0 or more frames")

    def __call__(self, size: Size, rng: Random) -> Tensor:
        frames, height, width = size
        margin = min(self.margin, (frames - 1) // 2)
        first, last = rng.randint(0, margin), frames - rng.randint(0, margin)
        area = blocks(height, width, max(1, int(height * width * self.share)), rng)
        if not area.any():
            area[rng.randrange(height), rng.randrange(width)] = True
        index = torch.arange(frames).reshape(-1, 1, 1)
        return (index >= first) & (index < last) & area

    def config(self) -> dict[str, Any]:
        return asdict(self)
