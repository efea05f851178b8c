"""Limits of actions, and how often a policy wanted to leave them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gencore.errors import InputError


@dataclass
class Clamp:
    """Clamps actions to limits and counts.

    Args:
        low, high: (A,) or scalars, in the unit of the action.

    Raises:
        InputError: a low limit above its high one.

    >>> clamp = Clamp(np.array([-1.0]), np.array([1.0]))
    >>> clamp(np.array([[3.0], [0.5]])).tolist(), clamp.report()["share"]
    ([[1.0], [0.5]], 0.5)
    """

    low: np.ndarray
    high: np.ndarray
    actions: int = 0
    clamped: int = 0
    largest: float = 0.0

    def __post_init__(self) -> None:
        if not (np.asarray(self.low) <= np.asarray(self.high)).all():
            raise InputError("limits", "a low limit above its high one", "low <= high")

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """`action` (B, A) inside the limits.

        Raises:
            InputError: a value that is not finite.
        """
        if not np.isfinite(action).all():
            raise InputError("action", "a value that is not finite", "finite values", "the policy predicted it")
        kept = np.clip(action, self.low, self.high)
        outside = np.abs(kept - action)
        self.actions += len(action)
        self.clamped += int((outside > 0).any(axis=1).sum())
        self.largest = max(self.largest, float(outside.max(initial=0.0)))
        return kept

    def report(self) -> dict[str, Any]:
        """Actions seen and clamped, their share, and the largest excess of one value."""
        share = self.clamped / self.actions if self.actions else 0.0
        return {"actions": self.actions, "clamped": self.clamped, "share": share, "largest_excess": self.largest}
