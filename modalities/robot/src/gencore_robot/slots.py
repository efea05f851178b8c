"""The unified space: 128 slots, each with one meaning on every robot (arXiv 2410.07864, table 4).

A slot has an SI unit and says whether its value is a position, which holds when repeated, or a velocity, which keeps
the robot moving.  A robot with a single arm uses the slots of the right one.
"""

from __future__ import annotations

from dataclasses import dataclass

from gencore.errors import unknown

SLOTS = 128
"""Slots of the unified space."""

UNITS = {
    "rad": ("angle", 1.0), "deg": ("angle", 0.017453292519943295), "m": ("length", 1.0), "cm": ("length", 0.01),
    "mm": ("length", 0.001), "px": ("image", 1.0), "1": ("ratio", 1.0), "rad/s": ("angular velocity", 1.0),
    "deg/s": ("angular velocity", 0.017453292519943295), "m/s": ("velocity", 1.0), "cm/s": ("velocity", 0.01),
    "1/s": ("rate", 1.0),
}  # fmt: skip
"""Unit: what it measures, and how many SI units it is."""

CONVERTIBLE = {"ratio": {"angle", "length"}, "length": {"image"}, "rate": {"angular velocity", "velocity"}}
"""What a slot takes from a unit of another kind, given an explicit scale: an opening, a place in a picture."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One entry of the unified space.

    Args:
        index: 0..127.
        names: all its names, the full one first; empty when it is reserved.
        unit: of `UNITS`; empty when it is reserved.
        velocity: repeating the value keeps the robot moving.
    """

    index: int
    names: tuple[str, ...] = ()
    unit: str = ""
    velocity: bool = False


def arm(side: str, start: int) -> list[Slot]:
    """The 45 slots of one arm from `start` on; those of the right arm also go without their prefix."""
    found: list[Slot] = []

    def add(names: list[str], unit: str, velocity: bool = False) -> None:
        short = names if side == "right" else []
        found.append(Slot(start + len(found), tuple([f"{side}_{n}" for n in names] + short), unit, velocity))

    for motion, unit, ratio in (("pos", "rad", "1"), ("vel", "rad/s", "1/s")):
        moving = motion == "vel"
        for joint in range(10):
            add([f"arm_joint_{joint}_{motion}"], unit, moving)
        for joint in range(5):
            opening = ["gripper_open_vel" if moving else "gripper_open"] if joint == 0 else []
            add([f"gripper_joint_{joint}_{motion}", *opening], ratio, moving)
    for axis in "xyz":
        add([f"eef_pos_{axis}"], "m")
    for entry in range(6):
        add([f"eef_angle_{entry}"], "1")
    for axis in "xyz":
        add([f"eef_vel_{axis}"], "m/s", True)
    for axis in ("roll", "pitch", "yaw"):
        add([f"eef_angular_vel_{axis}"], "rad/s", True)
    return found


def table() -> tuple[Slot, ...]:
    """All 128 slots in order."""
    named = [*arm("right", 0), *arm("left", 50), Slot(100, ("base_vel_x",), "m/s", True),
             Slot(101, ("base_vel_y",), "m/s", True), Slot(102, ("base_angular_vel",), "rad/s", True)]  # fmt: skip
    by_index = {slot.index: slot for slot in named}
    return tuple(by_index.get(index, Slot(index)) for index in range(SLOTS))


TABLE = table()
"""The slots in order."""

INDEX = {name: slot.index for slot in TABLE for name in slot.names}
"""Every name, aliases included: its slot."""


def slot(name: str, field: str = "slot") -> Slot:
    """The slot called `name`.

    Raises:
        InputError: no slot has this name; the nearest one is named.

    >>> slot("left_gripper_open").index, slot("base_vel_x").velocity
    (60, True)
    """
    if name not in INDEX:
        raise unknown(field, name, INDEX)
    return TABLE[INDEX[name]]
