"""Densities of training times on [0, 1], t = 1 being noise (arXiv:2403.03206, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gencore.errors import unknown
from gencore.noise import Noise

Density = Callable[[Noise], Tensor]
"""Draws one time per sample, (B,) float64."""


def _uniform(noise: Noise) -> Tensor:
    return noise.draw("uniform", ("time",), ()).to(torch.float64)


def uniform(low: float = 0.0, high: float = 1.0) -> Density:
    """t ~ U(low, high)."""
    return lambda noise: low + (high - low) * _uniform(noise)


def logit_normal(mean: float = 0.0, std: float = 1.0) -> Density:
    """t = sigmoid(n), n ~ N(mean, std^2): most weight in the middle."""
    return lambda noise: torch.sigmoid(mean + std * noise.draw("normal", ("time",), ()).to(torch.float64))


def mode(scale: float = 1.29) -> Density:
    """t = 1 - u - scale (cos^2(pi u / 2) - 1 + u): uniform at scale 0, heavier in the middle above."""

    def draw(noise: Noise) -> Tensor:
        u = _uniform(noise)
        return 1 - u - scale * (torch.cos(math.pi / 2 * u) ** 2 - 1 + u)

    return draw


def cosmap() -> Density:
    """t = 1 - 1 / (tan(pi u / 2) + 1): the cosine schedule's density on a linear path."""

    def draw(noise: Noise) -> Tensor:
        return 1 - 1 / (torch.tan(math.pi / 2 * _uniform(noise)) + 1)

    return draw


DENSITIES: dict[str, Callable[..., Density]] = {
    "uniform": uniform, "logit_normal": logit_normal, "mode": mode, "cosmap": cosmap,
}  # fmt: skip


def density(name: str, **arguments: float) -> Density:
    """The density called `name`."""
    if name not in DENSITIES:
        raise unknown("density", name, DENSITIES)
    return DENSITIES[name](**arguments)
