"""Limits of actions, and how often a policy wanted to leave them.

A policy whose demonstrations lie on a limit, such as a gripper that is shut, predicts values a little on either side of
it: about every second action is clamped by little, and nothing is wrong.  Each entry is reported on its own, because
entries differ in unit and an arm joint that is clamped means something else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gencore.errors import InputError


@dataclass
class Clamp:
    """Clamps actions to limits and counts.

    Args:
        low, high: (A,) or scalars, in the units of the action.

    Raises:
        InputError: a low limit above its high one.

    >>> clamp = Clamp(np.array([-1.0]), np.array([1.0]))
    >>> clamp(np.array([[3.0], [0.5]])).tolist(), clamp.report()["share"]
    ([[1.0], [0.5]], 0.5)
    """

    low: np.ndarray
    high: np.ndarray
    actions: int = field(default=0, init=False)
    clamped: int = field(default=0, init=False)
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, int), init=False)
    """(A,) actions whose entry was clamped."""
    excess: np.ndarray = field(default_factory=lambda: np.zeros(0), init=False)
    """(A,) how far each entry was beyond its limit at most, in its own unit."""

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
        if not self.counts.size:
            self.counts, self.excess = np.zeros(action.shape[1], int), np.zeros(action.shape[1])
        self.actions += len(action)
        self.clamped += int((outside > 0).any(axis=1).sum())
        self.counts = self.counts + (outside > 0).sum(axis=0)
        self.excess = np.maximum(self.excess, outside.max(axis=0, initial=0.0))
        return kept

    def report(self) -> dict[str, Any]:
        """Actions seen and clamped, their share, the largest excess of one value, and ``entries``: of each entry that
        was clamped its index, how often, and by how much at most in its own unit."""
        share = self.clamped / self.actions if self.actions else 0.0
        entries = [{"index": int(i), "clamped": int(self.counts[i]), "largest_excess": float(self.excess[i])}
                   for i in np.flatnonzero(self.counts)]  # fmt: skip
        return {"actions": self.actions, "clamped": self.clamped, "share": share,
                "largest_excess": float(self.excess.max(initial=0.0)), "entries": entries}  # fmt: skip
