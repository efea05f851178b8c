"""Times for masked diffusion: antithetic draws, and equal steps of the log move chance (arXiv:2406.07524, code).

With f(sigma) = log(1 - exp(-sigma)), the log move chance at t is  f(sigma_min) + t (f(sigma_max) - f(sigma_min)); the
weight 1 / t of the bound is then the constant -f(sigma_min).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gencore.noise import Noise
from gencore.processes.absorbing import Absorbing


def training_uniforms(noise: Noise, *, antithetic: bool = False) -> Tensor:
    """(B,) float64 in [0, 1), by key ``("time",)``.

    Args:
        antithetic: sample i of B falls in [i / B, (i + 1) / B) turned by its own draw: less variance over a batch,
            but a sample's time then depends on its place in the batch.
    """
    u = noise.draw("uniform", ("time",), ()).to(torch.float64)
    if not antithetic:
        return u
    return (u / len(u) + torch.arange(len(u), dtype=torch.float64, device=u.device) / len(u)) % 1


def log_uniform_chance(process: Absorbing, t: Tensor) -> tuple[Tensor, float]:
    """The move chances (B,) float64 at `t` in equal steps of their log, and the weight -f(sigma_min) of the bound.

    The exact weight is f(sigma_max) - f(sigma_min), less by 1.4e-4 of itself; published models were trained with this.

    Raises:
        InputError: a schedule without published ends.
    """
    low, high = (math.log(-math.expm1(-sigma)) for sigma in process.schedule.ends())
    return torch.exp(low + t.to(torch.float64) * (high - low)), -low
