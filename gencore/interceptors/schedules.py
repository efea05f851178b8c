"""Schedules: which steps of a run compute, counted from noise.  The others are answered from the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gencore.errors import InputError


class Schedule(Protocol):
    """Which steps compute."""

    def full(self, i: int) -> bool:
        """Step `i`, counted from noise, computes."""
        ...


@dataclass(frozen=True)
class Every:
    """Step i computes if ``i < warmup``, or ``i >= after``, or interval divides ``i - phase``.

    >>> [i for i in range(12) if Every(4, warmup=2, phase=1).full(i)]
    [0, 1, 5, 9]

    Args:
        interval: steps from one computed step to the next, 1 or more; 1 computes all of them.
        warmup: first steps, all computed.
        phase: a step that the interval counts from.
        after: from this step on all are computed; None for none.

    Raises:
        InputError: one of them out of range.
    """

    interval: int
    warmup: int = 1
    phase: int = 0
    after: int | None = None

    def __post_init__(self) -> None:
        whole("interval", self.interval, 1)
        whole("warmup", self.warmup, 0)
        if self.after is not None:
            whole("after", self.after, 0)

    def full(self, i: int) -> bool:
        late = self.after is not None and i >= self.after
        return i < self.warmup or late or (i - self.phase) % self.interval == 0


@dataclass(frozen=True)
class Listed:
    """The steps of a list compute.

    >>> [i for i in range(6) if Listed((0, 1, 4)).full(i)]
    [0, 1, 4]

    Args:
        steps: rising, 0 or more.

    Raises:
        InputError: they are not.
    """

    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        for step in self.steps:
            whole("steps", step, 0)
        if not self.steps or list(self.steps) != sorted(set(self.steps)):
            raise InputError("steps", "/".join(map(str, self.steps)) or "none", "rising numbers, as 0/1/4/9")

    def full(self, i: int) -> bool:
        return i in self.steps


def whole(field: str, value: Any, least: int) -> int:
    """`value`, which must be an integer of at least `least`.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(field, value, f"a whole number, {least} or more")
    return value


def items(value: Any) -> tuple[Any, ...]:
    """A list setting: one item stands for a list of one, as text spells it.

    >>> items("attn"), items(["attn", "mlp"])
    (('attn',), ('attn', 'mlp'))
    """
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
