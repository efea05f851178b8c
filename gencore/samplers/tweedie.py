"""The analytic (Tweedie) sampler of score-entropy models (arXiv:2310.16834, section 4.2), for masked diffusion.

q(x_s | x_t) prop. to  (staggered score) (transition row),   D = sigma(t) - sigma(s)

staggered(v) = e^D s(v),  and for the mask  e^D s(mask) + (1 - e^D) sum_v s(v)
transition(v) = e^-D [v = x_t] + (1 - e^-D) [x_t = mask]

It ends with a draw at D = sigma(t) in which the mask is no outcome.  With a normalised denoiser its steps have the law
of `gencore.samplers.masked`; for scores that are not normalised the two differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gencore.categorical import Categorical, draw
from gencore.errors import InputError
from gencore.noise import Noise
from gencore.processes.absorbing import Absorbing
from gencore.sampler import Query, Sampler, State, Steps
from gencore.samplers.masked import falling_times
from gencore.spec import broadcast_time


def tweedie_weights(d: Categorical, gap: Tensor, *, last: bool = False) -> Tensor:
    """Unnormalised q(x_s | x_t), (B, *sizes, V) float64, of every position, open ones included.

    Args:
        d: the prediction about x_t.
        gap: D = sigma(t) - sigma(s), broadcasting against ``d.x_t``.
        last: s is clean data: the mask is no outcome.
    """
    mask, score, grow = d.process.mask_id, d.score, gap.unsqueeze(-1).exp()
    staggered = grow * score
    staggered[..., mask] = staggered[..., mask] + ((1 - grow) * score.sum(-1, keepdim=True)).squeeze(-1)
    row = one_hot(d.x_t, score.shape[-1]).double() / grow + torch.where(d.masked.unsqueeze(-1), 1 - 1 / grow, 0.0)
    weights = staggered * row
    if last:
        weights[..., mask] = 0
    return weights


@dataclass(frozen=True)
class Tweedie(Sampler):
    """Draws every position from the product of its staggered score and its transition row."""

    order = 1
    kind = "discrete"
    draws = "exponential"

    def times(self, process: Absorbing, kind: Any, steps: int) -> Tensor:
        return falling_times(steps, "argmax")

    def init(self, x: Tensor, times: Tensor, process: Absorbing) -> State:
        if not isinstance(process, Absorbing):
            raise InputError("sampler", "tweedie", f"a process with a total noise, not {type(process).__name__}")
        return super().init(x, times, process)

    def step(self, state: State, noise: Noise) -> Steps:
        d = yield Query(state.x, state.now)
        here, there = (broadcast_time(state.time(i), state.x) for i in (state.i, state.i + 1))
        gap = state.process.sigma(here) - torch.where(there <= 0, 0.0, state.process.sigma(there))
        weights = tweedie_weights(d, gap, last=state.i == state.steps - 1)
        eps = noise.draw("exponential", ("step", state.i), tuple(weights.shape[1:]))
        return state.advance(draw(weights, eps), d)

    def config(self) -> dict[str, Any]:
        return {}
