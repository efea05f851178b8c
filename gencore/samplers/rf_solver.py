"""RF-Solver: a second-order Taylor step on a flow (arXiv:2411.04746).

    x' = x + h v(x, t) + (h^2 / 2) dv,   dv = (v(x + (h / 2) v, t + h / 2) - v(x, t)) / (h / 2)

Inserting dv leaves x' = x + h v(x + (h / 2) v, t + h / 2): the explicit midpoint rule, in whose table it lives here.
Inversion is the same step on rising times; its error is O(h^3) a step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.samplers.runge_kutta import RungeKutta


def rf_solver() -> RungeKutta:
    """Second order, two calls a step.

    >>> rf_solver() == RungeKutta("midpoint")
    True
    """
    return RungeKutta("midpoint")


def flux_times(steps: int, tokens: int | None = None) -> Tensor:
    """The times FLUX is sampled at: uniform, shifted by e^mu with mu linear in the number of tokens.

    mu is 0.5 at 256 tokens and 1.15 at 4096, and goes on linearly outside; None (schnell) shifts nothing.  The list is
    formed in float32, as published, and its values are then float64.

    >>> flux_times(2, 4096)
    tensor([1.0000, 0.7595, 0.0000], dtype=torch.float64)
    """
    if steps < 1:
        raise InputError("steps", steps, "1 or more")
    times = torch.linspace(1, 0, steps + 1)
    if tokens is not None:
        shift = math.exp(0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256))
        times = shift / (shift + (1 / times - 1))
    return times.double()
