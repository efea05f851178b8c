"""The variational bound of a Gaussian diffusion, in bits per dimension (arXiv:2006.11239; 2102.09672, section 3).

    -log2 p(x_0) <= KL(q(x_T | x_0) || N(0, I)) + sum_k KL(q(x_s | x_t, x_0) || p(x_s | x_t)) - log2 p(x_0 | x_1)

where the last term is the likelihood of data on 256 levels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gencore.denoised import Denoised
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.noise import Noise
from gencore.objective import per_sample_mean
from gencore.objectives.region import WHOLE, Region
from gencore.processes.posterior import VarianceKind, clipped_variance, level_posteriors, log_variance
from gencore.processes.tables import TableProcess
from gencore.spec import broadcast_time


def gaussian_kl(mean1: Tensor, logvar1: Tensor, mean2: Tensor, logvar2: Tensor) -> Tensor:
    """KL(N(mean1, e^logvar1) || N(mean2, e^logvar2)) elementwise, nats."""
    # The 1 is taken off before the near-1 ratio is added: for nearly equal variances float32 has nothing to spare.
    change = logvar2 - logvar1 - 1 + torch.exp(logvar1 - logvar2)
    return 0.5 * (change + (mean1 - mean2) ** 2 * torch.exp(-logvar2))


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


def variational_term(process: TableProcess, x0: Tensor, level: Tensor, d: Denoised, variance: VarianceKind,
                     region: Region = WHOLE) -> Tensor:  # fmt: skip
    """One term of the bound at integer levels (B,), bits per dim (B,): KL, at level 0 the discretised likelihood."""
    here, neighbour = level_posteriors(process, broadcast_time(level, x0))
    logvar = log_variance(variance, here, neighbour, d).to(x0.dtype)
    mean = here.mean(d.x0, d.x_t)
    true_logvar = clipped_variance(here, neighbour).log().to(x0.dtype)
    kl = region.bound_mean(gaussian_kl(here.mean(x0, d.x_t), true_logvar, mean, logvar))
    nll = region.bound_mean(-discretised_log_likelihood(x0, mean, logvar))
    return torch.where(level == 0, nll, kl) / math.log(2)


class Bound(NamedTuple):
    """The bound and its parts; column j belongs to level T - 1 - j.

    Args:
        total: (B,) bits per dimension.
        prior: (B,) of it, what the last noise level still tells of the data.
        terms: (B, T) of it, one a level.
        x0_error, eps_error: (B, T) mean squared errors of the predicted data and noise.
    """

    total: Tensor
    prior: Tensor
    terms: Tensor
    x0_error: Tensor
    eps_error: Tensor


@torch.no_grad()
def bits_per_dim(denoise: Denoiser, x0: Tensor, noise: Noise, *, variance: VarianceKind = "learned_range",
                 clip: float | None = 1.0) -> Bound:  # fmt: skip
    """The bound on data `x0` (B, ...) in [-1, 1], one draw and one network call a level.

    Args:
        noise: level k is noised by the draw ``("level", k)``; the noisiest comes first.
        variance: of the reverse transitions.
        clip: bound of the predicted x_0 in both directions, or None.

    Raises:
        InputError: a process without levels.
    """
    process = denoise.process
    if not isinstance(process, TableProcess):
        raise InputError("process", type(process).__name__, "a table process", "flows: gencore.samplers.likelihood")
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    for k in reversed(range(process.steps)):
        level = torch.full((len(x0),), k, device=x0.device)
        eps, t = noise.draw("normal", ("level", k), tuple(x0.shape[1:])).to(x0), process.at(level)
        d = denoise(process.corrupt(x0, t, eps), t)
        if clip is not None:
            d = d.clamp_x0(-clip, clip)
        term = variational_term(process, x0, level, d, variance)
        columns.append((term, per_sample_mean((d.x0 - x0) ** 2), per_sample_mean((d.epsilon - eps) ** 2)))
    terms, x0_error, eps_error = (torch.stack(column, dim=1) for column in zip(*columns, strict=True))
    last = process.coeffs(torch.ones(1, dtype=torch.float64, device=x0.device))
    logvar = (2 * last.sigma.log()).to(x0.dtype)
    zero = torch.zeros_like(x0)
    prior = per_sample_mean(gaussian_kl(last.alpha.to(x0.dtype) * x0, logvar + zero, zero, zero)) / math.log(2)
    return Bound(terms.sum(1) + prior, prior, terms, x0_error, eps_error)
