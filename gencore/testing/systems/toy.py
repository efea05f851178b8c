"""What the recorded toys share: Gaussian mixtures, processes from alpha-bars, and runs answered in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from gencore.denoised import Denoised
from gencore.noise import Recorded
from gencore.processes.tables import TableProcess
from gencore.run import answer
from gencore.sampler import Query, Sampler, State
from gencore.testing.analytic import Mixture


def mixture(io: Mapping[str, Tensor], shape: tuple[int, ...], mu: str = "mu") -> Mixture:
    """The isotropic mixture of a case, its flat means brought to `shape`."""
    means = io[mu].double().reshape(-1, *shape)
    return Mixture(io["weight"].double(), means, io["sd"].double().reshape(-1, *(1,) * len(shape)))


def table(alphas_cumprod: Tensor) -> TableProcess:
    """The process of recorded alpha-bars, which stays at the first one below it."""
    abar = alphas_cumprod.double()
    return TableProcess(1 - abar / torch.cat([abar.new_ones(1), abar[:-1]]), final="first")


def walk(sampler: Sampler, state: State, ask: Callable[[Query], Denoised]) -> Iterator[State]:
    """`state` and every one after it."""
    yield state
    while not state.done:
        state = answer(sampler.step(state, Recorded([])), ask)
        yield state
