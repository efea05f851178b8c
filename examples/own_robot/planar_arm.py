"""A robot of one's own: two joints in a plane, in degrees, and a controller that solves its task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

LINK, FASTEST, NEAR = 0.3, 8.0, 0.04


def tip(degrees: np.ndarray) -> np.ndarray:
    """(2,) place of the tip in metres."""
    angles = np.radians(np.cumsum(degrees))
    return LINK * np.array([np.cos(angles).sum(), np.sin(angles).sum()])


class PlanarArm(gymnasium.Env):
    """Bring the tip to the goal.  Observation: `encoders` (2,) degrees, `goal` (2,) metres; action (2,): joint targets
    in degrees, approached by at most 8 a step."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self) -> None:
        self.observation_space = spaces.Dict({
            "encoders": spaces.Box(-180.0, 180.0, (2,), np.float32), "goal": spaces.Box(-1.0, 1.0, (2,), np.float32)
        })  # fmt: skip
        self.action_space = spaces.Box(-180.0, 180.0, (2,), np.float32)
        self.joints, self.goal = np.zeros(2), np.zeros(2)

    def _obs(self) -> dict[str, Any]:
        return {"encoders": self.joints.astype(np.float32), "goal": self.goal.astype(np.float32)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.joints = self.np_random.uniform(-5.0, 5.0, 2)
        reach, side = self.np_random.uniform([0.3, -1.0], [0.5, 1.0])
        self.goal = reach * np.array([np.cos(side), np.sin(side)])
        return self._obs(), {"solved": False}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        move = np.clip(np.asarray(action, np.float64), -180.0, 180.0) - self.joints
        self.joints = self.joints + np.clip(move, -FASTEST, FASTEST)
        solved = bool(np.linalg.norm(tip(self.joints) - self.goal) < NEAR)
        return self._obs(), float(solved), solved, False, {"solved": solved}


def controller(obs: Any, rng: np.random.Generator) -> Callable[[Any], np.ndarray]:
    """Inverse kinematics; the elbow bends to either side, one an episode, and both are right."""
    x, y = obs["goal"].astype(np.float64)
    elbow = np.arccos(np.clip((x * x + y * y) / (2 * LINK**2) - 1, -1, 1)) * rng.choice([-1, 1])
    target = np.degrees([np.arctan2(y, x) - elbow / 2, elbow])
    return lambda obs: obs["encoders"] + np.clip(target - obs["encoders"], -FASTEST, FASTEST)


gymnasium.register("lab/PlanarArm-v0", entry_point=PlanarArm, max_episode_steps=40)
