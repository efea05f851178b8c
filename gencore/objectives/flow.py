"""Flow matching and interpolants (arXiv:2209.03003, 2303.08797; weights of SiT, arXiv:2401.08740).

velocity:  || v_hat - (alpha' x_0 + sigma' eps) ||^2
epsilon:   w || eps_hat - eps ||^2            score:  w || sigma s_hat + eps ||^2
w = 1,  "velocity": (lambda / sigma)^2,  "likelihood": lambda / sigma^2
lambda = sigma (sigma' - r sigma),  r = alpha' / alpha
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from gencore.backbone import Backbone
from gencore.condition import Conditions
from gencore.context import Context
from gencore.denoised import Denoised
from gencore.errors import InputError
from gencore.noise import Noise
from gencore.objective import Batch, Loss, Objective, per_sample_mean
from gencore.objectives.times import density
from gencore.process import Coeffs, GaussianProcess

WeightKind = Literal["velocity", "likelihood"]


def diffusion_scale(c: Coeffs) -> Tensor:
    """lambda = sigma sigma' - (alpha' / alpha) sigma^2 >= 0: half the squared diffusion of the equal-marginal SDE."""
    return c.sigma * c.d_sigma - c.d_alpha / c.alpha.clamp(min=1e-12) * c.sigma**2


def flow_loss(d: Denoised, x0: Tensor, eps: Tensor, weight: WeightKind | None = None) -> Tensor:
    """Per-sample loss (B,) of prediction `d` for data `x0` and draw `eps`, by the kind of `d`.

    Raises:
        InputError: a weight for a velocity, or a kind this objective has no loss for.
    """
    c, dtype = d.coeffs, x0.dtype
    if d.kind == "velocity":
        if weight is not None:
            raise InputError("weight", weight, "none for a velocity prediction")
        return per_sample_mean((d.value - (c.d_alpha.to(dtype) * x0 + c.d_sigma.to(dtype) * eps)) ** 2)
    match weight:
        case None:
            w = torch.ones_like(c.alpha)
        case "velocity":
            w = (diffusion_scale(c) / c.sigma) ** 2
        case "likelihood":
            w = diffusion_scale(c) / c.sigma**2
    match d.kind:
        case "epsilon":
            error = d.value - eps
        case "score":
            error = c.sigma.to(dtype) * d.value + eps
        case _:
            raise InputError("prediction", d.kind, "velocity, epsilon or score")
    return per_sample_mean(w.to(dtype) * error**2)


class FlowMatching(Objective):
    """Regression on the path of a Gaussian process at random times.

    Args:
        process: the path.
        times: name of a density of `gencore.objectives.times`, with its arguments.
        weight: see `flow_loss`.
    """

    def __init__(self, process: GaussianProcess, *, times: str = "uniform", weight: WeightKind | None = None,
                 **arguments: float) -> None:  # fmt: skip
        self.process = process
        self.weight: WeightKind | None = weight
        self._density = density(times, **arguments)
        self._config: dict[str, Any] = {"times": times, "weight": weight, **arguments}

    def config(self) -> dict[str, Any]:
        return self._config

    def loss(self, phase: str, roles: Mapping[str, Backbone], batch: Batch, noise: Noise) -> Loss:
        t = self._density(noise).to(batch.x0.device)
        eps = noise.draw("normal", ("eps",), tuple(batch.x0.shape[1:])).to(batch.x0)
        d = predict(roles["model"], self.process, self.process.corrupt(batch.x0, t, eps), t, batch.conditions)
        each = flow_loss(d, batch.x0, eps, self.weight)
        return Loss(each.mean(), {"flow": each.mean().detach()})


def predict(net: Backbone, process: GaussianProcess, x_t: Tensor, t: Tensor, conditions: Conditions) -> Denoised:
    """One unguided network call at times `t`, (B,) or broadcasting, read by the network's own contract."""
    out = net(x_t, process.model_time(t), conditions, Context())
    return net.prediction.read(out.pred, x_t, process, t)
