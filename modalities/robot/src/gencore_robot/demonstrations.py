"""Demonstrations of the two-way reach, made in memory: data that need no recording."""

from __future__ import annotations

from functools import partial

import numpy as np

from gencore_robot.data import Episodes
from gencore_robot.readers.episode import Episode

COUNT, HELD_OUT_COUNT = 200, 32
FIRST, FIRST_HELD_OUT = 1_000_000, 900_000
"""Seeds: training from a million on, and what is held out below."""


def reach_episodes(count: int | None = None, *, held_out: bool = False) -> Episodes:
    """Ways to the goal, left and right by chance, all that succeed.

    >>> reach_episodes(1).numbers(0).action.shape[1]
    2
    """
    from gencore_robot.embodiments.library import load

    count = (HELD_OUT_COUNT if held_out else COUNT) if count is None else count
    start, robot = FIRST_HELD_OUT if held_out else FIRST, load("reach")
    found = []
    for seed in range(start, start + count):
        arrays = _played(seed)
        found.append(Episode(f"two-way reach {seed}", len(arrays[1]), partial(_first, arrays), embodiment=robot,
                             environment=partial(_last, arrays)))  # fmt: skip
    return Episodes(found)


def _first(arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    return arrays[0], arrays[1]


def _last(arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    return arrays[2]


def _played(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from gencore_robot.envs.reach import TwoWayReach
    from gencore_robot.experts.reach import reach

    env, side = TwoWayReach(), int(np.random.default_rng((seed, 1)).integers(2))
    obs, _ = env.reset(seed=seed)
    states, actions, seen, ended = [], [], [], False
    while not ended:
        action = reach(obs["agent_pos"], obs["env_state"], side)
        states.append(obs["agent_pos"])
        actions.append(action)
        seen.append(obs["env_state"])
        obs, _, ended, _, _ = env.step(action)
        ended = ended or len(actions) >= 60
    return np.array(states, np.float64), np.array(actions, np.float64), np.array(seen, np.float64)
