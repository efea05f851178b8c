"""The 128 slots: names, units, and which of them move."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gencore.errors import InputError
from gencore_robot.slots import INDEX, SLOTS, TABLE, UNITS, slot

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("GENCORE_GOLDEN") or ROOT.parent / "shared" / "golden") / "rdt-1b" / "unified-vector"
SMALL = ROOT / "tests" / "golden_small" / "rdt-1b" / "unified-vector"


def recorded() -> Path:
    for folder in (SMALL, SHARED):
        if (folder / "table.json").is_file():
            return folder / "table.json"
    pytest.skip("needs the recorded table: set GENCORE_GOLDEN")


def test_every_name_of_the_recorded_table_has_its_index_and_no_other_exists() -> None:
    assert json.loads(recorded().read_text())["name_to_index"] == INDEX


def test_the_units_are_those_of_the_recorded_sections() -> None:
    for start, stop, _, unit in json.loads(recorded().read_text())["sections"]:
        wanted = {None: "", "0..1": "1", "-": "1"}.get(unit, unit)
        assert {TABLE[index].unit for index in range(start, stop)} == {wanted}, (start, stop)


def test_indices_are_in_order_and_units_known() -> None:
    assert [entry.index for entry in TABLE] == list(range(SLOTS))
    assert all(bool(entry.names) == bool(entry.unit) for entry in TABLE)
    assert {entry.unit for entry in TABLE if entry.names} <= set(UNITS)


def test_what_moves_is_what_a_second_divides() -> None:
    assert {entry.index for entry in TABLE if entry.velocity} == {e.index for e in TABLE if e.unit.endswith("/s")}
    assert {e.index for e in TABLE if e.velocity} == {*range(15, 30), *range(39, 45), *range(65, 80), *range(89, 95),
                                                      100, 101, 102}  # fmt: skip


def test_a_single_arm_is_the_right_one() -> None:
    assert slot("arm_joint_3_pos") == slot("right_arm_joint_3_pos")
    assert slot("gripper_open").index == 10 and slot("left_gripper_open").index == 60


def test_an_unknown_slot_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'left_gripper_open'"):
        slot("left_griper_open")
