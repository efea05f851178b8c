"""Mappings: words there, actions back, for one environment and for many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from gencore.errors import InputError
from gencore_robot.environments import make_vec
from gencore_robot.envs.reach import TwoWayReach
from gencore_robot.wrappers import EnvMapping, Mapped, for_environment, load
from gencore_robot.wrappers.source import Source


@given(st.permutations(range(5)), st.lists(st.floats(0.1, 9) | st.floats(-9, -0.1), min_size=5, max_size=5),
       st.lists(st.floats(-9, 9), min_size=5, max_size=5))  # fmt: skip
def test_actions_come_back(order: list[int], scale: list[float], offset: list[float]) -> None:
    mapping = EnvMapping(observation={"state": (Source(),)}, order=tuple(order), scale=scale, offset=offset)
    action = np.arange(10.0).reshape(2, 5)
    sent = mapping.to_env(action)
    np.testing.assert_allclose(sent, action[:, order] * np.array(scale) + np.array(offset))
    np.testing.assert_allclose(mapping.from_env(sent), action, atol=1e-9)


def test_a_slice_a_scale_and_several_sources_make_one_word() -> None:
    obs = {"arm": {"q": np.array([1.0, 2.0, 3.0])}, "grip": np.float64(50.0)}
    sources = (Source(key="arm/q", start=1), Source(key="grip", scale=100.0, offset=10.0))
    mapping = EnvMapping(observation={"state": sources})
    np.testing.assert_allclose(mapping.words(obs)["state"], [2.0, 3.0, 0.4])
    batch = {"arm": {"q": np.stack([obs["arm"]["q"]] * 2)}, "grip": np.array([50.0, 60.0])}
    np.testing.assert_allclose(mapping.words(batch, batched=True)["state"], [[2.0, 3.0, 0.4], [2.0, 3.0, 0.5]])


def test_pictures_and_texts() -> None:
    top, wrist = np.full((4, 6, 3), 7, np.uint8), np.full((4, 6, 3), 9, np.uint8)
    mapping = EnvMapping(observation={"images": (Source(views=("top", "wrist")),),
                                      "instruction": (Source(key="goal", choices=("left", "right")),)})  # fmt: skip
    said = mapping.words({"top": top, "wrist": wrist, "goal": 1})
    assert said["images"].shape == (2, 3, 4, 6) and said["images"][1].max() == 9 and said["instruction"] == "right"
    batch = {"top": top[None], "wrist": wrist[None], "goal": np.array([0])}
    said = mapping.words(batch, batched=True)
    assert said["images"].shape == (1, 2, 3, 4, 6) and said["instruction"] == ["left"]


def test_a_wrapped_environment_passes_gymnasiums_check() -> None:
    class Scaled(TwoWayReach):
        pass

    mapping = EnvMapping(observation={"state": (Source(key="agent_pos", scale=-2.0),),
                                      "env_state": (Source(key="env_state"),)}, scale=0.5)  # fmt: skip
    env = Mapped(Scaled(render_mode="rgb_array"), mapping)
    check_env(env, skip_render_check=True)
    box: Any = env.action_space
    assert box.low.tolist() == [-2.0, -2.0] and box.high.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("processes", [False, True])
def test_many_see_what_one_sees(processes: bool) -> None:
    mapping = for_environment("gencore/TwoWayReach-v0")
    envs = make_vec("gencore/TwoWayReach-v0", mapping, 3, {"named": True}, processes=processes)
    try:
        obs, _ = envs.reset(seed=[4, 5, 6])
        step, *_ = envs.step(np.zeros((3, 2)))
    finally:
        envs.close()
    assert set(obs) == {"state", "env_state", "instruction"} == set(envs.single_observation_space.spaces)
    for row, seed in enumerate((4, 5, 6)):
        env = Mapped(gymnasium.make("gencore/TwoWayReach-v0", named=True), mapping)
        one, _ = env.reset(seed=seed)
        two, *_ = env.step(np.zeros(2))
        for many, single in ((obs, one), (step, two)):
            assert many["instruction"][row] == single["instruction"]
            for word in ("state", "env_state"):
                np.testing.assert_array_equal(many[word][row], single[word])


def test_the_packaged_pusht_mapping_fits_its_spaces() -> None:
    mapping = for_environment("gym_pusht/PushT-v0")
    observed = spaces.Dict({"environment_state": spaces.Box(0, 512, (16,)), "agent_pos": spaces.Box(0, 512, (2,))})
    mapping.check(observed, spaces.Box(0, 512, (2,)))
    bounds = mapping.bounds(spaces.Box(0, 512, (2,)))
    assert bounds is not None and bounds[0].tolist() == [0, 0] and bounds[1].tolist() == [512, 512]
    assert mapping.embodiment is not None and mapping.embodiment.control_hz == 10


def test_gym_aloha_takes_joint_targets_beyond_the_bounds_it_declares() -> None:
    assert for_environment("gym_aloha/AlohaTransferCube-v0").bounds(spaces.Box(-1, 1, (14,))) is None


REACH: dict[str, Any] = {"observation": {"state": "agent_pos"}}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "mapping: got no 'observation'"),
        ({"observation": {}}, "observation: got no words"),
        ({**REACH, "ordre": [0]}, "did you mean 'order'?"),
        ({**REACH, "order": [0, 0]}, "each entry from 0 on once"),
        ({**REACH, "scale": 0}, "no scale of 0"),
        ({**REACH, "scale": "2 m"}, "scale, offset: got"),
        ({**REACH, "order": ["a", 0]}, "each entry from 0 on once"),
        ({**REACH, "environments": "lab/Arm-v0"}, "environments: got 'lab/Arm-v0'; accepted: a list"),
        ({"observation": {"state": {"kye": "a"}}}, "did you mean 'key'?"),
        ({"observation": {"state": {"key": "a", "text": "b"}}}, "one of them"),
        (
            {"observation": {"state": "wrist"}},
            "observation: got no 'wrist'; accepted: what the environment offers: 'ag",
        ),
        ({**REACH, "order": [0, 1, 2]}, "order: got 3 entries; accepted: 2"),
        ({**REACH, "scale": [1, 2, 3]}, "scale: got 3 entries"),
        ({**REACH, "embodiment": "aloha-gym"}, "got 2 actions of the environment; accepted: 14, as 'aloha-gym' has"),
        ({**REACH, "embodiment": "arm.json"}, "embodiment file: got"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_told(tmp_path: Path, config: dict[str, Any], told: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps(config))
    with pytest.raises(InputError) as caught:
        Mapped(TwoWayReach(), load(path))
    assert told in str(caught.value)
    path.write_text("{")
    with pytest.raises(InputError, match="a readable JSON file"):
        load(path)
