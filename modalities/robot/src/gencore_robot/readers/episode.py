"""What the readers give: episodes that are opened when they are read and not before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gencore.errors import InputError
from gencore_robot.embodiments.embodiment import Embodiment


@dataclass(frozen=True, slots=True)
class Episode:
    """One demonstration.

    Args:
        name: its file, or its number in its dataset.
        length: T steps.
        numbers: reads state (T, S) and action (T, A), float64, in the robot's units; opens what it needs and closes
            it, so that it may run in any process.
        start: the first step a sample may begin at.
        instructions: groups of texts; a draw takes a group, then one of its texts.
        environment: reads the low-dimensional state of the environment (T, E), float64, as `numbers` does; None where
            there is none.
        embodiment: the robot it was recorded on, where the data say so.
        pictures: of every camera, what reads its (H, W, 3) uint8 picture of a step; red comes first, unless the data
            hold raw pictures in another order.
    """

    name: str
    length: int
    numbers: Callable[[], tuple[np.ndarray, np.ndarray]]
    start: int = 0
    instructions: tuple[tuple[str, ...], ...] = ()
    environment: Callable[[], np.ndarray] | None = None
    embodiment: Embodiment | None = None
    pictures: Mapping[str, Callable[[int], np.ndarray]] = field(default_factory=dict)

    def instruction(self, rng: np.random.Generator) -> str:
        """One text, each group equally likely; empty where there is none."""
        if not self.instructions:
            return ""
        group = self.instructions[int(rng.integers(len(self.instructions)))]
        return group[int(rng.integers(len(group)))]


def chunk(actions: np.ndarray, step: int, horizon: int) -> np.ndarray:
    """(horizon, A): the actions from `step` on, the last one repeated where the episode ends.

    Raises:
        InputError: a step outside the episode.

    >>> chunk(np.array([[1.0], [2.0]]), 1, 3)[:, 0].tolist()
    [2.0, 2.0, 2.0]
    """
    if not 0 <= step < len(actions):
        raise InputError("step", step, f"0..{len(actions) - 1}")
    return actions[np.minimum(np.arange(step, step + horizon), len(actions) - 1)]


def checked(name: str, arrays: dict[str, Any]) -> list[np.ndarray]:
    """The `arrays` of an episode as (T, D) float64 of one length.

    Raises:
        InputError: no numbers, another rank, lengths that differ, no step, or NaN; array and first step are named.
    """
    found: list[np.ndarray] = []
    for key, value in arrays.items():
        try:
            array = np.asarray(value, np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{name}: {key}", "rows that differ in length or are no numbers", "(T, D) numbers"
            ) from error
        if array.ndim != 2:
            raise InputError(f"{name}: {key}", f"shape {array.shape}", "(T, D)")
        if not (finite := np.isfinite(array).all(1)).all():
            raise InputError(f"{name}: {key}", f"NaN or infinity at step {int(np.argmin(finite))}", "finite values")
        found.append(array)
    lengths = [len(array) for array in found]
    if len(set(lengths)) > 1 or not lengths[0]:
        said = ", ".join(f"{key} {length}" for key, length in zip(arrays, lengths, strict=True))
        raise InputError(f"{name}: steps", said, "one length, at least 1")
    return found


def require(names: Sequence[str], key: str, where: str) -> None:
    """Refuse `where` if `key` is not among `names`."""
    if key not in names:
        raise InputError(f"{where}: key", f"no '{key}'", f"one of {', '.join(sorted(names))}" if names else "")
