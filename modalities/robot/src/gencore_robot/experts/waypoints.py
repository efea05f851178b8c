"""Straight lines between way-points of a hand.

    p(s) = (1 - u) p_k + u p_{k+1},   u = (s - s_k) / (s_{k+1} - s_k)

with quaternions on the shorter arc, normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gencore.errors import InputError


@dataclass(frozen=True)
class Waypoint:
    """Where a hand is at a step.

    Args:
        step: control step, rising from way-point to way-point.
        place: (3,) metres, between the finger tips.
        turn: (4,) unit quaternion w x y z.
        gripper: 0 closed, 1 open.
    """

    step: int
    place: np.ndarray
    turn: np.ndarray
    gripper: float


def path(points: Sequence[Waypoint], steps: int) -> np.ndarray:
    """(steps, 8): place, quaternion and gripper at steps 0 .. steps - 1; before and after the points, their ends.

    Raises:
        InputError: steps of the points that do not rise.

    >>> turn = np.array([1.0, 0, 0, 0])
    >>> ends = [Waypoint(0, np.zeros(3), turn, 0.0), Waypoint(2, np.ones(3), turn, 1.0)]
    >>> path(ends, 3)[1].tolist()
    [0.5, 0.5, 0.5, 1.0, 0.0, 0.0, 0.0, 0.5]
    """
    at = [point.step for point in points]
    if at != sorted(set(at)):
        raise InputError("waypoints", f"steps {at}", "rising steps")
    turns = [points[0].turn]
    for point in points[1:]:
        turns.append(point.turn if point.turn @ turns[-1] >= 0 else -point.turn)
    corners = np.array([[*p.place, *turn, p.gripper] for p, turn in zip(points, turns, strict=True)])
    out = np.stack([np.interp(np.arange(steps), at, column) for column in corners.T], axis=1)
    out[:, 3:7] /= np.linalg.norm(out[:, 3:7], axis=1, keepdims=True)
    return out


def about(axis: int, degrees: float) -> np.ndarray:
    """The quaternion of a turn about x, y or z (0, 1, 2).

    >>> about(2, 180.0).round(6).tolist()
    [0.0, 0.0, 0.0, 1.0]
    """
    half = np.radians(degrees) / 2
    return np.array([np.cos(half), *(np.sin(half) * np.eye(3)[axis])])
