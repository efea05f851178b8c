"""Low-dimensional state of the environment, such as the pose of an object, as one token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import InputError
from gencore_robot.conditioning.values import batched


class LowDim(Conditioner):
    """The word `name`, (B, dims) values, standardised and given to the stream of the same name as (B, 1, dims).

    Args:
        name: of the word and of the network's stream.
        dims: number of values.
        mean, std: of the training data, one a value; a std of 0 is taken as 1.

    >>> count, c = LowDim("env_state", 2, mean=[1, 1], std=[2, 0])({"env_state": [[3.0, 3.0]]}, 2)
    >>> count, c["env_state"].value.tolist()
    (2, [[[1.0, 2.0]], [[1.0, 2.0]]])
    """

    def __init__(self, name: str, dims: int, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
                 ) -> None:  # fmt: skip
        for field, values in (("mean", mean), ("std", std)):
            if values is not None and len(values) != dims:
                raise InputError(f"{field} of {name}", f"{len(values)} values", f"{dims}")
        self.name, self.dims, self.words = name, dims, (name,)
        self.mean = None if mean is None else [float(v) for v in mean]
        self.std = None if std is None else [float(v) for v in std]

    def _token(self, value: Any, count: int | None = None) -> Condition:
        x = batched(self.name, value, (self.dims,), count)
        if self.mean is not None:
            x = x - torch.tensor(self.mean)
        if self.std is not None:
            std = torch.tensor(self.std)
            x = x / torch.where(std > 0, std, 1.0)
        return Condition(x[:, None], null=torch.zeros(self.dims))

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        if words.get(self.name) is None:
            raise InputError(self.name, "nothing", f"{self.dims} values")
        token = self._token(words[self.name], count)
        return len(token), {self.name: token}

    def targets(self, targets: Mapping[str, Tensor]) -> Conditions:
        return {self.name: self._token(targets[self.name])}

    def example(self, n: int) -> dict[str, Any]:
        """Values for `n` samples, spread around the mean."""
        mean, std = self.mean or [0.0] * self.dims, self.std or [0.2] * self.dims
        return {self.name: [[m + (i - (n - 1) / 2) / n * s for m, s in zip(mean, std, strict=True)] for i in range(n)]}

    def config(self) -> dict[str, Any]:
        return {"name": self.name, "dims": self.dims, "mean": self.mean, "std": self.std}
