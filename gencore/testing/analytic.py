"""Data whose every network prediction is known in closed form: Gaussians and Gaussian mixtures.

With data ~ sum_k w_k N(mu_k, s_k^2) the noisy marginal is sum_k w_k N(alpha mu_k, alpha^2 s_k^2 + sigma^2), so

    score = sum_k r_k (alpha mu_k - x) / v_k,   E[x_0 | x] = sum_k r_k (mu_k + alpha s_k^2 (x - alpha mu_k) / v_k)

with v_k the variance above and r_k the share of component k at x.  The probability-flow ODE keeps quantiles, which
solves it exactly for one Gaussian and for any mixture over a single cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gencore.backbone import Backbone, Output
from gencore.condition import Conditions
from gencore.context import Context
from gencore.denoised import Prediction, PredictionKind, linear_form
from gencore.errors import InputError
from gencore.noise import Noise
from gencore.process import Coeffs, GaussianProcess
from gencore.processes.tables import TableProcess
from gencore.spec import broadcast_time


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians with independent cells; one component is a Gaussian.

    Args:
        weights: (K,) float64, summing to 1.
        means: (K, *shape) float64.
        stds: float64 broadcasting against `means`; 0 is a point mass.
    """

    weights: Tensor
    means: Tensor
    stds: Tensor

    @classmethod
    def of(cls, means: Sequence[float], stds: Sequence[float], weights: Sequence[float], shape: Sequence[int] = (1, 1)
           ) -> Mixture:  # fmt: skip
        """Components that are the same in every cell of `shape` (default: one channel of one cell).

        >>> Mixture.of([-1.0, 2.0], [0.3, 0.5], [0.25, 0.75]).means.shape
        torch.Size([2, 1, 1])
        """
        column = (len(means), *(1,) * len(shape))
        mu, s, w = (torch.tensor(v, dtype=torch.float64) for v in (means, stds, weights))
        return cls(w, mu.reshape(column).expand(len(means), *shape), s.reshape(column))

    @classmethod
    def gaussian(cls, mean: float, std: float, shape: Sequence[int] = (1, 1)) -> Mixture:
        """N(mean, std^2) in every cell of `shape`."""
        return cls.of([mean], [std], [1.0], shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.means.shape[1:])

    def _components(self, x: Tensor, c: Coeffs) -> tuple[Tensor, Tensor, Tensor]:
        """Per component (K, B, *shape): x less the mean, the variance, and the share (K, B, 1...)."""
        off = x - c.alpha * self.means[:, None]
        variance = ((c.alpha * self.stds[:, None]) ** 2 + c.sigma**2).expand_as(off)
        each = -0.5 * (off**2 / variance + variance.log() + math.log(2 * math.pi))
        joint = each.flatten(2).sum(2) + self.weights.log()[:, None]
        return off, variance, joint.reshape(*joint.shape, *(1,) * (x.ndim - 1))

    def log_prob(self, x: Tensor, c: Coeffs) -> Tensor:
        """log density of states `x` (B, *shape) at the time of `c`, nats over all cells, (B,)."""
        return self._components(x, c)[2].logsumexp(0).flatten()

    def score(self, x: Tensor, c: Coeffs) -> Tensor:
        """Gradient of `log_prob`, (B, *shape)."""
        off, variance, joint = self._components(x, c)
        return (joint.softmax(0) * (-off / variance)).sum(0)

    def x0(self, x: Tensor, c: Coeffs) -> Tensor:
        """E[x_0 | x], (B, *shape)."""
        off, variance, joint = self._components(x, c)
        gain = c.alpha * self.stds[:, None] ** 2 / variance
        return (joint.softmax(0) * (self.means[:, None] + gain * off)).sum(0)

    def draw(self, noise: Noise) -> Tensor:
        """Data, (B, *shape) in the dtype of the source's draws; keys ``("component",)`` and ``("data",)``."""
        pick = noise.draw("uniform", ("component",), ())
        k = (pick[:, None] > self.weights.cumsum(0)[:-1].to(pick)).sum(1)
        eps = noise.draw("normal", ("data",), self.shape)
        return self.means[k].to(eps) + self.stds.expand_as(self.means)[k].to(eps) * eps

    def flow(self, x: Tensor, start: Coeffs, end: Coeffs) -> Tensor:
        """The exact end of the probability-flow ODE from states `x` (B, *shape).

        Raises:
            InputError: several components over several cells, where no closed form exists.
        """
        if len(self.weights) == 1:
            (mean,), (std,) = self.means, self.stds
            width = [((c.alpha * std) ** 2 + c.sigma**2).sqrt() for c in (start, end)]
            return end.alpha * mean + width[1] / width[0] * (x - start.alpha * mean)
        if math.prod(self.shape) > 1:
            raise InputError("mixture", f"{len(self.weights)} components over {math.prod(self.shape)} cells",
                             "one component, or one cell")  # fmt: skip
        target = self._cdf(x, start)
        reach = 50 * (end.alpha * self.means.abs().max() + end.alpha * self.stds.max() + end.sigma)
        low, high = -reach.expand_as(x), reach.expand_as(x)
        for _ in range(80):
            middle = (low + high) / 2
            below = self._cdf(middle, end) < target
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def _cdf(self, x: Tensor, c: Coeffs) -> Tensor:
        off, variance, _ = self._components(x, c)
        return (self.weights.reshape(-1, *(1,) * x.ndim) * torch.special.ndtr(off / variance.sqrt())).sum(0)


