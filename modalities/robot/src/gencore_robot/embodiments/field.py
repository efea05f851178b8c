"""One entry of a robot's state or action, and the slots it goes to.

    slot = (value - offset) / scale

`scale` is in the robot's own unit; without one it is what converts the unit to the slot's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gencore.errors import InputError, unknown
from gencore_robot.slots import CONVERTIBLE, UNITS, Slot, slot

WIDTHS = {"rot6d": 6, "matrix": 9, "quaternion_wxyz": 4, "quaternion_xyzw": 4, "euler_xyz": 3}
"""Numbers of each way to say a rotation; ``euler_xyz`` is roll, pitch, yaw, extrinsic, in rad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One number of a robot, or the few of one rotation.

    Args:
        name: what the robot's own users call it.
        slot: a slot's name; of a rotation the name without its number, ``right_eef_angle``.
        unit: of `UNITS`, the robot's own; empty for a rotation.
        scale, offset: see above, in `unit`.
        low, high: what the robot accepts, in `unit`.
        rotation: of `WIDTHS`; empty for a number.

    Raises:
        InputError: an unknown slot, unit or rotation, a unit the slot cannot take, a scale of 0, limits in disorder.
    """

    name: str
    slot: str
    unit: str = ""
    scale: float | None = None
    offset: float = 0.0
    low: float | None = None
    high: float | None = None
    rotation: str = ""

    def __post_init__(self) -> None:
        where = f"embodiment entry '{self.name}'"
        if self.rotation and self.rotation not in WIDTHS:
            raise unknown(f"{where}: rotation", self.rotation, WIDTHS)
        if self.rotation:
            if not self.slot.endswith("eef_angle"):
                raise InputError(f"{where}: slot", self.slot, "right_eef_angle or left_eef_angle for a rotation")
            if self.unit or self.scale is not None or self.offset or self.low is not None or self.high is not None:
                raise InputError(where, "a rotation with unit, scale or limits", "a rotation without them")
        wanted = self.targets[0]
        if self.rotation:
            return
        if self.unit not in UNITS:
            raise unknown(f"{where}: unit", self.unit, UNITS)
        kind, own = UNITS[wanted.unit][0], UNITS[self.unit][0]
        if kind != own and not (self.scale is not None and own in CONVERTIBLE.get(kind, ())):
            raise InputError(f"{where}: unit", self.unit, f"a unit of {kind}, as slot {self.slot} ({wanted.unit})")
        numbers = [self.divisor, self.offset, *(v for v in (self.low, self.high) if v is not None)]
        if not all(map(math.isfinite, numbers)) or not self.divisor:
            raise InputError(f"{where}: scale, offset, limits", numbers, "finite numbers, a scale other than 0")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise InputError(f"{where}: limits", f"{self.low}..{self.high}", "low below high")

    @property
    def width(self) -> int:
        """Numbers of the robot's own it takes."""
        return WIDTHS[self.rotation] if self.rotation else 1

    @property
    def targets(self) -> tuple[Slot, ...]:
        """The slots it goes to."""
        names = [f"{self.slot}_{i}" for i in range(6)] if self.rotation else [self.slot]
        return tuple(slot(name, f"embodiment entry '{self.name}': slot") for name in names)

    @property
    def divisor(self) -> float:
        """The scale, given or from the units."""
        if self.scale is not None:
            return self.scale
        return UNITS[self.targets[0].unit][1] / UNITS[self.unit][1] if self.unit else 1.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Field:
        """From an entry of an embodiment file.

        Raises:
            InputError: a key is missing or unknown, or a value is of another type or cannot be used.
        """
        if not isinstance(config, Mapping) or not {"name", "slot"} <= set(config):
            raise InputError("embodiment entry", config, "an object with at least name and slot")
        if stray := [key for key in config if key not in cls.__dataclass_fields__]:
            raise unknown(f"embodiment entry '{config['name']}'", stray[0], cls.__dataclass_fields__)
        for key, value in config.items():
            numeric = key in ("scale", "offset", "low", "high")
            absent = value is None and numeric and key != "offset"
            if not absent and (isinstance(value, bool) or not isinstance(value, (int, float) if numeric else str)):
                raise InputError(f"embodiment entry '{config['name']}': {key}", repr(value),
                                 "a number" if numeric else "a text")  # fmt: skip
        return cls(**config)

    def config(self) -> dict[str, Any]:
        """The entry again, without what is as it would be anyway."""
        return {
            key: value
            for key, value in asdict(self).items()
            if value not in (None, "") and (key, value) != ("offset", 0.0)
        }
