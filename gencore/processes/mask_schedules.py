"""Schedules of masked diffusion: the total noise sigma(t), where a token is still open with probability exp(-sigma).

| name             | sigma(t), t in [0, 1]                                | source                  |
|------------------|------------------------------------------------------|-------------------------|
| `loglinear`      | -log(1 - (1 - eps) t), so that m(t) = (1 - eps) t    | arXiv:2310.16834        |
| `cosine`         | -log(eps + (1 - eps) cos(pi t / 2))                  | arXiv:2406.07524        |
| `cosine-squared` | -log(eps + (1 - eps) cos^2(pi t / 2))                | arXiv:2406.07524        |
| `linear`         | sigma_min + t (sigma_max - sigma_min)                | arXiv:2406.07524        |
| `geometric`      | sigma_min^(1 - t) sigma_max^t                        | arXiv:2310.16834        |
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from gencore.errors import InputError

_HALF_PI = math.pi / 2


class MaskSchedule(ABC):
    """sigma(t), its slope and its inverse; every argument and result is float64."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Total noise at `t` in [0, 1], rising."""

    @abstractmethod
    def d_sigma(self, t: Tensor) -> Tensor:
        """The derivative of `sigma` by t."""

    @abstractmethod
    def time(self, sigma: Tensor) -> Tensor:
        """The t at which the total noise is `sigma`; outside what [0, 1] reaches, not limited to it."""

    def move_chance(self, t: Tensor) -> Tensor:
        """1 - exp(-sigma(t))."""
        return -torch.expm1(-self.sigma(t))

    def ends(self) -> tuple[float, float]:
        """The (sigma_min, sigma_max) between which times of equal log move chance lie (arXiv:2406.07524, code).

        Raises:
            InputError: a schedule for which none are published.
        """
        raise InputError("times", f"importance sampling on a {type(self).__name__} schedule", "loglinear or linear")


def _open(sigma: Tensor, eps: float) -> Tensor:
    """The share u of ``exp(-sigma) = eps + (1 - eps) u``."""
    return ((torch.exp(-sigma) - eps) / (1 - eps)).clamp(0, 1)


@dataclass(frozen=True)
class LogLinear(MaskSchedule):
    eps: float = 1e-3

    def sigma(self, t: Tensor) -> Tensor:
        return -torch.log1p(-(1 - self.eps) * t)

    def d_sigma(self, t: Tensor) -> Tensor:
        return (1 - self.eps) / (1 - (1 - self.eps) * t)

    def time(self, sigma: Tensor) -> Tensor:
        return -torch.expm1(-sigma) / (1 - self.eps)

    def move_chance(self, t: Tensor) -> Tensor:
        return (1 - self.eps) * t

    def ends(self) -> tuple[float, float]:
        return self.eps, -math.log(self.eps)


@dataclass(frozen=True)
class Cosine(MaskSchedule):
    eps: float = 1e-3

    def sigma(self, t: Tensor) -> Tensor:
        return -torch.log(self.eps + (1 - self.eps) * torch.cos(_HALF_PI * t))

    def d_sigma(self, t: Tensor) -> Tensor:
        u = (1 - self.eps) * torch.cos(_HALF_PI * t)
        return _HALF_PI * (1 - self.eps) * torch.sin(_HALF_PI * t) / (u + self.eps)

    def time(self, sigma: Tensor) -> Tensor:
        return torch.acos(_open(sigma, self.eps)) / _HALF_PI


@dataclass(frozen=True)
class CosineSquared(MaskSchedule):
    eps: float = 1e-3

    def sigma(self, t: Tensor) -> Tensor:
        return -torch.log(self.eps + (1 - self.eps) * torch.cos(_HALF_PI * t) ** 2)

    def d_sigma(self, t: Tensor) -> Tensor:
        u = (1 - self.eps) * torch.cos(_HALF_PI * t) ** 2
        return _HALF_PI * (1 - self.eps) * torch.sin(math.pi * t) / (u + self.eps)

    def time(self, sigma: Tensor) -> Tensor:
        return torch.acos(_open(sigma, self.eps).sqrt()) / _HALF_PI


@dataclass(frozen=True)
class Linear(MaskSchedule):
    sigma_min: float = 1e-3
    sigma_max: float = 7.0

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min + t * (self.sigma_max - self.sigma_min)

    def d_sigma(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.sigma_max - self.sigma_min)

    def time(self, sigma: Tensor) -> Tensor:
        return (sigma - self.sigma_min) / (self.sigma_max - self.sigma_min)

    def ends(self) -> tuple[float, float]:
        return self.sigma_min, self.sigma_max


@dataclass(frozen=True)
class Geometric(MaskSchedule):
    sigma_min: float = 1e-3
    sigma_max: float = 1.0

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min ** (1 - t) * self.sigma_max**t

    def d_sigma(self, t: Tensor) -> Tensor:
        return self.sigma(t) * math.log(self.sigma_max / self.sigma_min)

    def time(self, sigma: Tensor) -> Tensor:
        return torch.log(sigma / self.sigma_min) / math.log(self.sigma_max / self.sigma_min)


SCHEDULES: dict[str, type[MaskSchedule]] = {
    "loglinear": LogLinear, "cosine": Cosine, "cosine-squared": CosineSquared, "linear": Linear,
    "geometric": Geometric,
}  # fmt: skip
