"""TaylorSeer: forecasts of given features, trajectories of a small DiT, and interleaved guided requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.context import Context, Interceptor, StepInfo
from gencore.denoiser import Denoiser
from gencore.guidance import ClassifierFree
from gencore.interceptors.taylorseer import TaylorSeer
from gencore.noise import Recorded
from gencore.processes.tables import TableProcess
from gencore.run import Step, stream
from gencore.samplers.ddim import DDIM
from gencore.schedules import levels
from gencore.spec import LatentSpec
from gencore.testing.cases import Got, read_io
from gencore_images.golden import networks
from gencore_images.importers.dit import import_dit


def adapter(case: Path, meta: dict[str, Any]) -> Got | None:
    """By what the case holds: features, guided requests, or states of one run."""
    io = read_io(case)
    if "features" in io:
        return predictions(io, meta["config"])
    net = networks.pipeline(case, meta, import_dit).backbone
    assert isinstance(net, DiT)
    return requests(net, io, meta["config"]) if "requests" in meta["config"] else trajectories(net, io, meta["config"])


def _cache(given: Mapping[str, Any], order: int) -> TaylorSeer:
    """The cache that a group of settings describes, in the words of the code it was recorded from."""
    warmup = given.get("first_enhance", 3 if "full_steps" in given else 2)
    if "full_steps" in given:
        return TaylorSeer(order=order, steps=given["full_steps"], warmup=warmup)
    if "cache_interval" in given:
        return TaylorSeer(given["cache_interval"], order, warmup=given["disable_cache_before_step"],
                          schedule="diffusers", after=given["disable_cache_after_step"],
                          dtype=given["taylor_factors_dtype"])  # fmt: skip
    return TaylorSeer(given["interval"], order, warmup=warmup)


class Computed(Interceptor):
    """The steps at which the sub-layers really run."""

    def __init__(self) -> None:
        self.steps: set[int] = set()

    def around(self, ctx: Context, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        if ctx.path:
            self.steps.add(ctx.info.i)
        return fn(x, *rest)

    def flags(self, n: int) -> Tensor:
        return torch.tensor([int(i in self.steps) for i in range(n)])


def predictions(io: Mapping[str, Tensor], config: Mapping[str, Mapping[str, Any]]) -> Got:
    """``GROUP.order{K}.out``: a site whose output is the feature of each step; ``is_full``, ``full_steps``."""
    got: dict[str, Tensor] = {}
    for key in (key for key in io if key.endswith(".out")):
        group, order, _ = key.split(".")
        given = config[group]
        n = given["num_steps"]
        falling = "descending" in given.get("step_order", "")
        numbers = list(range(n))[::-1] if falling else list(range(n))
        cache, computed = _cache(given, int(order.removeprefix("order"))), Computed()
        store: dict[tuple[str, ...], Any] = {}
        rows = []
        for i, number in enumerate(numbers):
            ctx = Context(StepInfo(i, n), store=store)
            ctx.path = "blocks.0."
            feature = io["features"][number][None]

            def inner(x: Tensor, ctx: Context = ctx, feature: Tensor = feature, log: Computed = computed) -> Tensor:
                return log.around(ctx, "mlp", lambda _: feature, x)

            rows.append(cache.around(ctx, "mlp", inner, torch.zeros(1, 1))[0])
        got[key], got[f"{group}.is_full"] = torch.stack(rows), computed.flags(n)
        if f"{group}.full_steps" in io:
            got[f"{group}.full_steps"] = torch.tensor([numbers[i] for i in sorted(computed.steps)])
    return Got(got, inputs=("features", "coef"))


def _run(net: DiT, z: Tensor, y: Tensor, steps: int, interceptors: list[Interceptor], scale: float = 1.0,
         request: str = "") -> tuple[Denoiser, Iterator[Step]]:  # fmt: skip
    process = TableProcess.named("linear", 1000)
    denoise = Denoiser(net, process, networks.label(y), interceptors=interceptors, request=request,
                       guidance=ClassifierFree(scale, channels=networks.GUIDED))  # fmt: skip
    spec = LatentSpec("b c h w", tuple(z.shape[1:]), time_axes=("h", "w"))
    return denoise, stream(denoise, DDIM(), spec, levels(process, steps), Recorded([z]))


def trajectories(net: DiT, io: Mapping[str, Tensor], config: Mapping[str, Any]) -> Got:
    """``full.states`` and ``i{INTERVAL}.o{ORDER}.states``."""
    got: dict[str, Tensor] = {}
    scale = config.get("cfg") or 1.0
    for key in (key for key in io if key.endswith(".states")):
        how = re.fullmatch(r"i(\d+)\.o(\d+)\.states", key)
        cache: list[Interceptor] = [] if how is None else [_cache({**config, "interval": int(how[1])}, int(how[2]))]
        _, run = _run(net, io["z"], io["y"], config["steps"], cache, scale)
        got[key] = torch.stack([step.x for step in run])
    return Got(got, inputs=("z", "y"))


def requests(net: DiT, io: Mapping[str, Tensor], config: Mapping[str, Any]) -> Got:
    """``REQ.taylor.states`` and ``REQ.is_full`` of guided requests, interleaved step by step over one store."""
    got: dict[str, Tensor] = {}
    asked: Mapping[str, Mapping[str, Any]] = config["requests"]
    runs: dict[str, Iterator[Step]] = {}
    computed = {name: Computed() for name in asked}
    store: dict[tuple[str, ...], Any] = {}
    for name, given in asked.items():
        z, y, n, scale = io[f"{name}.z"], io[f"{name}.y"], given["steps"], given["cfg_scale"]
        got[f"{name}.full.states"] = torch.stack([step.x for step in _run(net, z, y, n, [], scale)[1]])
        cache = _cache({**config, **given}, given["max_order"])
        denoise, runs[name] = _run(net, z, y, n, [cache, computed[name]], scale, name)
        denoise.store = store
    states: dict[str, list[Tensor]] = {name: [] for name in asked}
    for name in config["interleaving"]:
        states[name].append(next(runs[name]).x)
    for name, given in asked.items():
        got[f"{name}.taylor.states"] = torch.stack(states[name])
        got[f"{name}.is_full"] = computed[name].flags(given["steps"])
    return Got(got, inputs=("*.z", "*.y"))
