"""VDT: the network, its masked loss with gradients, and sampling with given cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gencore.components import build
from gencore.context import Context, StepInfo
from gencore.denoised import Denoised
from gencore.denoiser import Denoiser
from gencore.known import Known
from gencore.noise import Recorded
from gencore.objectives.denoising import denoising_loss
from gencore.objectives.region import Region
from gencore.pipeline import Pipeline
from gencore.processes.tables import TableProcess
from gencore.run import answer, stream
from gencore.sampler import Query, Sampler
from gencore.schedules import levels
from gencore.settings import parse
from gencore.spec import LatentSpec
from gencore.testing.cases import WEIGHTS, Got, read_io, weights_file
from gencore_video.backbone import VDT
from gencore_video.golden import masks
from gencore_video.importers.layout import KEYS
from gencore_video.importers.vdt import import_vdt

ROUNDING = (1e-3, "gradients are compared relative to their own largest value, as the recorded case says")
AMPLIFIED = (2e-6, "1/alpha multiplies the network's own rounding by up to 157; the record is no nearer to float64")


def adapter(case: Path, meta: dict[str, Any]) -> Got | None:
    """By what the case holds: mask facts, outputs of the network, losses, gradients, samples."""
    io = read_io(case)
    if "facts" in meta and not (case / WEIGHTS).exists():
        return masks.facts(meta, io)
    pipe = import_vdt(weights_file(case, meta), heads=meta["config"]["num_heads"])
    got = outputs(pipe, io)
    for suffix in {name.removeprefix("mask") for name in io if name == "mask" or name.startswith("mask.")}:
        if f"loss{suffix}" in io:
            got |= losses(pipe, meta, io, suffix)
        if f"sample.last{suffix}" in io:
            got |= samples(pipe, io, suffix)
    return got if got.tensors else None


def frames_second(x: Tensor) -> Tensor:
    """(B, T, C, H, W), as published, to (B, C, T, H, W), or back."""
    return x.transpose(1, 2)


def generated(mask: Tensor) -> Tensor:
    """A published mask (T, H, W), 1 = generate, for a batch of clips."""
    return mask.bool()[None, None]


def label(pipe: Pipeline, count: int) -> Any:
    return pipe.conditioner({}, count)[1]


@torch.no_grad()
def outputs(pipe: Pipeline, io: Mapping[str, Tensor]) -> Got:
    """The network alone, nothing composed."""
    got = {}
    for x, y in (("raw_input", "raw_output"), ("x", "y")):
        if y in io:
            out = pipe.backbone(frames_second(io[x]), io["t"], label(pipe, len(io[x])), Context()).pred
            got[y] = frames_second(out)
    return Got(got, inputs=("raw_input", "x", "t"))


def losses(pipe: Pipeline, meta: Mapping[str, Any], io: Mapping[str, Tensor], suffix: str) -> Got:
    """The published loss under one mask: divided by all elements, its bound not masked; and its gradients."""
    net, process = pipe.backbone, pipe.process
    assert isinstance(net, VDT) and isinstance(process, TableProcess)
    x0, eps, level = frames_second(io["x0"]), frames_second(io["noise"]), io["t"]
    t = process.at(level)
    region = Region(generated(io[f"mask{suffix}"]), reduction="reference", bound=False)
    x_t = process.corrupt(x0, t, eps)
    shown = region.show(x_t, x0)
    net.zero_grad()
    out = net(shown, process.model_time(t), label(pipe, len(x0)), Context()).pred
    d = net.prediction.read(out, x_t, process, t)
    variance = "learned_range" if net.prediction.extra else "fixed_large"
    terms = denoising_loss(process, x0, eps, level, d, variance=variance, region=region)
    found = {f"{name}{suffix}": term.detach() for name, term in terms.items()}
    found |= {"x_t": frames_second(x_t), f"model_input{suffix}": frames_second(shown),
              f"model_output{suffix}": frames_second(out.detach())}  # fmt: skip
    if f"grad_norms{suffix}" in io:
        terms["loss"].mean().backward()
        found |= gradients(net, meta["grad_norm_order"], io, suffix)
    return Got({name: value for name, value in found.items() if name in io}, inputs=("x0", "noise", "t", "mask*"),
               floors={"grad*": ROUNDING} if "grad_tolerance_rel_to_own_max" in meta else {})  # fmt: skip


def gradients(net: VDT, order: list[str], io: Mapping[str, Tensor], suffix: str) -> dict[str, Tensor]:
    """The gradients by their published names, and the norms of all of them."""
    ours = {name: parameter.grad for name, parameter in net.named_parameters()}
    grads = {name: ours[str(KEYS.target(name))] for name in order}
    wanted = {f"grad.{name}{suffix}": grad for name, grad in grads.items() if grad is not None}
    found = {name: grad.reshape(io[name].shape) for name, grad in wanted.items() if name in io}
    norms = [torch.zeros(()) if grad is None else grad.norm() for grad in grads.values()]
    return found | {f"grad_norms{suffix}": torch.stack(norms)}


@torch.no_grad()
def samples(pipe: Pipeline, io: Mapping[str, Tensor], suffix: str) -> Got:
    """Ancestral sampling with given cells shown to the network; the state itself runs free."""
    noises, start, raw = io["sample.step_noises"], io["sample.init_noise"], frames_second(io["sample.raw_x"])
    assert isinstance(pipe.process, TableProcess)
    process = pipe.process.respaced(str(len(noises)))
    known = Known(raw, generated(io[f"mask{suffix}"]), "compose_input")
    denoise = Denoiser(pipe.backbone, process, label(pipe, len(raw)))
    spec = LatentSpec("b c t h w", tuple(start.shape[1:]), time_axes=("t",))
    times = levels(process, None)
    sampler = build("sampler", parse(pipe.defaults.sampler, "sampler"))
    *_, done = stream(denoise, sampler, spec, times, Recorded([start, *noises]), known=known)
    *_, last = free_running(denoise, sampler, known, spec, times, start, noises)
    got = {f"sample.last{suffix}": last, f"sample.composed{suffix}": frames_second(done.x),
           "timestep_map": process.levels}  # fmt: skip
    inputs = ("sample.init_noise", "sample.step_noises", "sample.raw_x", "mask*")
    return Got({name: value for name, value in got.items() if name in io}, inputs=inputs,
               floors={"sample.*": AMPLIFIED})  # fmt: skip


def free_running(denoise: Denoiser, sampler: Sampler, known: Known, spec: LatentSpec, times: Tensor, start: Tensor,
                 noises: Tensor) -> Iterator[Tensor]:  # fmt: skip
    """Every state after the first, given cells left as the sampler makes them."""

    def ask(query: Query) -> Denoised:
        shown = known.query(query, spec)
        return denoise(shown.x, shown.t, StepInfo(), x_t=query.x, t_x=query.t)

    noise = Recorded(noises)
    state = sampler.init(start, times, denoise.process)
    while not state.done:
        state = answer(sampler.step(state, noise), ask)
        yield state.x
