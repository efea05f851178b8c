"""Driving a sampler: one loop for previews, results and inversions."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gencore.backbone import Backbone
from gencore.context import StepInfo
from gencore.denoiser import Denoiser
from gencore.known import Known
from gencore.noise import Noise
from gencore.sampler import Query, Sampler, State
from gencore.spec import LatentSpec


class Step(NamedTuple):
    """One finished step.

    Args:
        index: 1-based.
        total: steps in all, 0 when the solver chooses its own.
        state: the sampler's state after the step; resume from it with `stream(..., state=...)`.
        done: this was the last one.
    """

    index: int
    total: int
    state: State
    done: bool

    @property
    def x(self) -> Tensor:
        """(B, ...) the state."""
        return self.state.x

    @property
    def preview(self) -> Tensor:
        """(B, ...) the clean estimate of the step, or the result after the last one."""
        return self.state.x if self.done or self.state.last is None else self.state.last.x0


def _device(net: Backbone) -> torch.device:
    return next((p.device for p in net.parameters()), torch.device("cpu"))


def answer(questions: Generator[Query, Any, Any], ask: Callable[[Query], Any]) -> Any:
    """Answer every query of a step; returns what the step returns."""
    try:
        query = next(questions)
        while True:
            query = questions.send(ask(query))
    except StopIteration as stop:
        return stop.value


def stream(
    denoise: Denoiser,
    sampler: Sampler,
    spec: LatentSpec,
    times: Tensor,
    noise: Noise,
    *,
    known: Known | None = None,
    state: State | None = None,
    dtype: torch.dtype = torch.float32,
    trajectory: int = 0,
) -> Iterator[Step]:
    """Sample, one step at a time; leaving the loop frees everything.

    Args:
        denoise: the run's denoiser.
        spec: of one latent.
        times: falling from noise to data, (n + 1,) or (n + 1, B or 1, ...).
        noise: keyed by sample; the initial draw has key ``("init",)``.
        known: given cells; they come back bit for bit.
        state: continue from this one instead of from noise.
        dtype: of the state, where it is continuous.
        trajectory: of a longer run that this one is, see `gencore.context.StepInfo`.
    """
    process = denoise.process
    if state is None:
        x = process.prior(spec, noise)
        state = sampler.init(x.to(dtype) if x.is_floating_point() else x.to(_device(denoise.net)), times, process)
    now: State = state
    while not now.done:
        if known is not None:
            now = known.state(now, noise)

        n = now.steps // now.trajectories
        k, i = divmod(now.i, n) if n else (0, now.i)

        def ask(query: Query, i: int = i, n: int = n, k: int = trajectory * now.trajectories + k) -> Any:
            shown, info = query if known is None else known.query(query, spec), StepInfo(i, n, query.stage, k)
            with nullcontext() if query.grad else torch.no_grad():
                return denoise(shown.x, shown.t, info, x_t=query.x, t_x=query.t)

        now = answer(sampler.step(now, noise), ask)
        if now.done and known is not None:
            now = replace(now, x=known.paste(now.x))
        yield Step(now.i, now.steps, now, now.done)
