"""The reverse transition of a Gaussian process between any two times (DDPM, arXiv:2006.11239, for any step list).

For t > s, with r = alpha_t / alpha_s and beta = sigma_t^2 - r^2 sigma_s^2:

    q(x_s | x_t, x_0) = N(alpha_s beta / sigma_t^2 x_0 + r sigma_s^2 / sigma_t^2 x_t,  beta sigma_s^2 / sigma_t^2)

and the network may choose a variance between that one and beta (arXiv:2102.09672, eq. 15).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gencore.denoised import Denoised
from gencore.errors import InputError
from gencore.process import Coeffs, GaussianProcess
from gencore.processes.tables import TableProcess

VarianceKind = Literal["learned_range", "fixed_small", "fixed_large"]


class Posterior(NamedTuple):
    """Float64 parameters of one reverse transition, each of the shape of the times."""

    on_x0: Tensor
    on_xt: Tensor
    variance: Tensor
    beta: Tensor

    def mean(self, x0: Tensor, x_t: Tensor) -> Tensor:
        return self.on_x0.to(x_t.dtype) * x0 + self.on_xt.to(x_t.dtype) * x_t


def posterior(at_t: Coeffs, at_s: Coeffs) -> Posterior:
    """The transition from the noisier `at_t` to `at_s`."""
    ratio, var_t, var_s = at_t.alpha / at_s.alpha, at_t.sigma**2, at_s.sigma**2
    beta = (var_t - ratio**2 * var_s).clamp(min=0)
    var_t = var_t.clamp(min=1e-30)
    return Posterior(at_s.alpha * beta / var_t, ratio * var_s / var_t, beta * var_s / var_t, beta)


def clipped_variance(here: Posterior, neighbour: Posterior) -> Tensor:
    """`here.variance`, or the neighbouring (one step noisier) transition's where it is zero: the log must be finite."""
    return torch.where(here.variance > 0, here.variance, neighbour.variance)


def log_variance(kind: VarianceKind, here: Posterior, neighbour: Posterior, d: Denoised) -> Tensor:
    """Log variance of p(x_s | x_t): float64 of the times' shape, or (B, C, ...) of the state's when learned.

    Raises:
        InputError: "learned_range" from a network without variance channels.
    """
    small = clipped_variance(here, neighbour)
    if kind == "fixed_small":
        return small.log()
    if kind == "fixed_large":
        return torch.where(here.variance > 0, here.beta, neighbour.variance).log()
    if d.extra is None:
        raise InputError("variance", "learned_range", "fixed_small or fixed_large: this network predicts no variance")
    share, dtype = (d.extra + 1) / 2, d.extra.dtype
    return share * here.beta.log().to(dtype) + (1 - share) * small.log().to(dtype)


def level_posteriors(process: TableProcess, level: Tensor) -> tuple[Posterior, Posterior]:
    """The transition of a table process from each integer `level` to the one below, and its noisier neighbour."""

    def step(k: Tensor) -> Posterior:
        return posterior(process.coeffs(process.at(k)), process.coeffs(process.at(k - 1)))

    return step(level), step((level + 1).clamp(max=process.steps - 1))


def step_posteriors(process: GaussianProcess, times: Tensor, i: int) -> tuple[Posterior, Posterior]:
    """The transition ``times[i] -> times[i + 1]`` of a falling grid (n + 1, ...), and its noisier neighbour."""

    def step(j: int) -> Posterior:
        return posterior(process.coeffs(times[j]), process.coeffs(times[j + 1]))

    return step(i), step(max(i - 1, 0))
