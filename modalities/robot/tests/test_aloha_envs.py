"""ALOHA without cameras, and its scripted expert."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import gencore_robot.envs  # noqa: F401
from gencore.errors import InputError, MissingDependency
from gencore_robot.envs import viperx
from gencore_robot.envs.aloha import AlohaInsertion, AlohaTransferCube
from gencore_robot.experts.transfer_cube import transfer_cube
from gencore_robot.experts.waypoints import Waypoint, about, path

HAS = all(find_spec(package) is not None for package in ("mujoco", "gym_aloha"))
needs = pytest.mark.skipif(not HAS, reason="the extra gencore-robot[aloha] (gym-aloha, mujoco) is not installed")
HOME = viperx.joints(viperx.HOME)


@needs
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("task", "values"), [(AlohaTransferCube, 7), (AlohaInsertion, 14)])
def test_gymnasium_accepts_it(task, values):
    env = task()
    check_env(env, skip_render_check=True)
    assert env.observation_space["agent_pos"].shape == (14,)
    assert env.observation_space["env_state"].shape == (values,)
    assert env.metadata["privileged"] == ("env_state",)
    # The pose at rest lies inside the limits (an elbow of 1.16 rad would not lie in [-1, 1]).
    assert env.action_space.contains(HOME.astype(np.float32))


@needs
def test_instances_share_no_object():
    one, other = AlohaTransferCube(), AlohaTransferCube()
    first, _ = one.reset(seed=1)
    second, _ = other.reset(seed=2)
    assert not np.allclose(first["env_state"], second["env_state"])
    stepped, *_ = one.step(HOME)
    assert np.allclose(stepped["env_state"][:2], first["env_state"][:2], atol=1e-3)
    again, _ = other.reset(seed=1)
    assert (again["env_state"] == first["env_state"]).all()
    unseeded, other_unseeded = one.reset()[0]["env_state"], other.reset()[0]["env_state"]
    assert (unseeded == other_unseeded).all() and not (unseeded == first["env_state"]).all()


@needs
def test_objects_lie_where_they_are_put():
    env = AlohaInsertion()
    obs, _ = env.reset(seed=0)
    peg, socket = obs["env_state"][:7], obs["env_state"][7:]
    assert 0.1 <= peg[0] <= 0.2 and -0.2 <= socket[0] <= -0.1
    put = obs["env_state"] + 0.01 * np.eye(14)[0]
    assert (env.reset(options={"env_state": put})[0]["env_state"] == put).all()
    with pytest.raises(InputError, match="env_state"):
        env.reset(options={"env_state": np.zeros(7)})


@needs
def test_an_action_follows_its_targets_and_bad_ones_are_refused():
    env = AlohaTransferCube()
    env.reset(seed=0)
    target = HOME.copy()
    target[0], target[13] = 0.3, 0.8
    for _ in range(60):
        obs, *_ = env.step(target)
    assert abs(obs["agent_pos"][0] - 0.3) < 0.02 and abs(obs["agent_pos"][13] - 0.8) < 0.1
    for bad, said in ((np.full(14, np.nan), "entry 0 that is nan"), (np.zeros(13), r"shape \(13,\)")):
        with pytest.raises(InputError, match=said):
            env.step(bad)


@needs
@pytest.mark.parametrize("seed", [0, 13, 31])
def test_the_expert_hands_the_cube_over(seed):
    # Seeds 13 and 31 put the cube where a hand that turns down on its way aside rolls its forearm over and misses.
    env = gymnasium.make("gencore/AlohaTransferCube-v0")
    obs, _ = env.reset(seed=seed)
    rewards = []
    for action in transfer_cube(obs["env_state"]):
        obs, reward, terminated, _, info = env.step(action)
        rewards.append(reward)
        if terminated:
            break
    assert info["is_success"] and {1.0, 2.0} < set(rewards)
    assert obs["env_state"][2] > 0.2


@needs
def test_the_left_hand_keeps_the_cube_when_the_right_lets_go():
    env = AlohaTransferCube()
    obs, _ = env.reset(seed=4)
    for action in transfer_cube(obs["env_state"]):
        obs, reward, *_ = env.step(action)
    assert reward == 4.0 and obs["env_state"][2] > 0.2 and obs["env_state"][0] < -0.05


@needs
def test_jitter_comes_from_its_generator():
    pose = np.array([0.1, 0.5, 0.05, 1, 0, 0, 0])
    plain = transfer_cube(pose)
    noisy = [transfer_cube(pose, np.random.default_rng(3), 0.01) for _ in range(2)]
    assert (noisy[0] == noisy[1]).all() and not np.allclose(noisy[0], plain)
    with pytest.raises(InputError, match="jitter"):
        transfer_cube(pose, jitter=0.01)
    with pytest.raises(InputError, match="env_state"):
        transfer_cube(np.zeros(14))


@needs
def test_an_unknown_camera_is_named():
    with pytest.raises(InputError, match="camera"):
        AlohaTransferCube(cameras=("bottom",))


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setattr(viperx, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"gencore-robot\[aloha\]"):
        AlohaTransferCube()


def test_a_graphics_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(viperx, "find_spec", lambda name: SimpleNamespace(origin=__file__))
    monkeypatch.setitem(sys.modules, "mujoco", None)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(InputError, match="MUJOCO_GL: got osmesa"):
        AlohaTransferCube()


def test_joints_and_controls_are_inverse():
    action = np.linspace(-0.5, 0.9, 14)
    np.testing.assert_allclose(viperx.joints(viperx.controls(action)), action, atol=1e-12)


def test_paths_take_the_short_turn_and_refuse_disorder():
    ends = [Waypoint(0, np.zeros(3), about(2, 170.0), 0.0), Waypoint(10, np.ones(3), -about(2, 190.0), 1.0)]
    middle = path(ends, 11)[5]
    np.testing.assert_allclose(np.abs(middle[3:7]), [0, 0, 0, 1], atol=1e-9)
    with pytest.raises(InputError, match="rising"):
        path([ends[1], ends[0]], 5)
