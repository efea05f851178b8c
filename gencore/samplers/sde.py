"""Stochastic samplers of the same marginals (SiT, arXiv:2401.08740, section 3), and their last step.

In the direction of falling noise, with v = dx/dt (t rising towards noise), s the score and dtau = t - t_next > 0:

    dx = [-v + w(t) s] dtau + sqrt(2 w(t)) dW

`w` is free; the last interval, down to t = 0, is taken in one step without noise by the rule `last`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gencore.denoised import Denoised, PredictionKind
from gencore.denoiser import NotFinite
from gencore.errors import unknown
from gencore.noise import Noise
from gencore.objectives.flow import diffusion_scale
from gencore.process import GaussianProcess
from gencore.sampler import Query, Sampler, State, Steps
from gencore.schedules import interval, uniform
from gencore.spec import broadcast_time

FORMS: dict[str, Callable[[GaussianProcess, Tensor, float], Tensor]] = {
    "constant": lambda p, t, norm: norm * torch.ones_like(t),
    "sbdm": lambda p, t, norm: norm * diffusion_scale(p.coeffs(t)),
    "sigma": lambda p, t, norm: norm * p.coeffs(t).sigma,
    "linear": lambda p, t, norm: norm * t,
    "decreasing": lambda p, t, norm: 0.25 * (1 - norm * (math.pi * t).cos()) ** 2,
    "increasing-decreasing": lambda p, t, norm: norm * (math.pi * t).sin() ** 2,
}
"""w(t) by name with its `norm`; "sbdm" is the diffusion of the score-based model with the same marginals."""

_CLEAN = 1e-9


@dataclass(frozen=True)
class StochasticInterpolant(Sampler):
    """Euler-Maruyama or stochastic Heun.

    Args:
        method: "euler" (one call a step) or "heun" (two).
        form: a name of `FORMS`.
        norm: scale of w.
        last: rule of the last step: "mean" (the drift without noise), "tweedie" (its x_0), "euler" (the ODE's
            velocity), or None to treat it as any other.
        last_step: width of the last step.
    """

    method: Literal["euler", "heun"] = "euler"
    form: str = "sigma"
    norm: float = 1.0
    last: Literal["mean", "tweedie", "euler"] | None = "mean"
    last_step: float = 0.04
    order = 0
    draws = "normal"

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise unknown("form", self.form, FORMS)
        if self.method not in ("euler", "heun"):
            raise unknown("method", self.method, ("euler", "heun"))
        if self.last not in ("mean", "tweedie", "euler", None):
            raise unknown("last", str(self.last), ("mean", "tweedie", "euler"))

    def times(self, process: GaussianProcess, kind: PredictionKind, steps: int) -> Tensor:
        high = interval(process, kind)[1]
        if self.form == "sbdm" and process.coeffs(torch.ones(1)).alpha.item() < 1e-6:
            high = min(high, 1 - 1e-3)
        if self.last is None or steps == 1:
            return uniform(steps, high)
        return torch.cat([uniform(steps - 1, high, self.last_step), torch.zeros(1, dtype=torch.float64)])

    def _w(self, state: State, t: Tensor) -> Tensor:
        return self._finite(FORMS[self.form](state.process, t, self.norm), t)

    def _finite(self, rate: Tensor, t: Tensor) -> Tensor:
        if not bool((rate.isfinite() & (rate.abs() < 1e6)).all()):
            raise NotFinite(f"sde form '{self.form}': infinite at t={float(t.flatten()[0]):.3g}; use form 'sigma', or "
                            "times that end before")  # fmt: skip
        return rate

    def _drift(self, state: State, d: Denoised, t: Tensor) -> Tensor:
        # w s = -(w / sigma) eps: the ratio has a limit at clean data, where the score itself is infinite.
        t = broadcast_time(t, state.x).clamp(min=_CLEAN)
        pull = self._finite(self._w(state, t) / state.process.coeffs(t).sigma, t)
        return -d.velocity - pull.to(state.x.dtype) * d.epsilon

    def step(self, state: State, noise: Noise) -> Steps:
        x, t, s = state.x, state.time(state.i), state.time(state.i + 1)
        dtau = broadcast_time(t - s, x)
        step = dtau.to(x.dtype)
        if self.last is not None and state.i == state.steps - 1:
            d = yield Query(x, t, "last")
            match self.last:
                case "mean":
                    x = x + step * self._drift(state, d, t)
                case "tweedie":
                    x = d.x0
                case "euler":
                    x = x - step * d.velocity
            return state.advance(x, d)
        z = noise.draw("normal", ("step", state.i), tuple(x.shape[1:])).to(x)
        kick = (2 * self._w(state, broadcast_time(t, x)) * dtau).sqrt().to(x.dtype) * z
        if self.method == "euler":
            d = yield Query(x, t)
            return state.advance(x + step * self._drift(state, d, t) + kick, d)
        x = x + kick
        d = yield Query(x, t)
        k1 = self._drift(state, d, t)
        d2 = yield Query(x + step * k1, s, "k2")
        return state.advance(x + step / 2 * (k1 + self._drift(state, d2, s)), d)

    def config(self) -> dict[str, Any]:
        return asdict(self)
