"""Ancestral sampling of masked diffusion (arXiv:2406.07524, eq. 7; arXiv:2107.03006).

q(x_s = v | x_t = mask) prop. to p(v) (m_t - m_s),   of staying masked: m_s (+ (1 - m_s) p(mask) where p has any)

An open token is copied.  MDLM ends at t = 1e-5 and opens what is still masked, one token in 10^5, by an argmax.

The "cached" sampler of the same paper is this one: the denoiser answers again without a network call while no token
and no time that the network sees has changed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gencore.categorical import Categorical, draw
from gencore.errors import unknown
from gencore.noise import Noise
from gencore.process import AbsorbingProcess
from gencore.sampler import Query, Sampler, State, Steps
from gencore.schedules import uniform
from gencore.spec import broadcast_time

Final = Literal["argmax", "draw"]
FINALS = ("argmax", "draw")
LAST = 1e-5
"""The time of the noise-removal step."""


def falling_times(steps: int, final: Final) -> Tensor:
    """The float64 grid of masked samplers: `steps` equal steps down to 1e-5 and a noise-removal step to 0,
    (steps + 2,); with "draw" they go down to 0 themselves, (steps + 1,).

    >>> falling_times(2, "draw").tolist()
    [1.0, 0.5, 0.0]
    """
    if final == "draw":
        return uniform(steps)
    return torch.cat([uniform(steps, 1.0, LAST), torch.zeros(1, dtype=torch.float64)])


def reverse_weights(d: Categorical, here: Tensor, there: Tensor) -> Tensor:
    """Unnormalised q(x_s | x_t) of a masked position, (B, *sizes, V) float64.

    Args:
        d: the prediction about x_t.
        here, there: move chances m_t and m_s <= m_t, broadcasting against ``d.x_t``.
    """
    here, there = here.unsqueeze(-1), there.unsqueeze(-1)
    probs, mask = d.probs, d.process.mask_id
    weights = probs * (here - there)
    weights[..., mask : mask + 1] = there + (1 - there) * probs[..., mask : mask + 1]
    return weights


def chances(state: State) -> tuple[Tensor, Tensor]:
    """The move chances at both ends of the next step, broadcasting against the state."""
    process: AbsorbingProcess = state.process
    here, there = (broadcast_time(state.time(i), state.x) for i in (state.i, state.i + 1))
    return process.move_chance(here), torch.where(there <= 0, 0.0, process.move_chance(there))


@dataclass(frozen=True)
class MaskedAncestral(Sampler):
    """Draws from p(x_s | x_t), every position by itself.

    Args:
        final: the step to t = 0 takes the likeliest token ("argmax": MDLM's noise removal, one network call more than
            steps) or a drawn one ("draw").
    """

    final: Final = "argmax"
    order = 1
    kind = "discrete"
    draws = "exponential"

    def __post_init__(self) -> None:
        if self.final not in FINALS:
            raise unknown("final", self.final, FINALS)

    def times(self, process: AbsorbingProcess, kind: Any, steps: int) -> Tensor:
        return falling_times(steps, self.final)

    def step(self, state: State, noise: Noise) -> Steps:
        d = yield Query(state.x, state.now)
        last = state.i == state.steps - 1
        if last and self.final == "argmax":
            return state.advance(d.x0, d)
        weights = reverse_weights(d, *chances(state))
        if last:
            weights[..., state.process.mask_id] = 0
        eps = noise.draw("exponential", ("step", state.i), tuple(weights.shape[1:]))
        return state.advance(torch.where(d.masked, draw(weights, eps), state.x), d)

    def config(self) -> dict[str, Any]:
        return asdict(self)
