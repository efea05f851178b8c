"""Opening a fixed number of tokens a step, the surest first (MaskGIT, arXiv:2202.04200; LLaDA, arXiv:2502.09992).

Of n masked tokens a step from t to s opens  ceil(n (m_t - m_s) / m_t),  with m(t) = t equal shares of what is left.
Each masked position draws a token from p^(1/temperature); those that rank highest keep theirs, the others stay masked:

| remasking        | rank                                                       |
|------------------|------------------------------------------------------------|
| `low_confidence` | p of the drawn token                                       |
| `margin`         | p of the likeliest token less p of the second              |
| `entropy`        | minus the entropy of p                                     |
| `random`         | a uniform draw: tokens open in an order of no preference   |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gencore.categorical import Categorical, draw, without
from gencore.errors import InputError, unknown
from gencore.noise import Noise
from gencore.process import AbsorbingProcess
from gencore.sampler import Query, Sampler, State, Steps
from gencore.samplers.masked import chances, falling_times

Remasking = Literal["low_confidence", "margin", "entropy", "random"]


@dataclass(frozen=True)
class Confidence(Sampler):
    """Opens the surest tokens.  Given times decide how many: by default N equal steps to 0 and N network calls.

    Args:
        remasking: see the table of this module.
        temperature: of the drawn tokens; 0 takes the likeliest, and then only "random" draws anything.

    Raises:
        InputError: an unknown rank, or a negative temperature.
    """

    remasking: Remasking = "low_confidence"
    temperature: float = 1.0
    order: int = field(init=False)
    kind = "discrete"
    draws = "exponential"

    def __post_init__(self) -> None:
        if self.remasking not in get_args(Remasking):
            raise unknown("remasking", self.remasking, get_args(Remasking))
        if not self.temperature >= 0:
            raise InputError("temperature", self.temperature, "0 or more")
        # Which tokens open must not depend on what was drawn for them, or likely ones are favoured.
        exact = self.temperature == 1 and self.remasking != "low_confidence"
        object.__setattr__(self, "order", int(exact))

    def times(self, process: AbsorbingProcess, kind: Any, steps: int) -> Tensor:
        return falling_times(steps, "draw")

    def init(self, x: Tensor, times: Tensor, process: AbsorbingProcess) -> State:
        if times.ndim > 1:
            raise InputError("times", "a time for each cell", "one time a step: this sampler ranks all cells together")
        return super().init(x, times, process)

    def step(self, state: State, noise: Noise) -> Steps:
        d: Categorical = yield Query(state.x, state.now)
        sizes, key = tuple(state.x.shape[1:]), ("step", state.i)
        tokens = self._tokens(d, noise, (*key, "token"))
        rank = noise.draw("exponential", (*key, "rank"), sizes) if self.remasking == "random" else self._rank(d, tokens)
        masked = d.masked.flatten(1)
        here, there = chances(state)
        share = ((here - there) / here).flatten(1)[:, 0]
        # Rounding must not open one more than an exact share.
        count = torch.ceil(masked.sum(1) * share - 1e-9).long()
        order = rank.masked_fill(~d.masked, -torch.inf).flatten(1).argsort(dim=1, descending=True, stable=True)
        opens = (masked & (order.argsort(1) < count[:, None])).reshape(state.x.shape)
        return state.advance(torch.where(opens, tokens, state.x), d)

    def _tokens(self, d: Categorical, noise: Noise, key: tuple[str | int, ...]) -> Tensor:
        if self.temperature == 0:
            return d.x0
        log_probs = without(d.log_probs.to(torch.float64), d.process.mask_id)
        weights = (log_probs / self.temperature).softmax(-1)
        return draw(weights, noise.draw("exponential", key, tuple(weights.shape[1:])))

    def _rank(self, d: Categorical, tokens: Tensor) -> Tensor:
        match self.remasking:
            case "margin":
                first, second = d.probs.topk(2, dim=-1).values.unbind(-1)
                return first - second
            case "entropy":
                return -d.entropy
        return d.log_prob(tokens).to(torch.float64)

    def config(self) -> dict[str, Any]:
        return {"remasking": self.remasking, "temperature": self.temperature}
