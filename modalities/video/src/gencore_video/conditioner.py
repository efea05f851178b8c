"""The condition of networks that learned classes and are always told the same one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import InputError


class ConstantLabel(Conditioner):
    """Class `label` for every sample; no word chooses another.

    >>> ConstantLabel(0)({}, 2)[1]["label"].value.tolist()
    [0, 0]

    Args:
        label: row of the network's label table, 0 or above.
    """

    def __init__(self, label: int = 0) -> None:
        if label < 0:
            raise InputError("label", label, "0 or above")
        self.label = label

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        count = 1 if count is None else count
        return count, self._conditions(count)

    def targets(self, targets: Mapping[str, Tensor]) -> Conditions:
        return self._conditions(len(targets["data"]))

    def _conditions(self, count: int) -> Conditions:
        return {"label": Condition(torch.full((count,), self.label))}

    def config(self) -> dict[str, Any]:
        return {"label": self.label}
