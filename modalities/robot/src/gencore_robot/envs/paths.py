"""Where the points of two-way reaches went in a roll-out."""

from __future__ import annotations

import numpy as np

from gencore_robot.envs.reach import SPEED
from gencore_robot.wrappers.mapped import MappedVector


class Paths:
    """Watches `gencore_robot.rollout.rollout`: ``rollout(..., watch=paths)``.

    It keeps the first episode of every environment, so that environments as many as episodes keep all.

    Attributes:
        points: one an environment, (T, 2) coordinates from the start on, as a list.
        targets: one an environment, its (2, 2) left and right target.
        reached: one an environment, the first target its point was at: 0 = left, 1 = right, -1 = none.
    """

    def __init__(self) -> None:
        self.points: list[list[np.ndarray]] = []
        self.targets: list[np.ndarray] = []
        self.reached: list[int] = []
        self._over: set[int] = set()

    def __call__(self, envs: MappedVector) -> None:
        points, reached = envs.env.get_attr("point"), envs.env.get_attr("reached")  # type: ignore[attr-defined]
        if not self.points:
            self.points, self.targets = [[point] for point in points], list(envs.env.get_attr("targets"))  # type: ignore[attr-defined]
            self.reached = [-1] * len(points)
            return
        for i, (point, target) in enumerate(zip(points, reached, strict=True)):
            # No step goes so far: the environment was set back, and what it plays now is another episode.
            if i in self._over or np.linalg.norm(point - self.points[i][-1]) > 2 * SPEED:
                self._over.add(i)
                continue
            self.points[i].append(point)
            if self.reached[i] < 0:
                self.reached[i] = int(target)