class AnalyticBackbone(Backbone):
    """A network that is never wrong: the exact prediction for `data` under `process`, whatever the kind.

    Args:
        data: what it was "trained" on.
        process: the one its caller uses; times are recovered from its `model_time`.
        kind: of the prediction.
        variance: if given, further channels of this constant in [-1, 1], read as a learned range.
    """

    def __init__(self, data: Mixture, process: GaussianProcess, kind: PredictionKind = "x0", *,
                 variance: float | None = None) -> None:  # fmt: skip
        super().__init__()
        self.data, self.process, self.variance = data, process, variance
        self.prediction = Prediction(kind, None if variance is None else "learned_range")
        self.ports = {}

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
        c = self.process.coeffs(broadcast_time(time_seen(self.process, t), x_t))
        # Where sigma vanishes its slope may be infinite; their product, which the velocity needs, has a limit.
        c = c._replace(sigma=c.sigma.clamp(min=1e-12))
        a, b = linear_form(self.prediction.kind, c)
        x = x_t.to(torch.float64)
        value = a * self.data.x0(x, c) - b * c.sigma * self.data.score(x, c)
        if self.variance is not None:
            value = torch.cat([value, torch.full_like(value, self.variance)], dim=1)
        return Output(value.to(x_t.dtype))

    def config(self) -> dict[str, Any]:
        return {"kind": self.prediction.kind, "variance": self.variance}


def time_seen(process: GaussianProcess, seen: Tensor) -> Tensor:
    """The time t that `process.model_time` showed as `seen`: its inverse on the process's levels, or on [0, 1].

    >>> from gencore.processes.flows import Clock, LinearFlow
    >>> time_seen(LinearFlow(Clock(scale=1000.0, reverse=True)), torch.tensor([250.0])).item()
    0.75

    Raises:
        InputError: a process whose network time is not linear between these points.
    """
    seen = seen.to(torch.float64).contiguous()
    if isinstance(process, TableProcess):
        values = process.levels.to(torch.float64)
        i = torch.searchsorted(values, seen).clamp(1, len(values) - 1)
        t = process.at(i - 1 + (seen - values[i - 1]) / (values[i] - values[i - 1]))
    else:
        values = process.model_time(torch.tensor([0.0, 1.0], dtype=torch.float64))
        t = (seen - values[0]) / (values[1] - values[0])
    # A process may round times to its levels, which moves them by a small part of the distance between two.
    if bool(((process.model_time(t) - seen).abs() > 1e-3 * values.diff().abs().max()).any()):
        raise InputError("process", type(process).__name__, "one whose network time is linear between its levels")
    return t
