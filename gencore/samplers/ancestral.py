"""Ancestral sampling of a Gaussian process (DDPM, arXiv:2006.11239), for any list of times.

x_s = posterior mean(x_0, x_t) + exp(log variance / 2) z,    no noise in the last step
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from gencore.errors import unknown
from gencore.noise import Noise
from gencore.processes.posterior import VarianceKind, log_variance, step_posteriors
from gencore.sampler import Query, Sampler, State, Steps
from gencore.spec import broadcast_time


@dataclass(frozen=True)
class Ancestral(Sampler):
    """Draws from p(x_s | x_t).

    Args:
        variance: "learned_range" (networks with variance channels), "fixed_small" (the posterior's), "fixed_large"
            (beta); "auto" takes the learned one where there is one, else the posterior's.
        clip: bound of x_0 in both directions before the posterior mean, or None.
    """

    variance: VarianceKind | Literal["auto"] = "auto"
    clip: float | None = None
    order = 0
    draws = "normal"

    def __post_init__(self) -> None:
        if self.variance not in (known := ("auto", "learned_range", "fixed_small", "fixed_large")):
            raise unknown("variance", self.variance, known)

    def step(self, state: State, noise: Noise) -> Steps:
        d = yield Query(state.x, state.time(state.i))
        if self.clip is not None:
            d = d.clamp_x0(-self.clip, self.clip)
        times = torch.stack([broadcast_time(state.time(i), state.x) for i in range(max(state.i - 1, 0), state.i + 2)])
        here, neighbour = step_posteriors(state.process, times, len(times) - 2)
        x = here.mean(d.x0, d.x_t)
        if state.i < state.steps - 1:
            kind = self.variance
            if kind == "auto":
                kind = "fixed_small" if d.extra is None else "learned_range"
            logvar = log_variance(kind, here, neighbour, d).to(x.dtype)
            z = noise.draw("normal", ("step", state.i), tuple(x.shape[1:])).to(x)
            x = x + (0.5 * logvar).exp() * z
        return state.advance(x, d)

    def config(self) -> dict[str, Any]:
        return asdict(self)
