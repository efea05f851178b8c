"""What episodes came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gencore_robot.interval import wilson


@dataclass(frozen=True)
class Outcome:
    """One episode: whether it succeeded, the sum of its rewards, its steps."""

    seed: int
    success: bool
    total: float
    steps: int


@dataclass(frozen=True)
class Rollout:
    """What `rollout` found.

    Args:
        outcomes: one an episode, by seed.
        report: of the executor: latencies, missed ticks, what was clamped.
        trace: ``state`` and ``action`` (T, D) of the first episode, in the policy's units.
    """

    env: str
    outcomes: tuple[Outcome, ...]
    report: Mapping[str, Any]
    trace: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def success_rate(self) -> float:
        return sum(one.success for one in self.outcomes) / len(self.outcomes)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the success rate."""
        return wilson(sum(one.success for one in self.outcomes), len(self.outcomes))

    def as_data(self) -> dict[str, Any]:
        """JSON."""
        told = dict(self.report)
        return {
            "env": self.env, "success_rate": self.success_rate, "interval": list(self.interval),
            "episodes": len(self.outcomes), "seeds": [one.seed for one in self.outcomes],
            "successes": [one.seed for one in self.outcomes if one.success],
            "mean_return": float(np.mean([one.total for one in self.outcomes])),
            "mean_length": float(np.mean([one.steps for one in self.outcomes])),
            "predictions": told["predictions"],
            "latency_ms": {key: told[f"latency_ms_{key}"] for key in ("p50", "p95", "max")},
            "missed_ticks": told["missed_ticks"], "clamped": told["clamp"],
            **{key: told[key] for key in ("starved_ticks", "late_chunks") if key in told},
        }  # fmt: skip
