"""DDPM training: noise or sample regression, with fixed or learned-range variance (arXiv:2006.11239, 2102.09672).

    L = E || target - prediction ||^2 + vb,   vb = KL(q(x_s | x_t, x_0) || p(x_s | x_t)) in bits per dimension

where the bound's mean is detached, so that it trains the variance channels only, and the last level uses the
likelihood of data on 256 levels instead of the KL (`gencore.objectives.variational`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from gencore.backbone import Backbone
from gencore.denoised import Denoised
from gencore.errors import InputError
from gencore.noise import Noise
from gencore.objective import Batch, Loss, Objective
from gencore.objectives.flow import predict
from gencore.objectives.region import WHOLE, Region
from gencore.objectives.variational import variational_term
from gencore.processes.posterior import VarianceKind
from gencore.processes.tables import TableProcess

LossKind = Literal["mse", "rescaled_mse", "kl", "rescaled_kl"]


def denoising_loss(process: TableProcess, x0: Tensor, eps: Tensor, level: Tensor, d: Denoised, *,
                   variance: VarianceKind = "learned_range", loss: LossKind = "mse", region: Region = WHOLE
                   ) -> dict[str, Tensor]:  # fmt: skip
    """Per-sample terms ``loss`` and, where they occur, ``mse`` and ``vb``; each (B,).

    ``rescaled_mse`` multiplies vb by steps/1000, ``kl`` is vb alone, ``rescaled_kl`` is vb times the process's steps.

    Raises:
        InputError: a prediction other than epsilon or x0.
    """
    if d.kind not in ("epsilon", "x0"):
        raise InputError("prediction", d.kind, "epsilon or x0")
    if loss in ("kl", "rescaled_kl"):
        vb = variational_term(process, x0, level, d, variance, region)
        return {"loss": vb * process.steps if loss == "rescaled_kl" else vb}
    terms = {"mse": region.mean(((eps if d.kind == "epsilon" else x0) - d.value) ** 2)}
    if variance == "learned_range":
        frozen = Denoised(d.kind, d.value.detach(), d.x_t, d.coeffs, d.extra)
        terms["vb"] = variational_term(process, x0, level, frozen, variance, region)
        if loss == "rescaled_mse":
            terms["vb"] = terms["vb"] * (process.steps / 1000)
    return {**terms, "loss": torch.stack(list(terms.values())).sum(0)}


class Denoising(Objective):
    """`denoising_loss` at uniformly drawn levels of a table process."""

    def __init__(
        self, process: TableProcess, *, variance: VarianceKind = "learned_range", loss: LossKind = "mse"
    ) -> None:
        self.process = process
        self.variance: VarianceKind = variance
        self.kind: LossKind = loss

    def config(self) -> dict[str, Any]:
        return {"variance": self.variance, "loss": self.kind}

    def terms(self, net: Backbone, batch: Batch, noise: Noise, region: Region = WHOLE) -> dict[str, Tensor]:
        """The per-sample terms of `denoising_loss` for one draw of levels and noise."""
        x0, process = batch.x0, self.process
        # A float32 uniform can round up to 1, which no level has.
        level = (noise.draw("uniform", ("time",), ()).to(torch.float64) * process.steps).long().to(x0.device)
        level = level.clamp(max=process.steps - 1)
        eps, t = noise.draw("normal", ("eps",), tuple(x0.shape[1:])).to(x0), process.at(level)
        x_t = process.corrupt(x0, t, eps)
        d = predict(net, process, x_t, t, batch.conditions, shown=region.show(x_t, x0))
        return denoising_loss(process, x0, eps, level, d, variance=self.variance, loss=self.kind, region=region)

    def loss(self, phase: str, roles: Mapping[str, Backbone], batch: Batch, noise: Noise) -> Loss:
        means = {name: term.mean() for name, term in self.terms(roles["model"], batch, noise).items()}
        return Loss(means["loss"], {name: value.detach() for name, value in means.items()})
