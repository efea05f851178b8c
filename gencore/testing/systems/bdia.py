"""BDIA: sampling and exact inversion of Gaussian mixtures, whole and fractional levels."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gencore.denoised import Denoised
from gencore.processes.tables import TableProcess
from gencore.sampler import Query
from gencore.samplers.bdia import BDIA
from gencore.spec import broadcast_time
from gencore.testing.cases import Got, read_io
from gencore.testing.systems.toy import mixture, table, walk

_REFERENCE = "what the published code does where N does not divide 1000: its levels do not meet, a known fault"


def adapter(case: Path, meta: dict[str, Any]) -> Got | None:
    """By the names of the recorded runs."""
    io = read_io(case)
    if "alphas_cumprod" not in io:
        return None
    process, config = table(io["alphas_cumprod"]), meta["config"]
    start = io.get("x_T", io.get("t2i.x_T", io.get("x0")))
    assert start is not None
    shape = tuple(start.shape[1:])
    ask = _guided(io, process, shape, config.get("guidance", 1.0))
    got: dict[str, Tensor] = {}
    for prefix, steps, gamma in _runs(io):
        key = f"{prefix}n{steps}.g{gamma}."
        if prefix == "reference.":
            continue
        if f"{key}levels" in io or f"{key}z_new" in io:
            got |= _inversion(key, io, process, ask, steps, float(gamma))
        else:
            plain = _guided({name: value for name, value in io.items() if name != "mu_null"}, process, shape, 1.0)
            got |= _sampling(key, prefix, io, process, plain, steps, float(gamma))
    unused = {"reference.*": _REFERENCE} if any(name.startswith("reference.") for name in io) else {}
    floors = {"t2i.*": (2e-4, "recorded in float32, for which the case allows this")} if "t2i.x_T" in io else {}
    return Got({name: value for name, value in got.items() if name in io}, unused=unused, floors=floors,
               inputs=("mu", "mu_null", "sd", "weight", "alphas_cumprod", "x0", "x_T", "t2i.x_T"))  # fmt: skip


def _runs(io: Mapping[str, Tensor]) -> list[tuple[str, int, str]]:
    found = (re.match(r"(|consistent\.|reference\.|t2i\.)n(\d+)\.g([\d.]+)\.", name) for name in io)
    return sorted({(m[1], int(m[2]), m[3]) for m in found if m})


def _guided(io: Mapping[str, Tensor], process: TableProcess, shape: tuple[int, ...], scale: float
            ) -> Callable[[Query], Denoised]:  # fmt: skip
    branches = [mixture(io, shape, name) for name in ("mu", "mu_null") if name in io]

    def ask(query: Query) -> Denoised:
        c = process.coeffs(broadcast_time(query.t, query.x))
        eps = [-c.sigma * data.score(query.x.double(), c) for data in branches]
        value = torch.lerp(eps[1], eps[0], scale) if len(eps) > 1 else eps[0]
        return Denoised("epsilon", value.to(query.x.dtype), query.x, c)

    return ask


def _inversion(key: str, io: Mapping[str, Tensor], process: TableProcess, ask: Callable[[Query], Denoised], steps: int,
               gamma: float) -> dict[str, Tensor]:  # fmt: skip
    """From data to noise over levels (i - 1) T / N, and back from the last pair."""
    levels = (torch.arange(steps + 1, dtype=torch.float64) - 1) * process.steps / steps
    times, sampler = process.at(levels), BDIA(gamma)
    up = list(walk(sampler, sampler.init(io["x0"], times, process), ask))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        turned = sampler.turned(up[-1])
    down = list(walk(sampler, turned, ask))
    run, steps_key = key.rpartition("g")[0], f"n{steps}."
    states = torch.stack([state.x for state in up])
    back = torch.stack([up[-1].x, *(state.x for state in down)])
    return {
        f"{key}z_new": up[-1].x, f"{key}z_prev": up[-2].x,
        f"{key}rec_new": down[-1].x, f"{key}rec_prev": down[-2].x,
        f"{key}levels": states, f"{key}reconstructed": back,
        f"{run}t": levels, f"{run}abar": process.coeffs(times).alpha ** 2,
        f"{steps_key}invert_eval_t": levels[:-1].float(), f"{steps_key}sample_eval_t": levels.flip(0)[1:-1].float(),
    }  # fmt: skip


def _sampling(key: str, prefix: str, io: Mapping[str, Tensor], process: TableProcess, ask: Callable[[Query], Denoised],
              steps: int, gamma: float) -> dict[str, Tensor]:  # fmt: skip
    """From noise down the levels 1 + k (T // N), and a last step to the first level."""
    levels = torch.arange(1, process.steps, process.steps // steps).flip(0)
    times = process.at(torch.cat([levels, levels.new_zeros(1)]))
    sampler = BDIA(gamma)
    run = list(walk(sampler, sampler.init(io.get(f"{prefix}x_T", io.get("x_T")), times, process), ask))  # type: ignore[arg-type]
    last = run[-1].last
    assert last is not None
    name, abar = f"{prefix}n{steps}.", process.coeffs(times).alpha ** 2
    return {
        f"{key}states": torch.stack([state.x for state in run]), f"{key}x": run[-1].x, f"{key}pred_x0_last": last.x0,
        f"{name}timesteps": levels, f"{name}alphas": abar[:-1].flip(0), f"{name}alphas_prev": abar[1:].flip(0),
    }  # fmt: skip
