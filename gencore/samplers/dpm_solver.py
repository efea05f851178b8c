"""DPM-Solver++ of order 2 in data prediction (arXiv:2211.01095), for any list of times.

With lambda = log(alpha / sigma), h = lambda_s - lambda_t and D an estimate of x_0 along the step:

    x_s = (sigma_s / sigma_t) x_t - alpha_s (e^{-h} - 1) D
    2M:  D = x_0(t) + h / (2 h_prev) (x_0(t) - x_0(t_prev))                from the step before
    2S:  D = x_0(t) + 1 / (2 r) (x_0(mid) - x_0(t)),  lambda_mid = lambda_t + r h     from one more call

A step that starts at pure noise or ends at clean data has infinite h and is taken with D = x_0(t).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gencore.denoised import PredictionKind
from gencore.errors import InputError
from gencore.noise import Noise
from gencore.process import Coeffs, GaussianProcess
from gencore.sampler import Query, Sampler, State, Steps
from gencore.schedules import default_times, open_times
from gencore.spec import broadcast_time


def _lambda(c: Coeffs) -> Tensor:
    return c.alpha.log() - c.sigma.log()


def _move(x: Tensor, data: Tensor, here: Coeffs, target: Coeffs) -> Tensor:
    # sigma_s/sigma_t x + (alpha_s - alpha_t sigma_s/sigma_t) D: the equation above without its infinities.
    # A cell at clean data has sigma 0 on both sides and takes its own x_0.
    ratio = target.sigma / here.sigma.clamp(min=1e-30)
    return ratio.to(x.dtype) * x + (target.alpha - here.alpha * ratio).to(x.dtype) * data


def time_of_lambda(process: GaussianProcess, target: Tensor, early: Tensor, late: Tensor) -> Tensor:
    """The time between `early` (noisier) and `late` whose lambda is `target`, by bisection to float64 accuracy."""
    for _ in range(60):
        middle = (early + late) / 2
        noisier = _lambda(process.coeffs(middle)) < target
        early, late = torch.where(noisier, middle, early), torch.where(noisier, late, middle)
    return (early + late) / 2


@dataclass(frozen=True)
class DPMSolver(Sampler):
    """DPM-Solver++.

    Args:
        variant: "2M" (multistep, one call a step) or "2S" (singlestep, two calls a step).
        order: 2, or 1 (which is DDIM).
        spacing: "levels" as every sampler, or "open": of a table process N + 1 evenly spaced levels without the first,
            the last step going from there to clean data, as published for RDT (arXiv:2410.07864).
        r: where the singlestep variant's inner call lies, in (0, 1].
    """

    variant: Literal["2M", "2S"] = "2M"
    order: int = 2
    r: float = 0.5
    spacing: Literal["levels", "open"] = "levels"

    def __post_init__(self) -> None:
        if self.variant not in ("2M", "2S"):
            raise InputError("variant", self.variant, "2M or 2S")
        if self.order not in (1, 2):
            raise InputError("order", self.order, "1 or 2")
        if not 0 < self.r <= 1:
            raise InputError("r", self.r, "more than 0, at most 1")
        if self.spacing not in ("levels", "open"):
            raise InputError("spacing", self.spacing, "levels or open")

    def times(self, process: Any, kind: PredictionKind, steps: int) -> Tensor:
        return (open_times if self.spacing == "open" else default_times)(process, kind, steps)

    def step(self, state: State, noise: Noise) -> Steps:
        process, t = state.process, broadcast_time(state.time(state.i), state.x)
        s = broadcast_time(state.time(state.i + 1), state.x)
        here, target = process.coeffs(t), process.coeffs(s)
        d = yield Query(state.x, state.time(state.i))
        start, end = _lambda(here), _lambda(target)
        h, data = end - start, d.x0
        inner = h.isfinite() & (self.order == 2)
        if self.variant == "2M" and state.memory and bool(inner.any()):
            previous, begin = state.memory
            # A cell that stood still has no slope to extrapolate.
            weight = torch.where(inner & (start != begin), h / (2 * (start - begin)), torch.zeros_like(h))
            data = data + weight.to(data.dtype) * (data - previous)
        elif self.variant == "2S" and bool(inner.any()):
            middle = torch.where(inner, time_of_lambda(process, start + self.r * torch.where(inner, h, 0.0), t, s), t)
            x = _move(state.x, data, here, process.coeffs(middle))
            mid = yield Query(x, middle.flatten() if state.time(0).ndim == 1 else middle, "middle")
            weight = torch.where(inner, 1 / (2 * self.r), 0.0)
            data = data + weight.to(data.dtype) * (mid.x0 - data)
        return state.advance(_move(state.x, data, here, target), d, (d.x0, start))

    def config(self) -> dict[str, Any]:
        return asdict(self)
