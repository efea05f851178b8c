"""Regression as one step of sampling, to compare a diffusion policy with a network that predicts the mean action.

    x_t = (1 - t) x_0,   x_1 = 0,   L = || prediction(0, t = 1) - x_0 ||^2

The same trunk and the same pipeline: the chunk it starts from holds zeros instead of noise, so one call answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gencore.backbone import Backbone
from gencore.noise import Noise
from gencore.objective import Batch, Loss, Objective
from gencore.objectives.flow import predict
from gencore.objectives.region import WHOLE, Region
from gencore.process import Coeffs, GaussianProcess
from gencore.spec import LatentSpec


class Fading(GaussianProcess):
    """Data that fades to zeros, without noise.

    >>> Fading().corrupt(torch.ones(1, 2), torch.tensor([0.75]), torch.zeros(1, 2)).tolist()
    [[0.25, 0.25]]
    """

    def coeffs(self, t: Tensor) -> Coeffs:
        t = t.to(torch.float64)
        zero, one = torch.zeros_like(t), torch.ones_like(t)
        return Coeffs(1 - t, zero, -one, zero)

    def prior(self, spec: LatentSpec, noise: Noise) -> Tensor:
        return torch.zeros(spec.shape(noise.count))

    def model_time(self, t: Tensor) -> Tensor:
        return t.to(torch.float64)

    def config(self) -> dict[str, Any]:
        return {}


class ActionRegression(Objective):
    """Mean squared error of a chunk predicted from zeros; the slots a robot has are scored, as for `ActionDenoising`.

    Args:
        process: of the network; only its last time is trained.
    """

    def __init__(self, process: Fading) -> None:
        self.process = process

    def config(self) -> dict[str, Any]:
        return {}

    def loss(self, phase: str, roles: Mapping[str, Backbone], batch: Batch, noise: Noise) -> Loss:
        x0 = batch.x0
        t = torch.ones(len(x0), dtype=torch.float64, device=x0.device)
        d = predict(roles["model"], self.process, torch.zeros_like(x0), t, batch.conditions)
        error = (d.value - x0) ** 2
        masked, diluted = Region(scored=batch.valid).mean(error).mean(), WHOLE.mean(error).mean()
        return Loss(masked, {"diluted": diluted.detach(), "masked": masked.detach()})
