"""Explicit Runge-Kutta methods on the probability-flow ODE dx/dt = velocity: each is a table.

k_j = v(x + h sum_l a_jl k_l, t + c_j h),    x <- x + h sum_j b_j k_j,    h = s - t < 0
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gencore.denoised import PredictionKind
from gencore.errors import unknown
from gencore.noise import Noise
from gencore.process import Coeffs, GaussianProcess
from gencore.sampler import Query, Sampler, State, Steps
from gencore.samplers.ddim import ddim_update
from gencore.schedules import ode_times
from gencore.spec import broadcast_time


class Tableau(NamedTuple):
    """Butcher tableau: nodes c, lower-triangular rows a (the first empty), weights b."""

    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]


TABLEAUX = {
    "euler": Tableau(1, (0,), ((),), (1,)),
    "heun": Tableau(2, (0, 1), ((), (1,)), (1 / 2, 1 / 2)),
    "midpoint": Tableau(2, (0, 1 / 2), ((), (1 / 2,)), (0, 1)),
    "rk4": Tableau(4, (0, 1 / 2, 1 / 2, 1), ((), (1 / 2,), (0, 1 / 2), (0, 0, 1)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
    "rk4-38": Tableau(4, (0, 1 / 3, 2 / 3, 1), ((), (1 / 3,), (-1 / 3, 1), (1, -1, 1)), (1 / 8, 3 / 8, 3 / 8, 1 / 8)),
}
"""Explicit methods by name; "rk4-38" is the 3/8 rule (what torchdiffeq calls rk4)."""


def combine(x: Tensor, slopes: list[Tensor], weights: tuple[float, ...], h: Tensor) -> Tensor:
    """x + h sum_j w_j k_j with h broadcasting against x."""
    step = h.to(x.dtype)
    total = sum(w * k for w, k in zip(weights, slopes, strict=True) if w != 0)
    return x if isinstance(total, int) else x + step * total


_SINGULAR = 1e6


def _infinite(c: Coeffs) -> Tensor:
    return (c.sigma <= 0) & (c.d_sigma.abs() > _SINGULAR)


@dataclass(frozen=True)
class RungeKutta(Sampler):
    """Fixed-step explicit Runge-Kutta.

    Args:
        method: a name of `TABLEAUX`.
    """

    method: str = "heun"
    order: int = field(init=False)

    def __post_init__(self) -> None:
        if self.method not in TABLEAUX:
            raise unknown("method", self.method, TABLEAUX)
        object.__setattr__(self, "order", TABLEAUX[self.method].order)

    def times(self, process: GaussianProcess, kind: PredictionKind, steps: int) -> Tensor:
        return ode_times(process, kind, steps)

    @property
    def inverts(self) -> bool:
        return True

    def step(self, state: State, noise: Noise) -> Steps:
        table, t, s = TABLEAUX[self.method], state.time(state.i), state.time(state.i + 1)
        here, target = (state.process.coeffs(broadcast_time(end, state.x)) for end in (t, s))
        first = yield Query(state.x, t)
        # Where the slope is infinite at clean data (VP, tables), or the prediction does not tell it there (x0), the
        # step that touches it is the exponential-integrator Euler one.  A score or velocity is finite where it starts.
        singular = _infinite(target)
        if first.kind not in ("score", "velocity"):
            singular = singular | _infinite(here)
        if first.kind == "x0":
            singular = singular | (here.sigma <= 0) | (target.sigma <= 0)
        if bool(singular.all()):
            return state.advance(ddim_update(first, target), first)
        h = broadcast_time(s - t, state.x)
        slopes = [first.velocity]
        for j, (c, row) in enumerate(zip(table.c[1:], table.a[1:], strict=True), start=2):
            d = yield Query(combine(state.x, slopes, row, h), t + c * (s - t), f"k{j}")
            slopes.append(d.velocity)
        x = combine(state.x, slopes, table.b, h)
        if bool(singular.any()):
            x = torch.where(singular, ddim_update(first, target), x)
        return state.advance(x, first)

    def config(self) -> dict[str, Any]:
        return {"method": self.method}


def euler() -> RungeKutta:
    """First order, one call a step."""
    return RungeKutta("euler")


def heun() -> RungeKutta:
    """Second order, two calls a step (the explicit trapezoid)."""
    return RungeKutta("heun")
