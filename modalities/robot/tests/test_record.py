"""Recordings of scripted experts: what lies in the files, resuming, failures."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest

from gencore.cli import main
from gencore.errors import InputError
from gencore_robot import recording
from gencore_robot.envs.reach import TwoWayReach
from gencore_robot.experts import library
from gencore_robot.readers.hdf5 import act_episode
from gencore_robot.recording import record
from gencore_robot.wrappers import for_environment

REACH = "gencore/TwoWayReach-v0"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_episode_replays_to_success(tmp_path: Path) -> None:
    done = record(REACH, "reach", tmp_path / "demos", episodes=4, seed=30)
    assert (done.kept, done.tried, done.failed) == (4, 4, 0)
    steps = 0
    for seed in range(30, 34):
        path = tmp_path / "demos" / f"episode_{seed:06d}.hdf5"
        state, action = act_episode(path).numbers()
        steps += len(action)
        with h5py.File(path) as file:
            assert (file.attrs["seed"], file.attrs["success"], file.attrs["sim"]) == (seed, True, True)
            targets: Any = file["observations/env_state"]
            assert targets.shape == (len(action), 4)
        robot = act_episode(path).embodiment
        assert robot is not None and (robot.name, robot.control_hz) == ("reach", 10)
        env = gymnasium.make(REACH)
        obs, info = env.reset(seed=seed)
        for before, move in zip(state, action, strict=True):
            np.testing.assert_allclose(obs["agent_pos"], before, atol=1e-6)
            obs, _, _, _, info = env.step(move.astype(np.float32))
        assert info["is_success"]
    assert steps == done.steps


def test_noise_moves_the_robot_and_not_the_recorded_action(tmp_path: Path) -> None:
    record(REACH, "reach", tmp_path / "plain", episodes=1, seed=7)
    record(REACH, "reach", tmp_path / "noisy", episodes=1, seed=7, noise=0.05)
    plain, noisy = (act_episode(tmp_path / name / "episode_000007.hdf5").numbers() for name in ("plain", "noisy"))
    assert np.abs(plain[0][5] - noisy[0][5]).max() > 1e-4
    assert {tuple(row) for row in noisy[1].tolist()} == {tuple(row) for row in plain[1].tolist()}


def test_it_goes_on_where_it_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(kept: int, episodes: int) -> None:
        if kept == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(REACH, "reach", tmp_path / "cut", episodes=4, seed=0, progress=cut)
    assert sorted(contents(tmp_path / "cut")) == ["episode_000000.hdf5", "episode_000001.hdf5", "recording.json"]
    played: list[int] = []
    made = library.EXPERTS["reach"]
    monkeypatch.setitem(library.EXPERTS, "reach", lambda obs, rng: played.append(1) or made(obs, rng))
    again = record(REACH, "reach", tmp_path / "cut", episodes=4, seed=0)
    assert len(played) == 2 and (again.kept, again.tried) == (4, 4)
    whole = record(REACH, "reach", tmp_path / "whole", episodes=4, seed=0)
    assert whole.steps == again.steps and sorted(contents(tmp_path / "cut")) == sorted(contents(tmp_path / "whole"))
    with pytest.raises(InputError, match=r"recorded with noise 0\.0; accepted: noise 0\.1"):
        record(REACH, "reach", tmp_path / "cut", episodes=4, seed=0, noise=0.1)


@pytest.mark.parametrize(("step", "done"), [("write", False), ("write", True), ("note", False), ("note", True)])
def test_it_goes_on_wherever_it_was_killed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, done: bool
                                                 ) -> None:  # fmt: skip
    real = getattr(recording, step)

    def killed(*args: Any) -> None:
        if done:
            real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(recording, step, killed)
        record(REACH, "reach", tmp_path / "d", episodes=2, seed=0)
    assert record(REACH, "reach", tmp_path / "d", episodes=2, seed=0).kept == 2
    assert sorted(contents(tmp_path / "d")) == ["episode_000000.hdf5", "episode_000001.hdf5", "recording.json"]


def test_a_folder_goes_on_with_its_own_seed_and_mapping_alone(tmp_path: Path) -> None:
    record(REACH, "reach", tmp_path, episodes=1, seed=3)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="recorded with seed 3; accepted: seed 4; record into another folder"):
        record(REACH, "reach", tmp_path, episodes=2, seed=4)
    other = replace(for_environment(REACH), scale=0.5)
    with pytest.raises(InputError, match=r"recorded with mapping two-way-reach \(\w{8}\); accepted: mapping two"):
        record(REACH, "reach", tmp_path, episodes=2, seed=3, mapping=other)
    assert contents(tmp_path) == before


def test_an_environment_without_a_time_limit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LONGEST", 5)
    if "gencore-tests/Endless-v0" not in gymnasium.registry:
        gymnasium.register("gencore-tests/Endless-v0", entry_point=lambda **how: TwoWayReach(**how))
    how: dict[str, Any] = {"episodes": 1, "seed": 0, "mapping": for_environment(REACH), "keep_failures": True}
    with pytest.raises(InputError, match=r"5 steps of seed 0 without an end.*--env-args max_episode_steps="):
        record("gencore-tests/Endless-v0", "reach", tmp_path / "a", **how)
    done = record("gencore-tests/Endless-v0", "reach", tmp_path / "b", arguments={"max_episode_steps": 7}, **how)
    assert done.steps == 7


def test_a_fault_inside_an_expert_is_not_called_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(obs: Any, rng: np.random.Generator, speed: float = 1.0) -> Any:
        raise TypeError("a fault of its own")

    monkeypatch.setitem(library.EXPERTS, "broken", broken)
    with pytest.raises(TypeError, match="a fault of its own"):
        record(REACH, "broken:speed=2", tmp_path, episodes=1, seed=0)
    with pytest.raises(InputError, match="jitter: got far; accepted: 0 or more"):
        record(REACH, "transfer-cube:jitter=far", tmp_path, episodes=1, seed=0)


def half(obs: Any, rng: np.random.Generator) -> Any:
    """Reaches from one half of the starts, and otherwise runs into the disc."""
    good = library.EXPERTS["reach"](obs, rng)
    return good if obs["agent_pos"][0] > 0 else lambda obs: np.array([0.0, -0.3])


def test_failures_are_left_out_and_counted_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(library.EXPERTS, "half", half)
    done = record(REACH, "half", tmp_path / "good", episodes=6, seed=0)
    files = sorted((tmp_path / "good").glob("*.hdf5"))
    assert done.kept == len(files) == 6 and done.failed == done.tried - 6 > 0
    assert all(h5py.File(path).attrs["success"] for path in files)
    log = json.loads((tmp_path / "good" / "recording.json").read_text())
    assert sum(success for _, success in log["outcomes"].values()) == 6
    every = record(REACH, "half", tmp_path / "all", episodes=6, seed=0, keep_failures=True)
    assert every.kept == every.tried == 6 == len(list((tmp_path / "all").glob("*.hdf5"))) and every.failed > 0


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"expert": "raech"}, "did you mean 'reach'?"),
        ({"expert": "no_such_module:act"}, "package.module:function"),
        ({"expert": ":act"}, "package.module:function"),
        ({"expert": "reach:speed=2"}, "settings the expert takes"),
        ({"expert": "transfer-cube"}, "env_state: got shape (4,)"),
        ({"episodes": 0}, "--episodes: got 0"),
        ({"seed": None}, "--seed: got None"),
        ({"noise": float("nan")}, "--noise: got nan"),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, how: dict[str, Any], told: str) -> None:
    asked = {"expert": "reach", "episodes": 1, "seed": 0, **how}
    with pytest.raises(InputError) as caught:
        record(REACH, asked.pop("expert"), tmp_path / "x", **asked)
    assert told in str(caught.value) and not list(tmp_path.glob("x/*"))


def test_an_action_outside_the_limits_is_recorded_as_it_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def eager(obs: Any, rng: np.random.Generator) -> Any:
        act = library.EXPERTS["reach"](obs, rng)
        return lambda obs: act(obs) * (3.0 if obs["agent_pos"][1] < -0.32 else 1.0)

    monkeypatch.setitem(library.EXPERTS, "eager", eager)
    record(REACH, "eager", tmp_path / "d", episodes=1, seed=0, keep_failures=True)
    _, action = act_episode(tmp_path / "d" / "episode_000000.hdf5").numbers()
    assert np.abs(action).max() == 1.0


def test_an_observation_that_is_not_finite_is_not_recorded(tmp_path: Path) -> None:
    class Broken(TwoWayReach):
        def step(self, action: Any) -> Any:
            obs, *rest = super().step(action)
            return {**obs, "agent_pos": obs["agent_pos"] * (np.nan if obs["agent_pos"][1] > -0.7 else 1)}, *rest

    if "gencore-tests/Broken-v0" not in gymnasium.registry:
        gymnasium.register("gencore-tests/Broken-v0", entry_point=lambda **how: Broken(**how), max_episode_steps=5)
    with pytest.raises(InputError, match=r"state: got a value that is not finite at step 3 of seed 0"):
        record("gencore-tests/Broken-v0", "reach", tmp_path / "d", episodes=1, seed=0, keep_failures=True,
               mapping=for_environment(REACH))  # fmt: skip
    assert not list((tmp_path / "d").iterdir())


@pytest.mark.parametrize("log", ["{", "[]", '{"outcomes": {"one": [1, true]}}'])
def test_a_damaged_log_is_told_and_kept(tmp_path: Path, log: str) -> None:
    (tmp_path / "recording.json").write_text(log)
    with pytest.raises(InputError, match="the log of a recording"):
        record(REACH, "reach", tmp_path, episodes=1, seed=0)
    assert (tmp_path / "recording.json").read_text() == log


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="not empty, and no recording"):
        record(REACH, "reach", tmp_path, episodes=1, seed=0)
    assert contents(tmp_path) == {"thesis.txt": b"x"}


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["record", "robot", "--env", REACH, "--env-args", "named=true", "--expert", "reach", "--episodes", "8"]
    assert main([*words, "-o", str(tmp_path / "d"), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 8
    files = sorted((tmp_path / "d").glob("*.hdf5"))
    assert {str(h5py.File(path).attrs["instruction"]) for path in files} == {"left", "right"}
    # Roll-outs begin at seed 0: the default keeps their episodes out of the training data.
    assert files[0].name == "episode_1000000.hdf5"


@pytest.mark.skipif(not (find_spec("mujoco") and find_spec("gym_aloha")), reason="needs mujoco and gym-aloha")
def test_the_cube_is_handed_over(tmp_path: Path) -> None:
    done = record(
        "gencore/AlohaTransferCube-v0", "transfer-cube:jitter=0.005", tmp_path / "d", episodes=1, seed=100_000
    )
    state, action = act_episode(tmp_path / "d" / "episode_100000.hdf5").numbers()
    assert done.kept == 1 and state.shape == action.shape == (done.steps, 14) and done.steps > 250
