"""RF-Solver: inversion and sampling of a Gaussian mixture's flow, its Euler baselines, and FLUX's times."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gencore.denoised import Denoised
from gencore.processes.flows import LinearFlow
from gencore.sampler import Query, Sampler
from gencore.samplers.rf_solver import flux_times, rf_solver
from gencore.samplers.runge_kutta import euler
from gencore.spec import broadcast_time
from gencore.testing.cases import Got, read_io
from gencore.testing.systems.toy import mixture, walk


def adapter(case: Path, meta: dict[str, Any]) -> Got | None:
    """Cases of mixtures; those with weights wait for their network."""
    io = read_io(case)
    if "weight" not in io:
        return None
    shape = tuple(io["x0"].shape[1:])
    data, process = mixture(io, shape), LinearFlow()
    asked: list[tuple[Query, Tensor]] = []

    def ask(query: Query) -> Denoised:
        c = process.coeffs(broadcast_time(query.t, query.x))
        # The closed form stays finite at data; x0 and the score would not.
        off = query.x - c.alpha * data.means[:, None]
        variance = ((c.alpha * data.stds[:, None]) ** 2 + c.sigma**2).expand_as(off)
        share = _shares(off, variance, data.weights)
        slope = c.sigma * off / variance - data.means[:, None] - c.alpha * data.stds[:, None] ** 2 * off / variance
        d = Denoised("velocity", (share * slope).sum(0), query.x, c)
        asked.append((query, d.value))
        return d

    got: dict[str, Tensor] = {}
    for steps in sorted({int(m[1]) for name in io if (m := re.match(r"n(\d+)\.", name))}):
        times = flux_times(steps, shape[0])
        got |= {f"n{steps}.{name}": value for name, value in _runs(io["x0"], times, process, ask, asked).items()}
    for name in io:
        if m := re.fullmatch(r"schedule\.n(\d+)\.(?:len(\d+)|noshift)", name):
            got[name] = flux_times(int(m[1]), int(m[2]) if m[2] else None)
    return Got(got, inputs=("mu", "sd", "weight", "x0"))


def _shares(off: Tensor, variance: Tensor, weights: Tensor) -> Tensor:
    each = -0.5 * (off**2 / variance + variance.log())
    joint = each.flatten(2).sum(2) + weights.log()[:, None]
    return joint.softmax(0).reshape(*joint.shape, *(1,) * (off.ndim - 2))


def _runs(x0: Tensor, times: Tensor, process: LinearFlow, ask: Callable[[Query], Denoised],
          asked: list[tuple[Query, Tensor]]) -> Mapping[str, Tensor]:  # fmt: skip
    def ends(sampler: Sampler) -> tuple[Tensor, Tensor]:
        asked.clear()
        *_, up = walk(sampler, sampler.init(x0, times.flip(0), process), ask)
        *_, down = walk(sampler, sampler.turned(up), ask)
        return up.x, down.x

    euler_up, euler_down = ends(euler())
    up, down = ends(rf_solver())
    half = len(asked) // 2
    inv, den = asked[:half], asked[half:]
    return {
        "timesteps": times, "inverted": up, "reconstructed": down,
        "euler_inverted": euler_up, "euler_reconstructed": euler_down,
        "inv.eval_t": torch.stack([q.t[0] for q, _ in inv]), "inv.eval_x": torch.stack([q.x for q, _ in inv]),
        "inv.eval_v": torch.stack([v for _, v in inv]),
        "den.eval_t": torch.stack([q.t[0] for q, _ in den]), "den.eval_x": torch.stack([q.x for q, _ in den]),
    }  # fmt: skip
