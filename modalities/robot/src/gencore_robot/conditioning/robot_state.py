"""State of one robot in its own units, which RDT reads in the unified space (arXiv:2410.07864)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import InputError
from gencore_robot.codec import ActionCodec
from gencore_robot.conditioning.values import batched
from gencore_robot.embodiments.embodiment import Embodiment
from gencore_robot.slots import SLOTS
from gencore_robot.statistics import Statistics


class RobotState(Conditioner):
    """The word ``state``, (B, S) in the robot's units, as ``state`` (B, 1, 128), with the robot's ``indicator``
    (B, 1, 128) of the slots it has and its control ``frequency`` (B,).

    Args:
        embodiment: as `ActionCodec` takes it.
        statistics: of the states in the unified space; with them the state is standardised, where a slot varies at
            all, and the mean stands for an absent state.

    >>> _, c = RobotState("reach")({"state": [0.5, -1.0]}, 2)
    >>> c["state"].value[:, 0, 30:32].tolist(), c["frequency"].value.tolist()
    ([[0.5, -1.0], [0.5, -1.0]], [10.0, 10.0])
    """

    words = ("state",)

    def __init__(self, embodiment: str | Mapping[str, Any] | Embodiment,
                 statistics: Statistics | Mapping[str, Any] | None = None) -> None:  # fmt: skip
        self.codec = ActionCodec(embodiment, 1)
        self.statistics = Statistics.from_config(statistics) if isinstance(statistics, Mapping) else statistics

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        width = self.codec.state.width
        if words.get("state") is None:
            raise InputError("state", "nothing", f"{width} numbers: {', '.join(self.codec.state.names)}")
        x = batched("state", words["state"], (width,), count)
        return len(x), self._conditions(x)

    def targets(self, targets: Mapping[str, Tensor]) -> Conditions:
        return self._conditions(batched("state", targets["state"], (self.codec.state.width,)))

    def _conditions(self, state: Tensor) -> Conditions:
        x, there = self.codec.encode_state(state).value, self.codec.indicator.float()
        null = None
        if self.statistics is not None:
            mean, std = (part.to(x) for part in self.statistics.standard())
            x, null = (x - mean) / std, torch.zeros(SLOTS)
        count = len(x)
        return {
            "state": Condition(x[:, None], null=null), "indicator": Condition(there.expand(count, 1, SLOTS)),
            "frequency": Condition(torch.full((count,), float(self.codec.embodiment.control_hz))),
        }  # fmt: skip

    def example(self, n: int) -> dict[str, Any]:
        """States for `n` samples, spread around the mean."""
        if self.statistics is None:
            middle = self.codec.state.decode(torch.zeros(SLOTS, dtype=torch.float64))
            spread = torch.full_like(middle, 0.1)
        else:
            mean, std = self.statistics.standard()
            middle = self.codec.state.decode(mean)
            spread = self.codec.state.decode(mean + 0.5 * std) - middle
        return {"state": [(middle + (i - (n - 1) / 2) / n * spread).tolist() for i in range(n)]}

    def config(self) -> dict[str, Any]:
        statistics = None if self.statistics is None else self.statistics.config()
        return {"embodiment": self.codec.embodiment.config(), "statistics": statistics}
