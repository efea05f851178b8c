"""One guess at clips against the true ones: cell by cell, in structure, and in where the discs are and how they move.

``_generated`` figures look at generated cells alone, ``_whole`` ones at all cells of the clips, given ones included.
Disc figures look at frames with generated cells: ``position_error`` is the mean distance (pixels) from a disc's true
centre to its tracked one, ``velocity_error`` that of the displacements from one frame to the next.  A disc that cannot
be seen counts as being in the middle of the frame, and in ``lost``, the share of such discs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gencore.data import Data
from gencore.errors import InputError
from gencore_video.baselines import linear_in_time, nearest_given, straight_lines
from gencore_video.metrics import psnr, ssim
from gencore_video.physics.clips import PhysicsClips
from gencore_video.physics.render import track

Figures = dict[str, float]


@dataclass(frozen=True)
class Truth:
    """True clips and, of simulated ones, where the discs are.

    Args:
        clips: (B, C, T, H, W) in [-1, 1].
        positions: (B, T, N, 2) float64 pixels, (x, y), or None.
        radii: (B, N) float64 pixels, or None.
    """

    clips: Tensor
    positions: Tensor | None = None
    radii: Tensor | None = None

    @property
    def frames(self) -> int:
        return self.clips.shape[2]

    def part(self, first: int, stop: int) -> Truth:
        """Frames `first` .. `stop` - 1."""
        positions = None if self.positions is None else self.positions[:, first:stop]
        return Truth(self.clips[:, :, first:stop], positions, self.radii)


def truth(data: Data, n: int) -> Truth:
    """The first `n` clips of `data`.

    Raises:
        InputError: there are fewer.
    """
    if not 1 <= n <= len(data):
        raise InputError("n", n, f"1..{len(data)}, the number of clips")
    clips = torch.stack([data[i]["data"] for i in range(n)])
    if not isinstance(data, PhysicsClips):
        return Truth(clips)
    side, motions = min(data.size), [data.motion(i) for i in range(n)]
    where = torch.from_numpy(np.stack([motion.positions for motion in motions])) * side
    return Truth(clips, where, torch.from_numpy(np.stack([motion.radii for motion in motions])) * side)


def compare(made: Tensor, true: Truth, mask: Tensor) -> Figures:
    """The figures of `made` (B, C, T, H, W), means over clips.

    Args:
        mask: (B, 1, T, H, W) bool, True = generated.
    """
    made = made.clamp(-1, 1)
    figures = {
        "psnr_generated": psnr(made, true.clips, mask), "ssim_generated": ssim(made, true.clips, mask),
        "psnr_whole": psnr(made, true.clips), "ssim_whole": ssim(made, true.clips),
    }  # fmt: skip
    means = {name: value.mean().item() for name, value in figures.items()}
    if true.positions is None:
        return means
    found, frames = track(made), mask.flatten(3).any(-1)[:, 0]
    return means | paths(found.positions, true, frames) | {"lost": 1 - _share(found.seen, frames)}


def paths(positions: Tensor, true: Truth, frames: Tensor) -> Figures:
    """``position_error`` and ``velocity_error`` of `positions` (B, T, N, 2) over `frames` (B, T) bool, pixels."""
    assert true.positions is not None
    error = (positions - true.positions).norm(dim=-1)
    velocity = (positions.diff(dim=1) - true.positions.diff(dim=1)).norm(dim=-1)
    moves = frames[:, 1:] | frames[:, :-1]
    return {"position_error": _share(error, frames), "velocity_error": _share(velocity, moves)}


def baselines(true: Truth, mask: Tensor) -> dict[str, Figures]:
    """The same figures of guesses from the given cells; ``straight_line`` where two frames are given whole."""
    report = {"nearest": compare(nearest_given(true.clips, mask), true, mask),
              "linear": compare(linear_in_time(true.clips, mask), true, mask)}  # fmt: skip
    frames = mask.flatten(3).any(-1)[:, 0]
    if true.positions is not None and int((~frames).sum(1).min()) >= 2:
        report["straight_line"] = paths(extrapolated(true, ~frames), true, frames)
    return report


def extrapolated(true: Truth, given: Tensor) -> Tensor:
    """`straight_lines` through the discs as tracked in the `given` (B, T) frames; (B, T, N, 2) pixels."""
    assert true.radii is not None
    height, width = true.clips.shape[-2:]
    low = true.radii[..., None].expand(-1, -1, 2)
    return straight_lines(track(true.clips).positions, given, low, torch.tensor([width, height]) - low)


def unevenness(clips: Tensor) -> float:
    """How much discs change their velocity from frame to frame: the mean length of x_{t+1} - 2 x_t + x_{t-1}, pixels.

    Real motions change it at collisions only.
    """
    return track(clips).positions.diff(n=2, dim=1).norm(dim=-1).mean().item()


def _share(values: Tensor, frames: Tensor) -> float:
    """The mean of `values` (B, T, N) over `frames` (B, T)."""
    return values[frames].double().mean().item()
