"""Masks over whole frames: prediction, its reverse, interpolation, animation, and no given frame at all.

Numbers of frames may be ranges ``(low, high)``, from which every sample draws its own, and count from the clip's end
where they are negative: ``Predict(given=(1, -1))`` gives 1 .. T - 1 frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.mask import Size

Frames = int | Sequence[int]
"""A number of frames, or the (low, high) it is drawn from; negative numbers count from T."""
_LONGEST = 2**31


def frame_mask(frames: int, given: Iterable[int]) -> Tensor:
    """(T, 1, 1) bool, False at the `given` frames.

    >>> frame_mask(3, [0, -1]).flatten().tolist()
    [False, True, False]
    """
    mask = torch.ones(frames, 1, 1, dtype=torch.bool)
    mask[list(given)] = False
    return mask


def _drawn(field: str, value: Frames, frames: int, low: int, high: int, rng: Random) -> int:
    """`value`, counted from the end where it is negative and drawn where it is a range, within low..high."""
    ends = [value] if isinstance(value, int) else list(value)
    first, last = (n + frames if n < 0 else n for n in (ends[0], ends[-1]))
    if len(ends) > 2 or not low <= first <= last <= high:
        accepted = f"{low}..{high}, or a pair of them" if low <= high else "a longer clip"
        raise InputError(field, f"{value} in a clip of {frames} frames", accepted)
    return first if first == last else rng.randint(first, last)


def _listed(value: Frames | None) -> int | list[int] | None:
    return value if value is None or isinstance(value, int) else list(value)


@dataclass(frozen=True)
class Unconditional:
    """Every frame is generated."""

    def __call__(self, size: Size, rng: Random) -> Tensor:
        return frame_mask(size[0], ())

    def config(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Predict:
    """The first `given` frames are given, half of them by default; 1 to T - 1."""

    given: Frames | None = None

    def __call__(self, size: Size, rng: Random) -> Tensor:
        n = size[0] // 2 if self.given is None else self.given
        return frame_mask(size[0], range(_drawn("given frames", n, size[0], 1, size[0] - 1, rng)))

    def config(self) -> dict[str, Any]:
        return {"given": _listed(self.given)}


@dataclass(frozen=True)
class Backward:
    """The last `given` frames are given, half of them by default; 1 to T - 1."""

    given: Frames | None = None

    def __call__(self, size: Size, rng: Random) -> Tensor:
        return Predict(self.given)(size, rng).flip(0)

    def config(self) -> dict[str, Any]:
        return {"given": _listed(self.given)}


@dataclass(frozen=True)
class Interpolate:
    """Frames 0, `stride`, 2 `stride`, ... are given; strides from 2 on."""

    stride: Frames = 4

    def __call__(self, size: Size, rng: Random) -> Tensor:
        frames = size[0]
        if frames < 2:
            raise InputError("frames", frames, "2 or more: the first is given")
        return frame_mask(frames, range(0, frames, _drawn("stride", self.stride, frames, 2, _LONGEST, rng)))

    def config(self) -> dict[str, Any]:
        return {"stride": _listed(self.stride)}


@dataclass(frozen=True)
class ImageToVideo:
    """One frame is given: number `index` (negative from the end), or any one a sample where it is None."""

    index: int | None = 0

    def __call__(self, size: Size, rng: Random) -> Tensor:
        frames = size[0]
        if frames < 2:
            raise InputError("frames", frames, "2 or more: one is given")
        at = rng.randint(0, frames - 1) if self.index is None else self.index
        if not -frames <= at < frames:
            raise InputError("index", at, f"{-frames}..{frames - 1}, a frame of the clip")
        return frame_mask(frames, [at])

    def config(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class RandomFrames:
    """Each frame is generated with probability `p`, and always at least one."""

    p: float = 0.8

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise InputError("p", self.p, "above 0, up to 1")

    def __call__(self, size: Size, rng: Random) -> Tensor:
        u = [rng.random() for _ in range(size[0])]
        # The lowest counts in any case: nothing to generate is no task.
        return frame_mask(size[0], [i for i, v in enumerate(u) if v >= self.p and v > min(u)])

    def config(self) -> dict[str, Any]:
        return asdict(self)
