"""A model meets its own robot: the content of the embodiment counts, not its name; cards of fine-tuned models count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gencore.errors import InputError
from gencore.pipeline import Pipeline
from gencore_robot.data import Episodes
from gencore_robot.demonstrations import reach_episodes
from gencore_robot.embodiments.embodiment import Embodiment, difference
from gencore_robot.embodiments.library import load
from gencore_robot.packaged import fitting
from gencore_robot.presets import tiny
from gencore_robot.readers.chunks import chunks_of
from gencore_robot.rollout import rollout
from gencore_robot.wrappers import for_environment

REACH = "gencore/TwoWayReach-v0"
ROBOT = load("reach")
SCALED = replace(ROBOT, state=(replace(ROBOT.state[0], scale=2.0), *ROBOT.state[1:]))
FASTER = replace(ROBOT, control_hz=20)
TOLD = [(SCALED, "scale of state 'x'"), (FASTER, "control_hz")]


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return tiny(reach_episodes(2)).pipeline


@pytest.mark.parametrize(("other", "told"), TOLD)
def test_a_policy_of_an_edited_robot_of_the_same_name_is_refused(pipe: Pipeline, other: Embodiment, told: str) -> None:
    mapping = replace(for_environment(REACH), embodiment=other)
    with pytest.raises(InputError, match=f"--model: got a policy of the robot 'reach' with {told}") as caught:
        rollout(pipe, REACH, episodes=1, mapping=mapping)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("other", "told"), TOLD)
def test_so_are_episodes_of_one(pipe: Pipeline, other: Embodiment, told: str) -> None:
    edited = Episodes([replace(one, embodiment=other) for one in reach_episodes(1).episodes])
    with pytest.raises(InputError, match=f"data: got episodes of reach with {told}"):
        chunks_of(edited, pipe)


def test_a_summary_and_names_of_cameras_change_no_number(pipe: Pipeline) -> None:
    same = replace(ROBOT, summary="mine", cameras={"external": "top"})
    assert difference(ROBOT, same) == ""
    mapping = replace(for_environment(REACH), embodiment=same)
    assert rollout(pipe, REACH, episodes=1, max_steps=1, mapping=mapping).outcomes
    assert len(chunks_of(Episodes([replace(one, embodiment=same) for one in reach_episodes(1).episodes]), pipe))


def test_a_packaged_policy_that_was_fine_tuned_fits_what_the_first_one_did(tmp_path: Path) -> None:
    cards = {"a": {"environments": ["Left-v0"]}, "c": {},
             "b": {"fine-tuned from": "x", "its card": {"environments": ["Right-v0"]}}}  # fmt: skip
    for name, card in cards.items():
        (tmp_path / name).mkdir()
        config = {"format": 1, "modality": "robot", "defaults": {}, "card": card,
                  **{part: {"type": "x"} for part in ("tokenizer", "conditioner", "backbone", "process")}}  # fmt: skip
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    assert fitting("lab:Right-v0", tmp_path) == tmp_path / "b"
    with pytest.raises(InputError, match="fit Left-v0, Right-v0"):
        fitting("Other-v0", tmp_path)
