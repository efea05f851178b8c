"""Embodiments as data: those that come along, those of others, and what is refused."""

from __future__ import annotations

import json
from copy import deepcopy
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from gencore.errors import InputError, PluginError
from gencore_robot.embodiments import library
from gencore_robot.embodiments.embodiment import Embodiment
from gencore_robot.slots import INDEX

ONE = {"name": "one", "control_hz": 10, "state": [{"name": "a", "slot": "arm_joint_0_pos", "unit": "rad"}],
       "action": [{"name": "a", "slot": "arm_joint_0_vel", "unit": "rad/s"}]}  # fmt: skip


def changed(**entry: Any) -> dict[str, Any]:
    config = deepcopy(ONE)
    config["state"][0].update(entry)
    return config


@pytest.mark.parametrize("name", library.names())
def test_a_packaged_embodiment_is_its_name_and_survives_json(name: str) -> None:
    robot = library.load(name)
    assert robot.name == name and robot.summary
    assert Embodiment.from_config(json.loads(json.dumps(robot.config()))) == robot


def test_those_that_were_promised_are_there() -> None:
    assert {"aloha-agilex", "aloha-gym", "franka", "ur5e", "mobile-base", "pusht"} <= set(library.names())


@pytest.mark.parametrize("name", ["franka", "franka-maniskill", "ur5e", "pusht"])
def test_a_single_arm_fills_slots_of_the_right_one_only(name: str) -> None:
    robot = library.load(name)
    assert {t.index // 50 for entry in robot.state + robot.action for t in entry.targets} == {0}


@pytest.mark.parametrize(("entry", "said"), [
    ({"slot": "arm_joint_x_pos"}, "did you mean"),
    ({"unit": "furlong"}, "unit: got 'furlong'"),
    ({"unit": "m"}, "a unit of angle"),
    ({"unit": "m", "scale": 2.0}, "a unit of angle"),
    ({"scale": 0.0}, "a scale other than 0"),
    ({"offset": float("nan")}, "finite"),
    ({"low": 1.0, "high": 1.0}, "low below high"),
    ({"gain": 2}, "gain"), ({"low": "0"}, "low: got '0'; accepted: a number"), ({"offset": None}, "offset: got None"),
    ({"unit": ["rad"]}, "unit: got"), ({"slot": 3}, "slot: got 3; accepted: a text"),
    ({"rotation": "axis_angle", "slot": "eef_angle", "unit": ""}, "axis_angle"),
    ({"rotation": "rot6d", "unit": ""}, "right_eef_angle or left_eef_angle"),
])  # fmt: skip
def test_an_entry_that_cannot_be_used_is_refused(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Embodiment.from_config(changed(**entry))


@pytest.mark.parametrize("alias", ["arm_joint_0_pos", "right_arm_joint_0_pos"])
def test_a_slot_twice_is_refused_by_either_name(alias: str) -> None:
    config = deepcopy(ONE)
    config["state"].append({"name": "b", "slot": alias, "unit": "rad"})
    with pytest.raises(InputError, match="slot right_arm_joint_0_pos twice: 'a' and 'b'"):
        Embodiment.from_config(config)


def test_a_rotation_over_a_taken_slot_is_refused() -> None:
    config = deepcopy(ONE)
    config["state"] += [{"name": "hand", "slot": "eef_angle", "rotation": "euler_xyz"},
                        {"name": "extra", "slot": "right_eef_angle_5", "unit": "1"}]  # fmt: skip
    with pytest.raises(InputError, match="right_eef_angle_5 twice"):
        Embodiment.from_config(config)


@pytest.mark.parametrize(("change", "said"), [
    ({"control_hz": 0}, "a number above 0"), ({"state": []}, "no entries"), ({"cameras": {"ceiling": "c"}}, "external"),
    ({"hz": 3}, "hz"), ({"action": "arm"}, "a list of entries"),
])  # fmt: skip
def test_an_embodiment_that_cannot_be_used_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Embodiment.from_config(ONE | change)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(InputError, match="no control_hz"):
        Embodiment.from_config({key: value for key, value in ONE.items() if key != "control_hz"})


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(ONE))
    robot = library.load(str(tmp_path / "one.json"))
    assert robot.state[0].targets[0].index == INDEX["arm_joint_0_pos"] and robot == library.load(tmp_path / "one.json")


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_file_that_cannot_be_read_is_refused(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "one.json").write_text(text)
    with pytest.raises(InputError, match="embodiment"):
        library.load(tmp_path / "one.json")


def test_an_entry_point_brings_one_and_two_of_a_name_clash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "somebodys_robots"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.json").write_text(json.dumps(ONE))
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint("one", "somebodys_robots:one.json", library.GROUP)]
    monkeypatch.setattr(library, "entry_points", lambda group: points)
    assert library.load("one").name == "one" and "one" in library.names()
    points.append(EntryPoint("one", "others:one.json", library.GROUP))
    with pytest.raises(PluginError, match="'one'"):
        library.load("one")


def test_an_entry_point_without_its_file_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("no_such_package:one.json", "gencore_robot:no_such_file.json"):
        points = [EntryPoint("one", place, library.GROUP)]
        monkeypatch.setattr(library, "entry_points", lambda group, points=points: points)
        with pytest.raises(PluginError, match=place):
            library.load("one")


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'franka'"):
        library.load("frankq")
