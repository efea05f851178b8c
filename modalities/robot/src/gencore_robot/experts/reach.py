"""Experts of the two-way reach: around the disc on one side, then to the target there."""

from __future__ import annotations

import numpy as np

from gencore_robot.envs.reach import FASTEST, HZ


def reach(agent_pos: np.ndarray, env_state: np.ndarray, side: int) -> np.ndarray:
    """The (2,) action at one observation: where to go next.

    Args:
        agent_pos: (2,) the point.
        env_state: (4,) left and right target.
        side: 0 = left, 1 = right; drawn once an episode, demonstrations have two modes.

    >>> reach(np.array([0.0, -0.8]), np.array([-0.6, 0.5, 0.6, 0.5]), 1).tolist()
    [0.5, -0.3]
    """
    if agent_pos[1] < -0.32:
        return np.array([0.5 if side else -0.5, -0.3])
    return np.asarray(env_state, dtype=np.float64).reshape(2, 2)[side]


def reach_velocity(agent_pos: np.ndarray, env_state: np.ndarray, side: int) -> np.ndarray:
    """The (2,) velocity at one observation: towards where `reach` would go, at full speed until it is there.

    >>> reach_velocity(np.array([0.5, -0.8]), np.array([-0.6, 0.5, 0.6, 0.5]), 1).tolist()
    [0.0, 0.6]
    """
    wanted = (reach(agent_pos, env_state, side) - np.asarray(agent_pos, np.float64)) * HZ
    return wanted * min(1.0, FASTEST / max(float(np.linalg.norm(wanted)), 1e-12))
