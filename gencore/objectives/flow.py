"""Flow matching and interpolants (arXiv:2209.03003, 2303.08797; weights of SiT, arXiv:2401.08740).

velocity:  || v_hat - (alpha' x_0 + sigma' eps) ||^2
epsilon:   w || eps_hat - eps ||^2            score:  w || sigma s_hat + eps ||^2
x0:        w || alpha / sigma (x0_hat - x_0) ||^2, sigma no less than 0.05 (arXiv:2511.13720)
w = 1,  "velocity": (lambda / sigma)^2 = (sigma' - r sigma)^2,  "likelihood": lambda / sigma^2
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
from gencore.objective import Batch, Loss, Objective
from gencore.objectives.region import WHOLE, Region
from gencore.objectives.times import density
from gencore.process import Coeffs, GaussianProcess

WeightKind = Literal["velocity", "likelihood"]
_LEAST_SIGMA = 0.05


def diffusion_scale(c: Coeffs) -> Tensor:
    """lambda = sigma sigma' - (alpha' / alpha) sigma^2 >= 0: half the squared diffusion of the equal-marginal SDE."""
    return c.sigma * c.d_sigma - c.d_alpha / c.alpha.clamp(min=1e-12) * c.sigma**2


def flow_loss(d: Denoised, x0: Tensor, eps: Tensor, weight: WeightKind | None = None, region: Region = WHOLE
              ) -> Tensor:  # fmt: skip
    """Per-sample loss (B,) of prediction `d` for data `x0` and draw `eps`, by the kind of `d`.

    Raises:
        InputError: a weight for a velocity, or a kind this objective has no loss for.
    """
    c, dtype = d.coeffs, x0.dtype
    if d.kind == "velocity":
        if weight is not None:
            raise InputError("weight", weight, "none for a velocity prediction")
        return region.mean((d.value - (c.d_alpha.to(dtype) * x0 + c.d_sigma.to(dtype) * eps)) ** 2)
    match weight:
        case None:
            w = torch.ones_like(c.alpha)
        case "velocity":
            w = (c.d_sigma - c.d_alpha / c.alpha.clamp(min=1e-12) * c.sigma) ** 2
        case "likelihood":
            w = diffusion_scale(c) / c.sigma**2
    match d.kind:
        case "epsilon":
            error = d.value - eps
        case "score":
            error = c.sigma.to(dtype) * d.value + eps
        case "x0":
            error = (c.alpha / c.sigma.clamp(min=_LEAST_SIGMA)).to(dtype) * (d.value - x0)
        case _:
            raise InputError("prediction", d.kind, "velocity, x0, epsilon or score")
    return region.mean(w.to(dtype) * error**2)


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

    def terms(self, net: Backbone, batch: Batch, noise: Noise, region: Region = WHOLE) -> dict[str, Tensor]:
        """The per-sample ``loss`` (B,) of one draw of times and noise."""
        x0 = batch.x0
        t = self._density(noise).to(x0.device)
        eps = noise.draw("normal", ("eps",), tuple(x0.shape[1:])).to(x0)
        x_t = self.process.corrupt(x0, t, eps)
        d = predict(net, self.process, x_t, t, batch.conditions, shown=region.show(x_t, x0))
        return {"loss": flow_loss(d, x0, eps, self.weight, region)}

    def loss(self, phase: str, roles: Mapping[str, Backbone], batch: Batch, noise: Noise) -> Loss:
        loss = self.terms(roles["model"], batch, noise)["loss"].mean()
        return Loss(loss, {"flow": loss.detach()})


def predict(net: Backbone, process: GaussianProcess, x_t: Tensor, t: Tensor, conditions: Conditions, *,
            shown: Tensor | None = None) -> Denoised:  # fmt: skip
    """One unguided network call at times `t`, (B,) or broadcasting, read by the network's own contract.

    Args:
        x_t: (B, ...) the state the prediction is about.
        shown: what the network sees, where that is `x_t` composed with given cells.
    """
    out = net(x_t if shown is None else shown, process.model_time(t), conditions, Context())
    return net.prediction.read(out.pred, x_t, process, t)
