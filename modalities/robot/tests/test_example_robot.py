"""The example of a team's own robot: its files fit together, its script runs to the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from gencore_robot.environments import make
from gencore_robot.readers.hdf5 import act_episode
from gencore_robot.wrappers import load

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "own_robot"
ARM = "planar_arm:lab/PlanarArm-v0"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield
    for name in ("run", "planar_arm"):
        sys.modules.pop(name, None)
    gymnasium.registry.pop("lab/PlanarArm-v0", None)


def test_its_controller_solves_the_task_with_the_elbow_on_either_side() -> None:
    env, sides = make(ARM, load(EXAMPLE / "mapping.json")), set()
    controller = import_module("planar_arm").controller
    for seed in range(12):
        obs, info = env.reset(seed=seed)
        act, ended = controller(obs, np.random.default_rng(seed)), False
        while not ended:
            obs, _, terminated, truncated, info = env.step(act(obs).astype(np.float32))
            ended = terminated or truncated
        assert info["solved"], seed
        sides.add(bool(obs["encoders"][1] > 0))
    assert sides == {False, True}


def test_the_script_records_trains_and_plays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words: list[Any] = ["-o", tmp_path, "--demonstrations", 3, "--steps", 2, "--episodes", 2]
    assert import_module("run").main(list(map(str, words))) == 0
    assert "success        " in capsys.readouterr().out
    robot = act_episode(next((tmp_path / "demonstrations").glob("*.hdf5"))).embodiment
    assert robot is not None and (robot.name, robot.action[1].unit) == ("planar-arm", "deg")
    assert (tmp_path / "run" / "model" / "config.json").is_file()
