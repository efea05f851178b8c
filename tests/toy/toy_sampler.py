"""A sampler of the toy's own: Euler with fresh noise, whose first and last steps are plain."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gencore.noise import Noise
from gencore.sampler import Query, Sampler, State, Steps
from gencore.samplers.ddim import ddim_update
from gencore.spec import broadcast_time


@dataclass(frozen=True)
class Walk(Sampler):
    """DDIM at eta = 1, drawing its own noise."""

    eta: float = 1.0
    order = 0
    draws = "normal"

    def step(self, state: State, noise: Noise) -> Steps:
        d = yield Query(state.x, state.time(state.i))
        z = noise.draw("normal", ("step", state.i), tuple(state.x.shape[1:])).to(state.x)
        target = state.process.coeffs(broadcast_time(state.time(state.i + 1), state.x))
        return state.advance(ddim_update(d, target, self.eta, z), d)

    def config(self) -> dict[str, Any]:
        return asdict(self)
