"""What the adapters of DiT and SiT share: the case's network, its sub-module outputs, its guidance batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gencore.backbones.dit import MAIN, DiT
from gencore.condition import Condition, null_of
from gencore.context import Context, Interceptor, StepInfo
from gencore.denoised import Denoised, Prediction
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.guidance import ClassifierFree
from gencore.nn.embed import time_features
from gencore.noise import Noise, Recorded
from gencore.pipeline import Pipeline
from gencore.process import GaussianProcess
from gencore.run import answer, stream
from gencore.sampler import Query, Sampler, State
from gencore.spec import LatentSpec
from gencore.testing.cases import Got, weights_file

GUIDED = 3  # the official guidance acts on the first three channels


def pipeline(case: Path, meta: Mapping[str, Any], importer: Callable[..., Pipeline]) -> Pipeline:
    """The case's weights through the public importer; shapes tell neither the heads nor whether a null row exists."""
    config = meta["config"]
    return importer(weights_file(case, meta), heads=config["num_heads"], classes=config["num_classes"])


def reading(net: DiT, prediction: Prediction) -> DiT:
    """The same weights with another meaning of the output."""
    other = copy(net)
    other.prediction = prediction
    return other


def label(y: Tensor) -> dict[str, Condition]:
    return {"label": Condition(y)}


class Recorder(Interceptor):
    """Keeps the output of every sub-layer by its path."""

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}

    def around(self, ctx: Context, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        out = self.seen[ctx.path + kind] = fn(x, *rest)
        return out


@torch.no_grad()
def model(net: DiT, meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """The network alone: its output, sub-modules, time features, label embedding, and the guidance batch."""
    got: dict[str, Tensor] = {}
    if "out" in io:
        x, t, y = io["x"], io["t"], io["y"]
        recorder = Recorder()
        blocks = range(len(net.blocks))
        ctx = Context(interceptor=recorder, tap_at=frozenset(blocks))
        out = net(x, t, label(y), ctx)
        half = net.prediction.extra == "drop"
        got["out"] = out.pred[:, : x.shape[1]] if half else out.pred
        seen = recorder.seen | {f"blocks.{i}": out.taps[i][MAIN].x for i in blocks}
        seen |= {"x_embedder": seen["embed"], "final_layer": seen["head"], "t_embedder": net.time_embed(t),
                 "y_embedder": net.conditioners["label"](y)}  # fmt: skip
        got |= {f"mid.{name}": value for name, value in seen.items() if f"mid.{name}" in io}
    if "tfreq" in io:
        got["tfreq"] = time_features(io["tfreq_t"], io["tfreq"].shape[-1])
    if "y_forced_emb" in io:
        condition = Condition(io["y"])
        null = null_of("label", condition, net.ports["label"])
        got["y_forced_emb"] = net.conditioners["label"](torch.where(io["y_forced_drop"] == 1, null, io["y"]))
    if "cfg_out" in io:
        raw = both_halves(net, io["cfg_x"], io["cfg_t"], io["cfg_y"], meta["cfg_scale"])
        got["cfg_out"] = raw[:, : io["cfg_out"].shape[1]]
    return Got(got, inputs=("x", "t", "y", "tfreq_t", "y_forced_drop", "cfg_x", "cfg_t", "cfg_y"))


def both_halves(net: DiT, x: Tensor, seen: Tensor, y: Tensor, scale: float) -> Tensor:
    """The official guidance batch: conditions, then nulls, both on the first half of `x` and both guided alike.

    Args:
        seen: the time the network is shown, (B,).
    """
    first = x[: len(x) // 2]
    c, u = net(torch.cat([first, first]), seen, label(y), Context()).pred.chunk(2)
    guided = ClassifierFree(scale, channels=GUIDED).combine({"cond": c, "uncond": u}, torch.zeros(len(c)), StepInfo())
    return torch.cat([guided, torch.cat([guided[:, :GUIDED], u[:, GUIDED:]], dim=1)])


def guided_pair(net: DiT, process: GaussianProcess, y: Tensor, scale: float) -> Callable[[Query], Denoised]:
    """Answers queries about a state of both halves."""

    @torch.no_grad()
    def ask(query: Query) -> Denoised:
        raw = both_halves(net, query.x, process.model_time(query.t), y, scale)
        return net.prediction.read(raw, query.x, process, query.t)

    return ask


def walk(sampler: Sampler, x: Tensor, times: Tensor, process: GaussianProcess, ask: Callable[[Query], Denoised],
         noise: Noise = Recorded(())) -> Iterator[State]:  # fmt: skip
    """Every state after the first, from `x` through `times`, with plain answers."""
    state = sampler.init(x, times, process)
    while not state.done:
        state = answer(sampler.step(state, noise), ask)
        yield state


def sampled(denoise: Denoiser, sampler: Sampler, z: Tensor, times: Tensor, draws: Sequence[Tensor] = ()) -> list[State]:
    """The states of a run through the public `stream`, from the recorded start `z` and recorded draws."""
    spec = LatentSpec("b c h w", tuple(z.shape[1:]), time_axes=("h", "w"))
    return [step.state for step in stream(denoise, sampler, spec, times, Recorded([z, *draws]))]


def stated(text: str, name: str) -> float:
    """The number that a case's own words give as ``name=...``.

    >>> stated("diffusion.* with norm=1.3; interval", "norm")
    1.3

    Raises:
        InputError: they do not.
    """
    found = re.search(rf"\b{name}=(-?\d+(?:\.\d+)?)", text)
    if not found:
        raise InputError("case", f"no {name}=... in '{text[:60]}'", "the number it was made with")
    return float(found[1])
