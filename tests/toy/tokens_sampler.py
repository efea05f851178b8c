"""A sampler of the toy's own: opens one token a step, from left to right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from gencore.categorical import draw
from gencore.noise import Noise
from gencore.sampler import Query, Sampler, State, Steps
from gencore.schedules import uniform


@dataclass(frozen=True)
class LeftToRight(Sampler):
    """Exact whatever the number of steps: it takes as many as there are tokens."""

    order: int = 1
    kind = "discrete"
    draws = "exponential"

    def times(self, process: Any, kind: Any, steps: int) -> torch.Tensor:
        return uniform(steps)

    def init(self, x: torch.Tensor, times: torch.Tensor, process: Any) -> State:
        return State(x, 0, uniform(x.shape[1]), process)

    def step(self, state: State, noise: Noise) -> Steps:
        d = yield Query(state.x, state.now)
        drawn = draw(d.probs, noise.draw("exponential", ("step", state.i), tuple(d.log_probs.shape[1:])))
        here = torch.arange(state.x.shape[1]) == state.i
        return state.advance(torch.where(d.masked & here, drawn, state.x), d)

    def config(self) -> dict[str, Any]:
        return {"order": self.order}
