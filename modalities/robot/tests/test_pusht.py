"""PushT of gym-pusht: tiny policies play in it, told the place of the block or shown its picture."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gencore.cli import main
from gencore_robot.data import Episodes
from gencore_robot.embodiments.library import load
from gencore_robot.presets import pixels, tiny
from gencore_robot.readers.episode import Episode

pytest.importorskip("gym_pusht")
PUSHT = "gym_pusht/PushT-v0"


def uniform(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.0, 512.0, shape)


def picture(step: int) -> np.ndarray:
    return np.full((96, 96, 3), step, np.uint8)


def demonstrations(seen: bool) -> Episodes:
    numbers = (uniform((12, 2)), uniform((12, 2)))
    return Episodes([Episode("made up", 12, lambda: numbers, embodiment=load("pusht"),
                             environment=partial(uniform, (12, 16)) if seen else None,
                             pictures={"pixels": picture})])  # fmt: skip


@pytest.mark.parametrize("sees", ["place", "picture"])
def test_a_policy_plays_in_pusht(sees: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = demonstrations(sees == "place")
    pipe = (tiny(data) if sees == "place" else pixels(data, width=24, depth=2)).pipeline
    pipe.save_pretrained(tmp_path / "model")
    shown = [] if sees == "place" else ["--env-args", "obs_type=pixels_agent_pos"]
    words = ["rollout", "robot", "--env", PUSHT, "--model", str(tmp_path / "model"), "--episodes", "2", "--num-envs",
             "2", "--max-steps", "9", "--device", "cpu", "--quiet", "--json", *shown]  # fmt: skip
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["env"] == PUSHT and told["mean_length"] == 9 and told["predictions"] == 2
    assert told["versions"]["gym-pusht"]
    assert told["clamped"]["actions"] == 18


def test_a_policy_without_eyes_needs_the_place_of_the_block(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny(demonstrations(True)).pipeline.save_pretrained(tmp_path / "model")
    assert main(["rollout", "robot", "--env", PUSHT, "--model", str(tmp_path / "model"), "--episodes", "1", "--quiet",
                 "--device", "cpu", "--env-args", "obs_type=pixels_agent_pos"]) == 2  # fmt: skip
    said = capsys.readouterr().err
    assert "env_state: got nothing" in said and said.count("\n") == 1
