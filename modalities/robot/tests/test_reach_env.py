"""The two-way reach: two right answers whose mean is wrong."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import gencore_robot.envs  # noqa: F401
from gencore.errors import InputError
from gencore_robot.envs.reach import TwoWayReach
from gencore_robot.experts.reach import reach


def run(env, seed, act, **options):
    obs, _ = env.reset(seed=seed, options=options)
    done = False
    while not done:
        obs, reward, terminated, truncated, info = env.step(act(obs))
        done = terminated or truncated
    return reward, info


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("named", [False, True])
def test_gymnasium_accepts_it(named):
    check_env(TwoWayReach(named=named, render_mode="rgb_array"))


def test_both_sides_are_right_and_their_mean_is_not():
    env = gymnasium.make("gencore/TwoWayReach-v0")
    for seed in range(20):
        for side in (0, 1):
            reward, info = run(env, seed, lambda o, s=side: reach(o["agent_pos"], o["env_state"], s))
            assert (reward, info["is_success"], info["target"]) == (1.0, True, side)
        mean = lambda o: np.mean([reach(o["agent_pos"], o["env_state"], s) for s in (0, 1)], axis=0)  # noqa: E731
        assert run(env, seed, mean)[1] == {"is_success": False, "target": -1}


def test_a_named_target_is_the_only_one_that_counts():
    env = gymnasium.make("gencore/TwoWayReach-v0", named=True)
    for wanted in (0, 1):
        for side in (0, 1):
            _, info = run(env, 3, lambda o, s=side: reach(o["agent_pos"], o["env_state"], s), target=wanted)
            assert info["is_success"] is (side == wanted)
    with pytest.raises(InputError, match="target"):
        env.reset(options={"target": 2})


def test_instances_are_seeded_on_their_own():
    a, b = TwoWayReach(), TwoWayReach()
    first, _ = a.reset(seed=1)
    b.reset(seed=2)
    again, _ = b.reset(seed=1)
    assert (first["env_state"] == again["env_state"]).all()
    later, _ = a.reset()
    assert (later["env_state"] == b.reset()[0]["env_state"]).all()
    assert not (later["env_state"] == first["env_state"]).all()


def test_a_velocity_does_not_leave_the_plane():
    env = TwoWayReach(control="velocity")
    obs, _ = env.reset(seed=0)
    for _ in range(30):
        obs, *_ = env.step(np.array([0.6, -0.6]))
        assert env.observation_space.contains(obs)
    assert obs["agent_pos"].tolist() == [1.0, -1.0]


@pytest.mark.parametrize("action", [[np.nan, 0.0], [0.0]])
def test_an_action_that_is_no_place_is_refused(action):
    env = TwoWayReach()
    env.reset(seed=0)
    with pytest.raises(InputError, match="action"):
        env.step(action)
