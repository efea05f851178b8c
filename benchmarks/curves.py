"""Speed-up against error as a curve: which settings are worth choosing, and the speed-up at a given error."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

Point = tuple[float, float]
"""PSNR in dB, speed-up."""


def front(points: Iterable[Point]) -> list[Point]:
    """The points that no other one beats in both, by rising PSNR and so by falling speed-up.

    >>> front([(30.0, 2.0), (35.0, 1.5), (33.0, 1.4)])
    [(30.0, 2.0), (35.0, 1.5)]
    """
    kept: list[Point] = []
    for point in sorted(points, reverse=True):
        if not kept or point[1] > kept[-1][1]:
            kept.append(point)
    return kept[::-1]


def speed_at(points: Iterable[Point], psnr: float) -> float | None:
    """The speed-up at `psnr`, linear between neighbours on the front; None where no point is that near.

    Below the least PSNR of the front its fastest point counts, which is nearer than asked.

    >>> curve = [(30.0, 2.0), (40.0, 1.0), (33.0, 1.2)]
    >>> speed_at(curve, 35.0), speed_at(curve, 20.0), speed_at(curve, 41.0)
    (1.5, 2.0, None)
    """
    curve = front(points)
    if not curve or psnr > curve[-1][0]:
        return None
    if psnr <= curve[0][0]:
        return curve[0][1]
    (low, fast), (high, slow) = next(pair for pair in pairwise(curve) if pair[1][0] >= psnr)
    return fast + (slow - fast) * (psnr - low) / (high - low)
