"""A robot: its state and its action in slots, its rate, its cameras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gencore.errors import InputError, unknown
from gencore_robot.embodiments.field import Field

ROLES = ("external", "right_wrist", "left_wrist")
"""What a camera may look from; a single arm is the right one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embodiment:
    """A robot's own numbers in their order, and where each goes.

    Args:
        name: what files and commands call it.
        summary: one line.
        control_hz: actions per second; above 0.
        state, action: entries in the robot's order; scales of the two may differ.
        cameras: the robot's camera that has each of `ROLES`.

    Raises:
        InputError: a slot twice, no entry at all, a rate not above 0, an unknown role.
    """

    name: str
    control_hz: float
    state: tuple[Field, ...]
    action: tuple[Field, ...]
    summary: str = ""
    cameras: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (
            isinstance(self.control_hz, bool)
            or not isinstance(self.control_hz, (int, float))
            or not self.control_hz > 0
        ):
            raise InputError(f"embodiment '{self.name}': control_hz", self.control_hz, "a number above 0")
        for role in self.cameras:
            if role not in ROLES:
                raise unknown(f"embodiment '{self.name}': camera role", role, ROLES)
        for what, entries in (("state", self.state), ("action", self.action)):
            if not entries:
                raise InputError(f"embodiment '{self.name}': {what}", "no entries", "at least one")
            taken: dict[int, str] = {}
            for entry in entries:
                for target in entry.targets:
                    if target.index in taken:
                        both = f"'{taken[target.index]}' and '{entry.name}'"
                        raise InputError(f"embodiment '{self.name}': {what}", f"slot {target.names[0]} twice: {both}",
                                         "every slot once")  # fmt: skip
                    taken[target.index] = entry.name

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Embodiment:
        """From the content of an embodiment file.

        Raises:
            InputError: a key is missing or unknown, or a value cannot be used.
        """
        needed = ("name", "control_hz", "state", "action")
        if not isinstance(config, Mapping) or (missing := [key for key in needed if key not in config]):
            raise InputError("embodiment", f"no {missing[0]}" if isinstance(config, Mapping) else config,
                             f"an object with {', '.join(needed)}")  # fmt: skip
        if stray := [key for key in config if key not in cls.__dataclass_fields__]:
            raise unknown(f"embodiment '{config['name']}'", stray[0], cls.__dataclass_fields__)
        entries = {what: fields(config[what], what) for what in ("state", "action")}
        return cls(**{**config, **entries})

    def config(self) -> dict[str, Any]:
        """JSON that `from_config` reads."""
        return {"name": self.name, "summary": self.summary, "control_hz": self.control_hz,
                "cameras": dict(self.cameras), "state": [entry.config() for entry in self.state],
                "action": [entry.config() for entry in self.action]}  # fmt: skip


def difference(one: Embodiment, other: Embodiment) -> str:
    """The first thing in which the numbers of two robots differ, by name, rate, state or action; empty where none.

    >>> from gencore_robot.embodiments.library import load
    >>> difference(load("reach"), load("reach")), difference(load("reach"), load("pusht"))
    ('', "name 'reach', not 'pusht'")
    """
    if one.name != other.name:
        return f"name '{one.name}', not '{other.name}'"
    if one.control_hz != other.control_hz:
        return f"control_hz {one.control_hz:g}, not {other.control_hz:g}"
    for what in ("state", "action"):
        mine, its = getattr(one, what), getattr(other, what)
        if len(mine) != len(its):
            return f"{len(mine)} entries of the {what}, not {len(its)}"
        for a, b in zip(mine, its, strict=True):
            if key := next((key for key in a.config() | b.config() if getattr(a, key) != getattr(b, key)), ""):
                return f"{key} of {what} '{a.name}' {getattr(a, key)}, not {getattr(b, key)}"
    return ""


def fields(entries: Any, what: str) -> tuple[Field, ...]:
    """The entries of a list in a file."""
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise InputError(f"embodiment: {what}", entries, "a list of entries")
    return tuple(Field.from_config(entry) for entry in entries)
