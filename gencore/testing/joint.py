"""Token data whose every prediction is known: a joint distribution given by its table, and the network that is exact.

Under masking the posterior of a hidden token depends on the open ones alone, whatever the time,

    p(x_i | x_t) = sum over sequences that agree with the open tokens of x_t, with x_i fixed  /  the same without
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gencore.backbone import Backbone, Output
from gencore.categorical import TokenPrediction
from gencore.condition import Conditions
from gencore.context import Context
from gencore.spec import LatentSpec


@dataclass(frozen=True)
class Joint:
    """A distribution over sequences of L tokens out of 0 .. V-1; the mask is token V.

    Args:
        table: (V, ..., V) float64 of sum 1, one axis a position.
    """

    table: Tensor

    @property
    def length(self) -> int:
        return self.table.ndim

    @property
    def mask_id(self) -> int:
        return self.table.shape[0]

    @property
    def spec(self) -> LatentSpec:
        return LatentSpec("b n", (self.length,), time_axes=("n",), kind="discrete", vocab=self.mask_id + 1)

    def agreeing(self, x: Tensor) -> Tensor:
        """(B, V, ..., V): the table, with 0 for what the open tokens of `x` (B, L) rule out."""
        tokens = torch.arange(self.mask_id)
        weights = self.table.expand(len(x), *self.table.shape)
        for i in range(self.length):
            fits = (x[:, i, None] == self.mask_id) | (x[:, i, None] == tokens)
            weights = weights * fits.reshape(len(x), *(-1 if j == i else 1 for j in range(self.length)))
        return weights

    def marginals(self, x: Tensor) -> Tensor:
        """p of every token at every position given the open tokens of `x` (B, L), (B, L, V) float64.

        >>> pair = Joint(torch.tensor([[0.5, 0.0], [0.0, 0.5]], dtype=torch.float64))
        >>> pair.marginals(torch.tensor([[0, 2]])).tolist()
        [[[1.0, 0.0], [1.0, 0.0]]]
        """
        weights = self.agreeing(x)
        each = [weights.movedim(i + 1, 1).reshape(len(x), self.mask_id, -1).sum(2) for i in range(self.length)]
        return torch.stack(each, 1) / weights.flatten(1).sum(1).clamp(min=1e-300)[:, None, None]

    def log_prob(self, x: Tensor) -> Tensor:
        """log p of clean sequences `x` (B, L), nats, (B,)."""
        return self.agreeing(x).flatten(1).sum(1).log()

    def counts(self, x: Tensor) -> Tensor:
        """How often each sequence occurs in clean `x` (B, L), like the table."""
        index = torch.zeros(len(x), dtype=torch.long)
        for i in range(self.length):
            index = index * self.mask_id + x[:, i]
        return torch.bincount(index, minlength=self.table.numel()).reshape(self.table.shape)


class JointBackbone(Backbone):
    """A network that is never wrong about `data`: its logits are the log-probabilities of the posterior.

    Args:
        data: what it was "trained" on.
        causal: position i sees the tokens before it alone, as an autoregressive network does.
    """

    def __init__(self, data: Joint, *, causal: bool = False) -> None:
        super().__init__()
        self.data, self.causal, self.ports = data, causal, {}
        self.prediction = TokenPrediction(data.mask_id + 1, data.mask_id)

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
        probs = self.data.marginals(x_t)
        if self.causal:
            cut = (torch.where(torch.arange(self.data.length) < i, x_t, self.data.mask_id)
                   for i in range(self.data.length))  # fmt: skip
            probs = torch.stack([self.data.marginals(x)[:, i] for i, x in enumerate(cut)], 1)
        # The mask's own column is never read; it is made the likeliest so that reading it would show.
        return Output(torch.cat([probs.clamp(min=1e-300).log(), torch.full_like(probs[..., :1], 5.0)], -1))

    def config(self) -> dict[str, Any]:
        return {"causal": self.causal}
