"""Next-token likelihood of a causal network: -log p(x_0) = sum_i -log p(x_i | x_0 .. x_{i-1}).

The network's logits at a position depend on the tokens before it and speak about the token there, so the exact
likelihood takes one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gencore.backbone import Backbone
from gencore.condition import Conditions
from gencore.context import Context
from gencore.noise import Noise
from gencore.objective import Batch, Loss, Objective
from gencore.objectives.masked_diffusion import token_mean
from gencore.process import AbsorbingProcess


def token_nll(net: Backbone, process: AbsorbingProcess, x0: Tensor, conditions: Conditions | None = None) -> Tensor:
    """-log p of every token given those before it, (B, *sizes) nats, for clean tokens `x0` (B, *sizes) int64."""
    clean = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
    logits = net(x0, process.model_time(clean), conditions or {}, Context()).pred
    # Read as logits about hidden tokens: none is certain, and the mask is none of them.
    hidden = torch.full_like(x0, process.mask_id)
    return -net.prediction.read(logits, hidden, process, torch.ones_like(clean)).log_prob(x0)


class Autoregressive(Objective):
    """The mean of `token_nll` over the tokens that count.

    Args:
        process: names the mask token, which is never predicted.
    """

    def __init__(self, process: AbsorbingProcess) -> None:
        self.process = process

    def config(self) -> dict[str, Any]:
        return {}

    def loss(self, phase: str, roles: Mapping[str, Backbone], batch: Batch, noise: Noise) -> Loss:
        total = token_mean(token_nll(roles["model"], self.process, batch.x0, batch.conditions), batch.valid)
        return Loss(total, {"nll": total.detach()})
