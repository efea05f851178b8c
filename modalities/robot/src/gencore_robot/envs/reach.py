"""A point that must pass an obstacle on either side: two right answers, and their mean is wrong.

The point starts below a disc and has to reach one of two targets above it, left or right.  A policy that predicts
the mean of the demonstrations walks into the disc.  With `named` the observation says which target counts, so that
only a policy that reads the instruction reaches it.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium import spaces

from gencore.errors import InputError, unknown

DISC = np.array([0.0, -0.3])
RADIUS, REACHED, SPEED = 0.2, 0.08, 0.06
HZ = 10
FASTEST = SPEED * HZ
"""Of the velocity robot along each axis, in metres a second."""
Control = Literal["position", "velocity"]


class TwoWayReach(gymnasium.Env):
    """Coordinates are in [-1, 1], where the point stays; a step moves it towards the action by at most 0.06.

    Observation: `agent_pos` (2,) the point; `env_state` (4,) left and right target; with `named` also `target`,
    0 = left, 1 = right.  Action (2,): where to go, or the velocity for a tenth of a second.  Reward 1 at a target that
    counts, which ends the episode; touching the disc ends it without.  ``info["is_success"]``, and ``info["target"]``
    is the target reached (-1 none).

    Args:
        named: only one target counts, drawn with the episode or given as ``options={"target": 0 or 1}``.
        control: what an action is, a place in [-1, 1] or a velocity within 0.6 a second.

    Raises:
        InputError: another control.

    >>> env = TwoWayReach()
    >>> obs, info = env.reset(seed=0)
    >>> sorted(obs), obs["agent_pos"].shape
    (['agent_pos', 'env_state'], (2,))
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": HZ, "privileged": ()}  # noqa: RUF012

    def __init__(self, named: bool = False, control: Control = "position", render_mode: str | None = None) -> None:
        if control not in get_args(Control):
            raise unknown("control", control, get_args(Control))
        self.named, self.render_mode = named, render_mode
        self.control: Control = control
        parts: dict[str, spaces.Space[Any]] = {
            "agent_pos": spaces.Box(-1.0, 1.0, (2,), np.float32),
            "env_state": spaces.Box(-1.0, 1.0, (4,), np.float32),
        }
        if named:
            parts["target"] = spaces.Discrete(2)
        self.observation_space = spaces.Dict(parts)
        reach = 1.0 if control == "position" else FASTEST
        self.action_space = spaces.Box(-reach, reach, (2,), np.float32)
        self._point, self._targets, self._wanted = np.zeros(2), np.zeros((2, 2)), 0

    @property
    def point(self) -> np.ndarray:
        """(2,) float64: where the point is."""
        return self._point.copy()

    @property
    def targets(self) -> np.ndarray:
        """(2, 2) float64: the left and the right target."""
        return self._targets.copy()

    @property
    def reached(self) -> int:
        """The target the point is at, 0 = left, 1 = right, -1 = none."""
        near = np.linalg.norm(self._targets - self._point, axis=1) < REACHED
        return int(near.argmax()) if near.any() else -1

    def _obs(self) -> dict[str, Any]:
        obs: dict[str, Any] = {"agent_pos": self._point.astype(np.float32),
                               "env_state": self._targets.reshape(-1).astype(np.float32)}  # fmt: skip
        return obs | ({"target": np.int64(self._wanted)} if self.named else {})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        x, low, high, y0, y1 = self.np_random.uniform([-0.03, 0.5, 0.5, 0.4, 0.4], [0.03, 0.7, 0.7, 0.7, 0.7])
        drawn = int(self.np_random.integers(2))
        self._wanted = (options or {}).get("target", drawn)
        if self._wanted not in (0, 1):
            raise InputError("target", self._wanted, "0 (left) or 1 (right)")
        self._point, self._targets = np.array([x, -0.8]), np.array([[-low, y0], [high, y1]])
        return self._obs(), {"is_success": False, "target": -1}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        goal = np.asarray(action, dtype=np.float64)
        if goal.shape != (2,) or not np.isfinite(goal).all():
            raise InputError("action", goal.tolist(), "2 finite coordinates")
        if self.control == "position":
            move = np.clip(goal, -1.0, 1.0) - self._point
        else:
            move = np.clip(goal, -FASTEST, FASTEST) / HZ
        distance = float(np.linalg.norm(move))
        self._point = np.clip(self._point + move * min(1.0, SPEED / max(distance, 1e-12)), -1.0, 1.0)
        reached = self.reached
        success = reached >= 0 and (not self.named or reached == self._wanted)
        touched = bool(np.linalg.norm(self._point - DISC) < RADIUS)
        info = {"is_success": success, "target": reached}
        return self._obs(), float(success), success or touched, False, info

    def render(self) -> Any:
        """(128, 128, 3) uint8: the disc grey, the targets green, the point red."""
        axis = np.linspace(-1, 1, 128)
        grid = np.stack(np.meshgrid(axis, -axis), axis=-1)
        frame = np.full((128, 128, 3), 255, np.uint8)
        colours = ((128, 128, 128), (0, 160, 0), (0, 160, 0), (220, 0, 0))
        centres, radii = (DISC, *self._targets, self._point), (RADIUS, REACHED, REACHED, 0.05)
        for centre, radius, colour in zip(centres, radii, colours, strict=True):
            frame[np.linalg.norm(grid - centre, axis=-1) < radius] = colour
        return frame
