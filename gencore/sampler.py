"""Samplers ask instead of calling: a step yields queries and receives predictions.

So one driver serves one network, towers in lock-step, a pipeline of ranks, or a server that batches requests which
stand at different steps.  A sampler is an immutable value; all that changes is in its state, which is copyable
between steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from gencore.denoised import PredictionKind
from gencore.noise import Kind, Noise
from gencore.schedules import default_times
from gencore.spec import broadcast_time


class Query(NamedTuple):
    """A question to the network: the prediction for `x` at times `t`.

    Args:
        x: (B, ...) state.
        t: (B,) float64, or broadcasting against `x`.
        stage: which evaluation within the step.
        grad: answer under autograd (likelihoods, loss guidance).
    """

    x: Tensor
    t: Tensor
    stage: str = ""
    grad: bool = False


class Estimate(Protocol):
    """What every kind of prediction offers: the clean state it expects."""

    @property
    def x0(self) -> Tensor: ...


Steps = Generator[Query, Any, Any]
"""A step in progress: yields `Query`, is sent a prediction (`Denoised` or `Categorical`), returns the next state."""


@dataclass(frozen=True, slots=True)
class State:
    """Where a run stands.

    Args:
        x: (B, ...) the state, which known regions may replace between steps.
        i: index of the next step.
        times: (n + 1,) falling float64 times, or (n + 1, B or 1, ...) broadcasting against `x`.
        process: of the run, one of the sampler's kind.
        memory: what a multistep method remembers.
        last: the latest prediction, for previews.
        trajectories: walks from noise to data, of equally many steps, that the run takes one after the other, such as
            those of windows that slide.
    """

    x: Tensor
    i: int
    times: Tensor
    process: Any
    memory: tuple[Any, ...] = ()
    last: Estimate | None = None
    trajectories: int = 1

    @property
    def steps(self) -> int:
        """Steps in all; 0 when the method chooses its own."""
        return self.times.shape[0] - 1

    @property
    def done(self) -> bool:
        return self.i >= self.steps

    @property
    def now(self) -> Tensor:
        """The time of `x`, (B,) or broadcasting against it."""
        return self.time(self.i)

    def time(self, i: int) -> Tensor:
        """``times[i]`` as (B,) or broadcasting against `x`."""
        t = self.times[i]
        return t.expand(self.x.shape[0]) if t.ndim == 0 else t

    def advance(self, x: Tensor, last: Estimate, memory: tuple[Any, ...] = ()) -> State:
        """The state after one more step; cells whose time stands still are copied, so that they cannot drift."""
        if self.times.ndim > 1:
            still = broadcast_time(self.times[self.i] == self.times[self.i + 1], x)
            x = torch.where(still, self.x, x)
        return replace(self, x=x, i=self.i + 1, last=last, memory=memory)


class Sampler(ABC):
    """A method to walk from noise to data.

    Attributes:
        kind: of the latents it samples.
        order: of convergence towards the ODE's solution; 0 for stochastic methods.
        draws: the kind of noise a step needs, or None.
        inverts: the step on rising times walks from data to noise.
    """

    kind: Literal["continuous", "discrete"] = "continuous"
    order: int = 1
    draws: Kind | None = None

    @property
    def inverts(self) -> bool:
        return False

    def turned(self, state: State) -> State:
        """From the last state of an inversion to the first of a run that samples it back."""
        return replace(state, i=0, times=state.times.flip(0), memory=(), last=None)

    def times(self, process: Any, kind: PredictionKind, steps: int) -> Tensor:
        """The (n + 1,) falling times this method takes when it is given a number of steps."""
        return default_times(process, kind, steps)

    def init(self, x: Tensor, times: Tensor, process: Any) -> State:
        """The state before the first step; `times` fall from noise to data."""
        return State(x, 0, times, process)

    @abstractmethod
    def step(self, state: State, noise: Noise) -> Steps:
        """One step."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """JSON arguments that build an equal sampler."""
