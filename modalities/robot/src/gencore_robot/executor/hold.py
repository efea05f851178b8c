"""What is sent when no action is ready: positions stay, velocities stop."""

from __future__ import annotations

import numpy as np


def hold(last: np.ndarray, velocity: np.ndarray | None) -> np.ndarray:
    """The action to send instead of none.

    Args:
        last: (B, A) the last action sent.
        velocity: (A,) bool, True where the slot is a velocity: repeating it would keep the robot moving.

    >>> hold(np.array([[1.0, 2.0]]), np.array([False, True])).tolist()
    [[1.0, 0.0]]
    """
    return last.copy() if velocity is None else np.where(velocity, 0.0, last)
