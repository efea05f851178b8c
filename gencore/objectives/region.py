"""The part of a batch that a loss scores, and what the network is shown of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from gencore.errors import unknown
from gencore.objective import per_sample_mean

Reduction = Literal["masked_mean", "reference"]


@dataclass(frozen=True)
class Region:
    """The cells to be generated; the network is shown all others clean (arXiv:2305.13311).

        input = m x_t + (1 - m) x_0,     mean = sum(s e) / sum(s)   ("masked_mean")   or   mean(s e)   ("reference")

    with m the generated cells, s those of them that are scored, and e the error of each element.

    Args:
        generated: bool that broadcasts to the batch, True = generate; None for all of it.
        scored: as `generated`, where some generated cells hold no data; None for all of them.
        reduction: "masked_mean" weighs samples alike whatever their masks; "reference" divides by all elements, as
            the published code does, so that a small mask has a small loss.
        bound: whether the variational bound is confined to these cells too; the published code scores all of it.

    >>> half = Region(torch.tensor([[[True, True, False, False]]]))
    >>> half.show(torch.ones(1, 1, 4), torch.zeros(1, 1, 4)).tolist(), half.mean(torch.ones(1, 1, 4)).tolist()
    ([[[1.0, 1.0, 0.0, 0.0]]], [1.0])
    """

    generated: Tensor | None = None
    scored: Tensor | None = None
    reduction: Reduction = "masked_mean"
    bound: bool = True

    def __post_init__(self) -> None:
        if self.reduction not in get_args(Reduction):
            raise unknown("reduction", self.reduction, get_args(Reduction))

    def show(self, x_t: Tensor, x0: Tensor) -> Tensor:
        """The network's input: `x_t` with clean given cells."""
        return x_t if self.generated is None else torch.where(self.generated, x_t, x0)

    def mean(self, error: Tensor) -> Tensor:
        """Per-sample mean (B,) of elementwise `error` (B, ...) over the scored cells."""
        scored = self.generated if self.scored is None else self.scored
        if scored is None:
            return per_sample_mean(error)
        total = torch.where(scored, error, 0).flatten(1).sum(1)
        if self.reduction == "reference":
            return total / error[0].numel()
        return total / scored.expand_as(error).flatten(1).sum(1).clamp(min=1)

    def bound_mean(self, error: Tensor) -> Tensor:
        """`mean` for a term of the variational bound."""
        return self.mean(error) if self.bound else per_sample_mean(error)


WHOLE = Region()
"""Everything is generated."""
