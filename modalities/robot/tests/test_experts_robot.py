"""Experts and robots of the two-way reach."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import gencore_robot.envs  # noqa: F401
from gencore.errors import InputError
from gencore_robot.codec import ActionCodec
from gencore_robot.envs.reach import FASTEST, TwoWayReach
from gencore_robot.experts.library import EXPERTS, find
from gencore_robot.wrappers.library import for_environment

ROBOTS = {
    "gencore/TwoWayReach-v0": ("reach", "reach"),
    "gencore/TwoWayReachNamed-v0": ("reach", "reach"),
    "gencore/TwoWayReachVelocity-v0": ("reach-velocity", "reach-velocity"),
}


@pytest.mark.parametrize("env_id", ROBOTS)
def test_its_expert_reaches_a_target_that_counts_on_every_seed(env_id: str) -> None:
    env, sides = gymnasium.make(env_id), set()
    for seed in range(40):
        obs, _ = env.reset(seed=seed)
        wanted = obs.get("target")
        act = EXPERTS[ROBOTS[env_id][0]](obs, np.random.default_rng(seed))
        ended = False
        while not ended:
            action = act(obs)
            assert np.abs(action).max() <= env.action_space.high.max() + 1e-9  # type: ignore[attr-defined]
            obs, _, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
        assert info["is_success"] and wanted in (None, info["target"])
        sides.add(info["target"])
    assert sides == {0, 1}


@pytest.mark.parametrize("env_id", ROBOTS)
def test_the_limits_of_its_embodiment_are_those_of_the_environment(env_id: str) -> None:
    mapping = for_environment(env_id)
    assert mapping.embodiment is not None and mapping.embodiment.name == ROBOTS[env_id][1]
    codec, space = ActionCodec(mapping.embodiment, horizon=2), gymnasium.make(env_id).action_space
    np.testing.assert_allclose(codec.action.low, space.low, rtol=1e-6)  # type: ignore[attr-defined]
    np.testing.assert_allclose(codec.action.high, space.high, rtol=1e-6)  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore")
def test_gymnasium_accepts_the_velocity_robot() -> None:
    check_env(TwoWayReach(control="velocity"))


def test_a_velocity_moves_the_point_by_a_tenth_of_it_however_fast_is_asked() -> None:
    env = TwoWayReach(control="velocity")
    start = env.reset(seed=0)[0]["agent_pos"]
    slow = env.step(np.array([0.3, -0.2]))[0]["agent_pos"]
    np.testing.assert_allclose(slow - start, [0.03, -0.02], atol=1e-6)
    fast = env.step(np.array([9.0, 0.0]))[0]["agent_pos"]
    # The point is never faster than the position robot.
    np.testing.assert_allclose(fast - slow, [FASTEST / 10, 0.0], atol=1e-6)


def test_another_control_is_refused() -> None:
    with pytest.raises(InputError, match="position, velocity"):
        TwoWayReach(control="torque")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["transfer-cube", "reach", "reach-velocity"])
def test_an_observation_without_what_an_expert_reads_is_told(name: str) -> None:
    begin, settings = find(name)
    obs = {"agent_pos": np.zeros(2)}
    with pytest.raises(InputError, match="no 'env_state'"):
        begin(obs, np.random.default_rng(0), **settings)(obs)
