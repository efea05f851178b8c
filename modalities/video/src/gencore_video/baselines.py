"""What a video model must beat: guesses from the given cells alone.

Cell by cell, with s < t the last and u > t the next frame in which the cell at this place is given:

    nearest:  x_t = x_s or x_u, whichever is nearer in time          linear:  x_t = x_s + (t - s) / (u - s) (x_u - x_s)

and with one side missing both copy the other, so prediction copies the last given frame.  Object by object, from
tracked positions: the straight line through the two nearest given frames, reflected at the walls.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gencore.errors import InputError


class _Around(NamedTuple):
    """For every cell of a mask (B, 1, T, H, W): the frames s and u around it, and whether they exist."""

    before: Tensor
    after: Tensor
    has_before: Tensor
    has_after: Tensor


def nearest_given(clips: Tensor, mask: Tensor) -> Tensor:
    """Clips (B, C, T, H, W) whose generated cells copy the nearest given frame at their place, the earlier of two.

    Args:
        mask: (B, 1, T, H, W) bool, True = generate.

    Raises:
        InputError: a place of which no frame is given.

    >>> clip = torch.tensor([0.0, 9, 9, 6]).reshape(1, 1, 4, 1, 1)
    >>> nearest_given(clip, torch.tensor([False, True, True, False]).reshape(1, 1, 4, 1, 1)).flatten().tolist()
    [0.0, 0.0, 6.0, 6.0]
    """
    around, time = _around(mask), _frames(mask)
    earlier = time - around.before <= around.after - time
    chosen = torch.where(around.has_before & (earlier | ~around.has_after), around.before, around.after)
    return torch.where(mask, _pick(clips, chosen), clips)


def linear_in_time(clips: Tensor, mask: Tensor) -> Tensor:
    """Clips whose generated cells lie on the line between the given ones around them; as `nearest_given`.

    >>> clip = torch.tensor([0.0, 9, 9, 6]).reshape(1, 1, 4, 1, 1)
    >>> linear_in_time(clip, torch.tensor([False, True, True, False]).reshape(1, 1, 4, 1, 1)).flatten().tolist()
    [0.0, 2.0, 4.0, 6.0]
    """
    around, time = _around(mask), _frames(mask)
    before = torch.where(around.has_before, around.before, around.after)
    after = torch.where(around.has_after, around.after, around.before)
    share = ((time - before) / (after - before).clamp(min=1)).to(clips.dtype)
    start, end = _pick(clips, before), _pick(clips, after)
    return torch.where(mask, start + share * (end - start), clips)


def straight_lines(positions: Tensor, given: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Positions (B, T, N, 2) on straight lines through those of the given frames, mirrored at walls.

    Between two given frames it interpolates; outside of all it keeps the velocity of the two nearest.

    Args:
        positions: in pixels; only those of given frames are read.
        given: (B, T) bool, two or more True a clip.
        low, high: (B, N, 2) where centres turn round: a radius from the walls.

    Raises:
        InputError: fewer than two given frames.

    >>> p = torch.tensor([1.0, 3, 0, 0, 0]).reshape(1, 5, 1, 1).expand(1, 5, 1, 2)
    >>> bounds = torch.zeros(1, 1, 2), torch.full((1, 1, 2), 6.0)
    >>> straight_lines(p, torch.tensor([[True, True, False, False, False]]), *bounds)[0, :, 0, 0].tolist()
    [1.0, 3.0, 5.0, 5.0, 3.0]
    """
    if int(given.sum(1).min()) < 2:
        raise InputError("given frames", int(given.sum(1).min()), "two or more: one frame has no velocity")
    made = positions.clone()
    for path, seen, out, lo, hi in zip(positions, given, made, low, high, strict=True):
        frames = seen.nonzero().flatten()
        for t in (~seen).nonzero().flatten().tolist():
            first = int(torch.searchsorted(frames, t).clamp(1, len(frames) - 1)) - 1
            s, u = int(frames[first]), int(frames[first + 1])
            point = path[s] + (t - s) / (u - s) * (path[u] - path[s])
            span = (hi - lo).clamp(min=1e-6)
            # A triangle wave of period two spans unfolds any number of reflections.
            phase = torch.remainder(point - lo, 2 * span)
            out[t] = lo + torch.where(phase > span, 2 * span - phase, phase)
    return made


def _frames(mask: Tensor) -> Tensor:
    return torch.arange(mask.shape[2], device=mask.device)[:, None, None].expand(mask.shape)


def _around(mask: Tensor) -> _Around:
    if bool(mask.all(dim=2).any()):
        raise InputError("mask", "a place that no frame shows", "a given frame for every place")
    frames, count = _frames(mask), mask.shape[2]
    before = torch.where(mask, -1, frames).cummax(dim=2).values
    after = torch.where(mask, count, frames).flip(2).cummin(dim=2).values.flip(2)
    return _Around(before.clamp(min=0), after.clamp(max=count - 1), before >= 0, after < count)


def _pick(clips: Tensor, frames: Tensor) -> Tensor:
    """The value of each cell at its own frame: clips (B, C, T, H, W), frames (B, 1, T, H, W)."""
    return clips.gather(2, frames.expand(clips.shape))
