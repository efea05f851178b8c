"""How far ahead a model sees: prediction from more and more given frames, and clips continued far past its length."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gencore.noise import seeds_for
from gencore_video.figures import Truth, compare, extrapolated, paths, unevenness

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline

Report = dict[str, Any]
_BATCH = 16


class Maker:
    """Generates the masked cells of clips, in batches, counting what it `made` of the `total` that a caller set."""

    def __init__(self, pipe: Pipeline, seed: int, progress: Callable[[int, int], None] | None = None) -> None:
        self.pipe, self.seed, self.progress = pipe, seed, progress
        self.made = self.total = 0

    def __call__(self, clips: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T, H, W) of clips given where `mask` is False."""
        parts = []
        for start in range(0, len(clips), _BATCH):
            part = slice(start, start + _BATCH)
            count = len(clips[part])
            # A hidden cell must not reach the model by any way.
            known = clips[part].masked_fill(mask[part], 0)
            seeds = seeds_for(self.seed + start, count)
            parts.append(self.pipe.generate(known=known, mask=mask[part], n=count, seed=seeds).tensor)
            self.made += count
            if self.progress is not None:
                self.progress(self.made, self.total)
        return torch.cat(parts)

    def longer(self, clips: Tensor, frames: int) -> Tensor:
        """(B, C, T + frames, H, W): clips (B, C, T, H, W) continued by `frames` frames, window after window."""
        parts = []
        for start in range(0, len(clips), _BATCH):
            part = clips[start : start + _BATCH]
            seeds = seeds_for(self.seed + start, len(part))
            parts.append(self.pipe.generate(task="predict", known=part, frames=frames, seed=seeds).tensor)
            self.made += len(part) * -(-frames // clips.shape[2])
            if self.progress is not None:
                self.progress(self.made, self.total)
        return torch.cat(parts)


def by_given_frames(maker: Maker, true: Truth, k: int) -> Report:
    """Prediction from the first `k` frames, seen on the last quarter of the clip."""
    clips, first = true.clips, 3 * true.frames // 4
    mask = _after(clips, k)
    late = _after(clips, first)
    report: Report = {"model": compare(maker(clips, mask), true, late)}
    if true.positions is not None and k >= 2:
        given = ~mask[:, 0, :, 0, 0]
        report["straight_line"] = paths(extrapolated(true, given), true, ~given & late[:, 0, :, 0, 0])
    return report


def roll_out(maker: Maker, true: Truth, window: int) -> Report:
    """Clips continued to `true.frames` frames, each window from the half before it; figures by half window."""
    half = window // 2
    clips = maker.longer(true.clips[:, :, :half], true.frames - half)
    lines = extrapolated(true, ~_after(true.clips, half)[:, 0, :, 0, 0])
    copied = true.clips[:, :, half - 1 : half].expand_as(true.clips)
    report: Report = {}
    for first in range(half, true.frames, half):
        stop = min(first + half, true.frames)
        here, all_frames = true.part(first, stop), torch.ones(len(clips), stop - first, dtype=torch.bool)
        mask = torch.ones_like(here.clips[:, :1], dtype=torch.bool)
        model = compare(clips[:, :, first:stop], here, mask)
        nearest = compare(copied[:, :, first:stop], here, mask)
        report[f"{first}..{stop - 1}"] = {
            "model": {**model, "unevenness": unevenness(clips[:, :, first:stop])}, "nearest": nearest,
            "straight_line": paths(lines[:, first:stop], here, all_frames),
            "real": {"unevenness": unevenness(here.clips)},
        }  # fmt: skip
    return report


def _after(clips: Tensor, frames: int) -> Tensor:
    """(B, 1, T, H, W) bool, True from frame number `frames` on."""
    mask = torch.zeros_like(clips[:, :1], dtype=torch.bool)
    mask[:, :, frames:] = True
    return mask
