"""What the seams cost: a site nobody listens to, and the driver's own work in a step."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from pairs import Spread
from torch import Tensor

from gencore.backbone import Backbone, Output
from gencore.condition import Conditions
from gencore.context import Context
from gencore.denoised import Prediction
from gencore.denoiser import Denoiser
from gencore.noise import Keyed
from gencore.processes.flows import Clock, LinearFlow
from gencore.processes.tables import TableProcess
from gencore.run import stream
from gencore.samplers.ddim import DDIM
from gencore.spec import LatentSpec


class Echo(Backbone):
    """Returns its input: what is left of a step is the driver."""

    prediction, ports = Prediction(), {}

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
        return Output(x_t)

    def config(self) -> dict[str, Any]:
        return {}


def measure(quick: bool) -> dict[str, Any]:
    """Microseconds of a site call (goal 0.3) and of a DDIM step around an empty network (goal 300)."""
    rows: dict[str, Any] = {"site": {"goal": 0.3, **vars(_site(1_000 if quick else 200_000))}}
    for name, process in (("1000 levels", TableProcess.named()), ("linear flow", LinearFlow(Clock()))):
        for batch in (1, 4):
            rows[f"step, {name}, batch {batch}"] = {"goal": 300.0, **vars(_step(process, batch, 3 if quick else 200))}
    for name, row in rows.items():
        print(f"{name}: {row['median']:.3g} us ({row['low']:.3g}..{row['high']:.3g}), goal {row['goal']:g}", flush=True)
    return rows


def _site(calls: int) -> Spread:
    """What `ctx.site` adds to calling the sub-layer itself."""
    ctx, x = Context(), torch.zeros(1)

    def layer(x: Tensor) -> Tensor:
        return x

    def cost(call: Callable[[], object]) -> float:
        return timeit.timeit(call, number=calls) / calls * 1e6

    return Spread.of([cost(lambda: ctx.site("attn", layer, x)) - cost(lambda: layer(x)) for _ in range(7)])


def _step(process: TableProcess | LinearFlow, batch: int, steps: int) -> Spread:
    """The median step of each of seven runs, so that drawing the first noise does not count."""
    sampler, spec, noise = DDIM(), LatentSpec("b c h w", (4, 32, 32)), Keyed(range(batch))
    times = sampler.times(process, "epsilon", steps)
    medians = []
    for _ in range(7):
        stamps = []
        for _ in stream(Denoiser(Echo(), process, {}), sampler, spec, times, noise):
            stamps.append(time.perf_counter())
        taken = sorted(b - a for a, b in pairwise(stamps))
        medians.append(1e6 * taken[len(taken) // 2])
    return Spread.of(medians)
