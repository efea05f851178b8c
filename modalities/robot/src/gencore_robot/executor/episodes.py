"""Which rows of a vector environment begin an episode with the observation at hand.

gymnasium's three autoreset modes (gymnasium.vector.AutoresetMode): "NextStep" ignores the action after an end and
answers it with the first observation of the next episode; "SameStep" answers the last action itself with that
observation; "Disabled" waits for a reset by the caller.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gencore.errors import InputError, unknown

MODES = ("NextStep", "SameStep", "Disabled")


class Episodes:
    """Follows ends and resets of `count` environments.

    Args:
        mode: one of `MODES`, or gymnasium's `AutoresetMode`.

    >>> episodes = Episodes(1, "NextStep")
    >>> begun = episodes.step(np.array([True]), np.array([False]))
    >>> begun.tolist(), episodes.idle.tolist(), episodes.step(np.array([False]), np.array([False])).tolist()
    ([False], [True], [True])
    """

    def __init__(self, count: int, mode: Any = "Disabled") -> None:
        self.mode = str(getattr(mode, "value", mode))
        if self.mode not in MODES:
            raise unknown("autoreset mode", self.mode, MODES)
        self.idle = np.zeros(count, bool)
        """(B,) rows whose next action has no effect."""

    def reset(self, rows: np.ndarray) -> None:
        """The caller reset `rows`."""
        self.idle = self.idle & ~rows

    def step(self, terminated: np.ndarray, truncated: np.ndarray) -> np.ndarray:
        """(B,) rows whose observation, returned with these flags, begins an episode."""
        done = np.asarray(terminated, bool) | np.asarray(truncated, bool)
        if done.shape != self.idle.shape:
            raise InputError("terminated", f"shape {done.shape}", f"{self.idle.shape}, a flag per environment")
        if self.mode == "SameStep":
            return done
        begun = self.idle & ~done if self.mode == "NextStep" else np.zeros_like(done)
        self.idle = done if self.mode == "NextStep" else self.idle | done
        return begun

    def check(self) -> None:
        """Refuse to act where an episode ended and the caller must reset.

        Raises:
            InputError: such rows.
        """
        if self.mode == "Disabled" and self.idle.any():
            raise InputError("environment", f"an action for ended environments {np.flatnonzero(self.idle).tolist()}",
                             "running ones", "reset them and call reset(mask)")  # fmt: skip
