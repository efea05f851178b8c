"""Continuous Gaussian paths: linear flow, trigonometric (GVP, TrigFlow, v-diffusion's cosine) and variance preserving.

t = 0 is data and t = 1 noise.  Papers that run the other way (SiT: arXiv:2401.08740) are the same paths with
``t -> 1 - t``; `Clock` says what the checkpoint's network was shown.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from gencore.process import Coeffs, GaussianProcess


@dataclass(frozen=True, slots=True)
class Clock:
    """The time a network sees: ``scale * t``, or ``scale * (1 - t)`` when it was trained from noise to data."""

    scale: float = 1.0
    reverse: bool = False

    def __call__(self, t: Tensor) -> Tensor:
        t = t.to(torch.float64)
        return self.scale * (1 - t if self.reverse else t)


@dataclass(frozen=True)
class _Flow(GaussianProcess):
    clock: Clock = field(default_factory=Clock)

    def model_time(self, t: Tensor) -> Tensor:
        return self.clock(t)

    def config(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "clock": Clock(**config.get("clock", {}))})


@dataclass(frozen=True)
class LinearFlow(_Flow):
    """alpha = 1 - t, sigma = t (rectified flow, arXiv:2209.03003)."""

    def coeffs(self, t: Tensor) -> Coeffs:
        t = t.to(torch.float64)
        return Coeffs(1 - t, t, -torch.ones_like(t), torch.ones_like(t))


@dataclass(frozen=True)
class TrigFlow(_Flow):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2): SiT's GVP, v-diffusion's cosine, TrigFlow (arXiv:2410.11081)."""

    def coeffs(self, t: Tensor) -> Coeffs:
        angle = t.to(torch.float64) * (math.pi / 2)
        alpha, sigma = angle.cos(), angle.sin()
        return Coeffs(alpha, sigma, -math.pi / 2 * sigma, math.pi / 2 * alpha)


@dataclass(frozen=True)
class VariancePreserving(_Flow):
    """The VP SDE in continuous time (arXiv:2011.13456): log alpha = -t^2 (beta_1 - beta_0) / 4 - t beta_0 / 2."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def coeffs(self, t: Tensor) -> Coeffs:
        t = t.to(torch.float64)
        span = self.beta_max - self.beta_min
        log_alpha, d_log = -(t**2) * span / 4 - t * self.beta_min / 2, -t * span / 2 - self.beta_min / 2
        alpha, variance = log_alpha.exp(), -torch.expm1(2 * log_alpha)
        sigma = variance.sqrt()
        return Coeffs(alpha, sigma, alpha * d_log, -(alpha**2) * d_log / sigma.clamp(min=1e-12))
