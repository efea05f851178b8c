"""State of the robot, which of its slots exist, and its control frequency (RDT, arXiv:2410.07864)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import InputError
from gencore_robot.conditioning.values import batched


class Proprioception(Conditioner):
    """The words ``state`` (B, slots), ``indicator`` (B, slots) of 0 and 1, and ``frequency`` (B,) in Hz.

    Args:
        slots: of the unified vector.
        mean: (slots) of the states of the training data, which stands for an absent state; without it there must be
            one.
        indicator: the slots that exist where nothing is said; None is all of them.
        frequency: Hz where nothing is said; 0 is unknown.

    >>> _, c = Proprioception(3, indicator=[0, 2], frequency=25)({"state": [1.0, 9.0, 2.0]}, None)
    >>> c["state"].value.tolist(), c["indicator"].value.tolist(), c["frequency"].value.tolist()
    ([[[1.0, 0.0, 2.0]]], [[[1.0, 0.0, 1.0]]], [25.0])
    """

    words = ("state", "indicator", "frequency")

    def __init__(self, slots: int = 128, *, mean: Sequence[float] | None = None, indicator: Sequence[int] | None = None,
                 frequency: float = 0.0) -> None:  # fmt: skip
        if mean is not None and len(mean) != slots:
            raise InputError("mean", f"{len(mean)} values", f"{slots}, one a slot")
        if indicator is not None and (wild := [i for i in indicator if not 0 <= i < slots]):
            raise InputError("indicator", wild[0], f"slots 0..{slots - 1}")
        self.slots, self.mean, self.frequency = slots, None if mean is None else list(mean), float(frequency)
        self.indicator = None if indicator is None else list(indicator)

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        state = words.get("state")
        if state is None and self.mean is None:
            raise InputError("state", "nothing", f"{self.slots} values", "this model knows no mean state")
        x = batched("state", self.mean if state is None else state, (self.slots,), count)
        return len(x), self._conditions(x, words.get("indicator"), words.get("frequency"))

    def targets(self, targets: Mapping[str, Tensor]) -> Conditions:
        x = batched("state", targets["state"], (self.slots,))
        return self._conditions(x, targets.get("indicator"), targets.get("frequency"))

    def _conditions(self, state: Tensor, indicator: Any, frequency: Any) -> Conditions:
        if indicator is None:
            shown = torch.ones(self.slots)
            if self.indicator is not None:
                shown = torch.zeros(self.slots).index_fill(0, torch.tensor(self.indicator, dtype=torch.long), 1.0)
        else:
            shown = torch.as_tensor(indicator)
        shown = batched("indicator", shown, (self.slots,), len(state))
        if not bool(((shown == 0) | (shown == 1)).all()):
            raise InputError("indicator", "other values", "0 for a slot that does not exist, 1 for one that does")
        hertz = batched("frequency", self.frequency if frequency is None else frequency, (), len(state))
        if bool((hertz < 0).any()):
            raise InputError("frequency", f"{hertz.min():g}", "Hz, 0 for unknown")
        # A robot's mean has nothing in the slots it lacks, which other robots of the data may have.
        mean = None if self.mean is None else (torch.tensor(self.mean) * shown)[:, None]
        return {
            "state": Condition((state * shown)[:, None], null=mean), "indicator": Condition(shown[:, None]),
            "frequency": Condition(hertz),
        }  # fmt: skip

    def example(self, n: int) -> dict[str, Any]:
        """States for `n` samples, near the mean."""
        mean = self.mean or [0.0] * self.slots
        return {"state": [[value + 0.1 * (i - (n - 1) / 2) / n for value in mean] for i in range(n)]}

    def config(self) -> dict[str, Any]:
        return {"slots": self.slots, "mean": self.mean, "indicator": self.indicator, "frequency": self.frequency}
