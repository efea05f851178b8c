"""Noise-contrastive training of an energy against a frozen denoiser (arXiv:2410.21357; Gutmann and Hyvarinen 2010).

One negative per text, drawn from the denoiser for the same corrupted state:

    x_t ~ q(. | x_0),   x_neg ~ p_theta(. | x_t)
    loss = -log(sigmoid(-E(x_0, x_t)) + 1e-8) - log(sigmoid(E(x_neg, x_t)) + 1e-8)

An energy of 0 throughout has the loss 2 log 2; at the optimum E = log p_theta(x_0 | x_t) - log q(x_0 | x_t).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gencore.backbone import Backbone
from gencore.categorical import draw
from gencore.context import Context
from gencore.errors import InputError
from gencore.noise import Noise
from gencore.objective import Batch, Loss, Objective
from gencore.process import AbsorbingProcess


class NoiseContrastive(Objective):
    """Trains the role "model", which has ``energy(candidates, x_t, t)``; the role "denoiser" stays as it is.

    Args:
        process: of the denoiser.
        first: the smallest time, more than 0; times are uniform from there to 1.
    """

    def __init__(self, process: AbsorbingProcess, *, first: float = 1e-3) -> None:
        if not 0 < first < 1:
            raise InputError("first", first, "a time more than 0 and less than 1")
        self.process, self.first = process, first

    def loss(self, phase: str, roles: Mapping[str, Backbone], batch: Batch, noise: Noise) -> Loss:
        """The mean over texts, with the share of pairs told apart the right way round as ``accuracy``."""
        if "denoiser" not in roles:
            raise InputError("roles", ", ".join(sorted(roles)), "model and denoiser, the frozen network it corrects")
        x0 = batch.x0
        t = self.first + (1 - self.first) * noise.draw("uniform", ("time",), ()).to(x0.device).double()
        eps = noise.draw("uniform", ("corrupt",), tuple(x0.shape[1:])).to(x0.device)
        x_t = self.process.corrupt(x0, t, eps)
        negative = self._negative(roles["denoiser"], x_t, t, batch, noise)
        energy = getattr(roles["model"], "energy", None)
        if energy is None:
            raise InputError("model", type(roles["model"]).__name__, "a network with energy(candidates, x_t, t)")
        # Under autocast the network answers in bfloat16, too coarse for a difference of energies.
        pair = energy(torch.stack([x0, negative], dim=1), x_t, self.process.model_time(t)).float()
        each = contrast(pair[:, 0], pair[:, 1])
        return Loss(each.mean(), {"nce": each.mean().detach(), "accuracy": (pair[:, 0] < pair[:, 1]).float().mean()})

    @torch.no_grad()
    def _negative(self, denoiser: Backbone, x_t: Tensor, t: Tensor, batch: Batch, noise: Noise) -> Tensor:
        training = denoiser.training
        denoiser.eval()
        output = denoiser(x_t, self.process.model_time(t), batch.conditions, Context()).pred
        denoiser.train(training)
        probs = denoiser.prediction.read(output, x_t, self.process, t).probs
        drawn = draw(probs, noise.draw("exponential", ("negative",), tuple(probs.shape[1:])))
        return drawn if batch.valid is None else torch.where(batch.valid, drawn, batch.x0)

    def config(self) -> dict[str, Any]:
        return {"first": self.first}


def contrast(positive: Tensor, negative: Tensor, floor: float = 1e-8) -> Tensor:
    """(...) -log(sigmoid(-positive) + floor) - log(sigmoid(negative) + floor), of energies of data and of negatives.

    >>> round(contrast(torch.zeros(1), torch.zeros(1)).item(), 3)
    1.386
    """
    least = torch.full_like(positive, math.log(floor))
    return -torch.logaddexp(F.logsigmoid(-positive), least) - torch.logaddexp(F.logsigmoid(negative), least)
