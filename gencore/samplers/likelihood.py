"""Exact likelihood by the instantaneous change of variables (arXiv:1806.07366, 1810.01367).

    dx/dt = v(x, t),  d l / dt = div v,   log p(x_0) = log N(x_1; 0, I) + integral_0^1 div v dt

The divergence is estimated with a Rademacher probe e: E[e^T (dv/dx) e], exact for fields that act elementwise.  One
probe serves the whole path: drawn anew at every call it would be a noise that no step control can resolve.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gencore.context import StepInfo
from gencore.denoiser import Denoiser
from gencore.noise import Noise
from gencore.samplers.dopri5 import Fields, Norm, drive, integrate


class Likelihood(NamedTuple):
    """Log density in nats over all dimensions (B,), the noise code (B, ...), and the number of field evaluations."""

    log_p: Tensor
    code: Tensor
    calls: int


def log_likelihood(
    denoise: Denoiser,
    x0: Tensor,
    noise: Noise,
    *,
    interval: tuple[float, float] = (0.0, 1.0),
    rtol: float = 1e-3,
    atol: float = 1e-6,
    norm: Norm = "sample",
    max_steps: int = 1000,
) -> Likelihood:
    """log p of data.

    Args:
        x0: (B, ...) data.
        noise: keyed by sample; the probe has key ``("probe",)``.
        interval: times (from, to), data first; end before 1 where the velocity diverges there.
        rtol, atol, norm: of `gencore.samplers.dopri5`.
    """
    calls = 0
    probe = noise.draw("uniform", ("probe",), tuple(x0.shape[1:])).to(x0)
    probe = torch.where(probe < 0.5, -1.0, 1.0).to(x0.dtype)

    def field(t: Tensor, y: Fields, stage: str) -> Fields:
        nonlocal calls
        calls += 1
        with torch.enable_grad():
            x = y[0].detach().requires_grad_(True)
            v = denoise(x, t, StepInfo(calls, 0, stage)).velocity
            (row,) = torch.autograd.grad(v, x, probe)
        return v.detach(), (row * probe).flatten(1).sum(1)

    times = torch.tensor(interval, dtype=torch.float64)
    solver = integrate((x0, x0.new_zeros(len(x0))), times, rtol=rtol, atol=atol, norm=norm, max_steps=max_steps)
    code, change = (component[-1] for component in drive(solver, field))
    dims = code[0].numel()
    prior = -0.5 * (code.flatten(1) ** 2).sum(1) - 0.5 * dims * math.log(2 * math.pi)
    return Likelihood(prior + change, code, calls)
