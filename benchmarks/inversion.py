"""Round trips from data to noise and back at equal network calls: DDIM, Euler, RF-Solver and BDIA.

On Gaussian mixtures, whose exact prediction is known, so that all error is the method's; and on the trained default of
every installed modality that can be inverted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import gencore
from gencore import components, plugins
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.noise import Keyed
from gencore.pipeline import Pipeline
from gencore.process import GaussianProcess
from gencore.processes.flows import LinearFlow
from gencore.processes.tables import TableProcess
from gencore.run import stream
from gencore.sampler import Sampler
from gencore.settings import parse
from gencore.spec import LatentSpec
from gencore.testing.analytic import AnalyticBackbone, Mixture
from gencore.tuning.fidelity import fidelity

METHODS = {"ddim": 1, "euler": 1, "rf-solver": 2, "bdia": 1, "bdia:gamma=0.9": 1}
"""Network calls of a step."""

CALLS = (10, 20, 40)
"""Of the way up; the way down takes as many, or with BDIA one less, since it starts from two states."""

DATA = Mixture.of([-1.2, 0.3, 1.5], [0.25, 0.4, 0.2], [0.3, 0.4, 0.3], (1, 4))
SAMPLES = 4

Trip = tuple[Tensor, float, int]
"""What came back, the largest value at the noise end, and the calls of both ways."""


def measure(quick: bool) -> dict[str, Any]:
    """Rows by data and then by calls and method; a default that cannot be inverted has the reason as ``skipped``."""
    calls = (4,) if quick else CALLS
    x0 = DATA.draw(Keyed(range(64), dtype=torch.float64))
    rows: dict[str, Any] = {}
    processes: dict[str, tuple[GaussianProcess, Any]] = {
        "mixture, linear flow": (LinearFlow(), "velocity"),
        "mixture, linear table": (TableProcess.named("linear", 1000), "epsilon"),
    }
    for name, (process, kind) in processes.items():
        denoise = Denoiser(AnalyticBackbone(DATA, process, kind), process, {})
        rows[name] = _table(name, x0, calls, lambda sampler, steps, d=denoise: _closed(d, x0, sampler, steps))
    for name in plugins.provided("modality"):
        try:
            pipe = gencore.load(name, device="cpu")
            if pipe.process.kind == "discrete":
                raise InputError("model", "one of tokens", "one of real numbers, whose noise has a way back")
            data, source = _data(pipe)
            rows[name] = {
                "data": source,
                **_table(name, data, calls, lambda *run, p=pipe, x=data: _default(p, x, *run)),
            }
        except (gencore.GencoreError, ImportError) as fault:
            rows[name] = {"skipped": str(fault)}
            print(f"inversion {name}: skipped, {fault}", flush=True)
    return rows


def _table(name: str, data: Tensor, calls: tuple[int, ...], trip: Callable[[str, int], Trip]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for wanted in calls:
        for method, cost in METHODS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                back, largest, made = trip(method, wanted // cost)
            row = {"calls": made, "largest": largest, "rms": float((back - data).double().square().mean().sqrt())}
            row["psnr"] = fidelity(back, data).mean
            rows[f"{wanted} {method}"] = row
            print(f"inversion {name}, {wanted} calls up, {method}: {row['psnr']:.1f} dB, rms {row['rms']:.1e}, "
                  f"{made} calls, largest latent {largest:.2f}", flush=True)  # fmt: skip
    return rows


def _closed(denoise: Denoiser, x0: Tensor, method: str, steps: int) -> Trip:
    sampler: Sampler = components.build("sampler", parse(method, "sampler"))
    process, noise, before = denoise.process, Keyed(range(len(x0))), denoise.calls
    times = sampler.times(process, denoise.net.prediction.kind, steps)
    run = (denoise, sampler, LatentSpec("b c n", DATA.shape), times, noise)
    *_, up = stream(*run, state=sampler.init(x0, times.flip(0), process))
    *_, down = stream(*run, state=sampler.turned(up.state))
    return down.x, float(up.x.abs().max()), denoise.calls - before


def _default(pipe: Pipeline, data: Tensor, method: str, steps: int) -> Trip:
    words, calls = pipe.modality.example(pipe, SAMPLES), list[int]()
    hook = pipe.backbone.register_forward_hook(lambda *_: calls.append(1))
    try:
        start = pipe.invert(data, sampler=method, steps=steps, guidance=1, **words)
        back = pipe.generate(start=start, guidance=1, seed=0, **words).tensor
    finally:
        hook.remove()
    return back, float(start.x.abs().max()), len(calls)


def _data(pipe: Pipeline) -> tuple[Tensor, str]:
    """(4, ...) data and what it is: held out where the modality makes its own and needs no words, else samples."""
    words = pipe.modality.example(pipe, SAMPLES)
    if words.keys() <= {"n"}:
        try:
            items = pipe.modality.dataset(None, pipe, held_out=True)
            return torch.stack([items[i]["data"] for i in range(SAMPLES)]), "held out"
        except InputError:
            pass
    return pipe.generate(**words, seed=0).tensor, "samples of the model"
