"""DDPM training: noise or sample regression, with fixed or learned-range variance (arXiv:2006.11239, 2102.09672).

    L = E || target - prediction ||^2 + vb,   vb = KL(q(x_s | x_t, x_0) || p(x_s | x_t)) in bits per dimension

where the bound's mean is detached, so that it trains the variance channels only, and the last level uses the
likelihood of data on 256 levels instead of the KL.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from gencore.backbone import Backbone
from gencore.denoised import Denoised
from gencore.errors import InputError
from gencore.noise import Noise
from gencore.objective import Batch, Loss, Objective, per_sample_mean
from gencore.objectives.flow import predict
from gencore.processes.posterior import VarianceKind, clipped_variance, level_posteriors, log_variance
from gencore.processes.tables import TableProcess
from gencore.spec import broadcast_time

LossKind = Literal["mse", "rescaled_mse", "kl", "rescaled_kl"]


def gaussian_kl(mean1: Tensor, logvar1: Tensor, mean2: Tensor, logvar2: Tensor) -> Tensor:
    """KL(N(mean1, e^logvar1) || N(mean2, e^logvar2)) elementwise, nats."""
    ratio = torch.exp(logvar1 - logvar2)
    return 0.5 * (logvar2 - logvar1 + ratio + (mean1 - mean2) ** 2 * torch.exp(-logvar2) - 1)


def _normal_cdf(x: Tensor) -> Tensor:
    # The tanh approximation, not erf: published likelihoods were computed with it and differ by up to 4e-2.
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def discretised_log_likelihood(x: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """log p of data `x` in [-1, 1] on 256 levels under N(mean, e^logvar), elementwise, nats; the end bins are open."""
    scale = torch.exp(-0.5 * logvar)
    upper = _normal_cdf((x - mean + 1 / 255) * scale)
    lower = _normal_cdf((x - mean - 1 / 255) * scale)
    p = torch.where(x < -0.999, upper, torch.where(x > 0.999, 1 - lower, upper - lower))
    return p.clamp(min=1e-12).log()


def variational_term(process: TableProcess, x0: Tensor, level: Tensor, d: Denoised, variance: VarianceKind) -> Tensor:
    """One term of the bound for levels (B,) in bits per dim (B,): KL above level 0, the discretised likelihood at it."""
    here, neighbour = level_posteriors(process, broadcast_time(level, x0))
    logvar = log_variance(variance, here, neighbour, d).to(x0.dtype)
    mean = here.mean(d.x0, d.x_t)
    true_logvar = clipped_variance(here, neighbour).log().to(x0.dtype)
    kl = per_sample_mean(gaussian_kl(here.mean(x0, d.x_t), true_logvar, mean, logvar))
    nll = per_sample_mean(-discretised_log_likelihood(x0, mean, logvar))
    return torch.where(level == 0, nll, kl) / math.log(2)


def denoising_loss(process: TableProcess, x0: Tensor, eps: Tensor, level: Tensor, d: Denoised, *,
                   variance: VarianceKind = "learned_range", loss: LossKind = "mse") -> dict[str, Tensor]:  # fmt: skip
    """Per-sample terms ``loss`` and, where they occur, ``mse`` and ``vb``; each (B,).

    ``rescaled_mse`` multiplies vb by steps/1000, ``kl`` is vb alone, ``rescaled_kl`` is vb times the process's steps.

    Raises:
        InputError: a prediction other than epsilon or x0.
    """
    if d.kind not in ("epsilon", "x0"):
        raise InputError("prediction", d.kind, "epsilon or x0")
    if loss in ("kl", "rescaled_kl"):
        vb = variational_term(process, x0, level, d, variance)
        return {"loss": vb * process.steps if loss == "rescaled_kl" else vb}
    terms = {"mse": per_sample_mean(((eps if d.kind == "epsilon" else x0) - d.value) ** 2)}
    if variance == "learned_range":
        frozen = Denoised(d.kind, d.value.detach(), d.x_t, d.coeffs, d.extra)
        terms["vb"] = variational_term(process, x0, level, frozen, variance)
        if loss == "rescaled_mse":
            terms["vb"] = terms["vb"] * (process.steps / 1000)
    return {**terms, "loss": torch.stack(list(terms.values())).sum(0)}


class Denoising(Objective):
    """`denoising_loss` at uniformly drawn levels of a table process."""

    def __init__(
        self, process: TableProcess, *, variance: VarianceKind = "learned_range", loss: LossKind = "mse"
    ) -> None:
        self.process, self.variance, self.kind = process, variance, loss

    def config(self) -> dict[str, Any]:
        return {"variance": self.variance, "loss": self.kind}

    def loss(self, phase: str, roles: Mapping[str, Backbone], batch: Batch, noise: Noise) -> Loss:
        x0, process = batch.x0, self.process
        level = (noise.draw("uniform", ("time",), ()).to(torch.float64) * process.steps).long().to(x0.device)
        eps, t = noise.draw("normal", ("eps",), tuple(x0.shape[1:])).to(x0), process.at(level)
        d = predict(roles["model"], process, process.corrupt(x0, t, eps), t, batch.conditions)
        terms = denoising_loss(process, x0, eps, level, d, variance=self.variance, loss=self.kind)
        means = {name: value.mean() for name, value in terms.items()}
        return Loss(means["loss"], {name: value.detach() for name, value in means.items()})
