"""Two alternatives timed in turn, and the ratio of each pair of times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Spread:
    """Median, range and interquartile range of a sample."""

    median: float
    low: float
    high: float
    iqr: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of two values or more; quartiles are interpolated between the sorted values."""
        first, _, third = statistics.quantiles(values, n=4, method="inclusive")
        return cls(statistics.median(values), min(values), max(values), third - first)


@dataclass(frozen=True)
class Comparison:
    """Seconds of A and of B over interleaved pairs, and A's share of B within each pair.

    Only the ratio survives a machine whose clock or load drifts: both halves of a pair run within moments.
    """

    pairs: int
    ratio: Spread
    seconds: Spread
    peer_seconds: Spread

    @classmethod
    def of(cls, times: Sequence[tuple[float, float]]) -> Comparison:
        """Of (seconds of A, seconds of B) pairs."""
        ours, theirs = zip(*times, strict=True)
        return cls(len(times), Spread.of([a / b for a, b in times]), Spread.of(ours), Spread.of(theirs))

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def __str__(self) -> str:
        r = self.ratio
        return (f"{r.median:.3f}x ({r.low:.3f}..{r.high:.3f}, IQR {r.iqr:.3f}, {self.pairs} pairs; "
                f"{1e3 * self.seconds.median:.4g} against {1e3 * self.peer_seconds.median:.4g} ms)")  # fmt: skip


def interleave(a: Callable[[], object], b: Callable[[], object], pairs: int = 7, *, warm: int = 1,
               clock: Callable[[], float] = time.perf_counter) -> Comparison:  # fmt: skip
    """Time A, B, A, B, ... after `warm` untimed pairs.

    Args:
        pairs: timed pairs, two or more.
        clock: seconds.
    """
    return Comparison.of([(ours, theirs) for ours, theirs in rounds([a, b], pairs, warm=warm, clock=clock)])


def rounds(runs: Sequence[Callable[[], object]], count: int, *, warm: int = 1,
           clock: Callable[[], float] = time.perf_counter) -> list[tuple[float, ...]]:  # fmt: skip
    """Seconds of each of `runs`, in turn, in `count` rounds that follow `warm` untimed ones."""
    timed = []
    for k in range(warm + count):
        marks = [clock()]
        for run in runs:
            run()
            marks.append(clock())
        if k >= warm:
            timed.append(tuple(after - before for before, after in pairwise(marks)))
    return timed
