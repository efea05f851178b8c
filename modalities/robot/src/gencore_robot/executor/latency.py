"""How long predictions took, and which control ticks they cost."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

KEPT = 10_000
"""Predictions that percentiles are taken over, the last ones: a robot may run for days."""


@dataclass
class Latency:
    """Seconds per prediction.

    Args:
        hz: the control rate, or None where nothing waits (a simulation).

    Attributes:
        seconds: of the last `KEPT` predictions.
        count, longest: of all.
        missed: control ticks.

    >>> latency = Latency(hz=50.0)
    >>> latency.add(0.05); latency.report()["missed_ticks"]
    2
    """

    hz: float | None = None
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT), init=False)
    count: int = field(default=0, init=False)
    longest: float = field(default=0.0, init=False)
    missed: int = field(default=0, init=False)

    def add(self, seconds: float, *, blocking: bool = True) -> None:
        """Record a prediction; a blocking one costs every tick that falls due while it runs."""
        self.seconds.append(seconds)
        self.count, self.longest = self.count + 1, max(self.longest, seconds)
        if blocking and self.hz is not None:
            self.missed += math.floor(seconds * self.hz + 1e-9)

    def ticks(self) -> int:
        """The control ticks to expect of the next prediction: the 95th percentile of `seconds`, rounded up."""
        if self.hz is None or not self.seconds:
            return 0
        return math.ceil(float(np.percentile(list(self.seconds), 95)) * self.hz - 1e-9)

    def report(self) -> dict[str, Any]:
        """Predictions, p50/p95/max in milliseconds, and missed ticks (None without a control rate)."""
        ms = 1000 * np.array(list(self.seconds) or [math.nan])
        p50, p95 = np.percentile(ms, [50, 95])
        told = {"latency_ms_p50": float(p50), "latency_ms_p95": float(p95), "latency_ms_max": 1000 * self.longest}
        if not self.seconds:
            told = dict.fromkeys(told)
        missed = None if self.hz is None else self.missed
        return {"predictions": self.count, **told, "missed_ticks": missed}
