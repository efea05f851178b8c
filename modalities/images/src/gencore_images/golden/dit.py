"""DiT: the network, its discrete process and its samplers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.denoiser import Denoiser
from gencore.guidance import ClassifierFree
from gencore.noise import Recorded
from gencore.objectives.flow import predict
from gencore.processes.tables import TableProcess
from gencore.sampler import Sampler, State
from gencore.samplers.ancestral import Ancestral
from gencore.samplers.ddim import DDIM
from gencore.schedules import levels
from gencore.testing.analytic import AnalyticBackbone, Mixture
from gencore.testing.cases import WEIGHTS, Got, read_io
from gencore_images.golden import networks, tables
from gencore_images.importers.dit import import_dit


def adapter(case: Path, meta: dict[str, Any]) -> Got | None:
    """By what the case holds: weights, tables, sections, losses, or trajectories."""
    io = read_io(case)
    got = Got({})
    if "cases" in meta:
        return tables.sections(meta)
    if "model_case" in meta or (case / WEIGHTS).exists():
        net = networks.pipeline(case, meta, import_dit).backbone
        assert isinstance(net, DiT)
        if (case / WEIGHTS).exists():
            got |= networks.model(net, meta, io)
        if "processes" in meta:
            got |= tables.losses(net, meta, io)
        if "loss.x0" in io:
            got |= tables.loss_variants(net, io, meta["T"])
        if "cfg_scale" in meta and "z" in io:
            got |= guided(net, meta, io)
        elif "z" in io:
            got |= clipped(net, meta, io)
    if "schedules" in meta:
        got |= tables.schedules(meta, io)
    if "toy" in meta:
        got |= toy(meta, io)
    return got if got.tensors else None


def samplers(net: DiT, meta: Mapping[str, Any], clip: float | None) -> dict[str, Sampler]:
    """The samplers a case may hold trajectories of, by the first part of their names."""
    ancestral = Ancestral("auto" if net.prediction.extra else "fixed_large", clip)
    return {"ddpm": ancestral, "ddim0": DDIM(clip=clip), "ddim_eta": DDIM(meta["eta"], clip=clip)}


def draws(io: Mapping[str, Tensor], name: str, sampler: Sampler) -> list[Tensor]:
    return list(io[f"{name}.noise"]) if sampler.draws else []


def states(run: list[State]) -> Tensor:
    return torch.stack([state.x for state in run])


def guided(net: DiT, meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """Guided trajectories of both halves: the conditional one as users get it, the other as published code steps it."""
    process, y, z, half = TableProcess.named("linear", meta["T"]), io["y"], io["z"], len(io["z"]) // 2
    times, got = levels(process, meta["steps"]), {}
    for name, sampler in samplers(net, meta, None).items():
        noise = draws(io, name, sampler)
        denoise = Denoiser(net, process, networks.label(y[:half]),
                           guidance=ClassifierFree(meta["cfg_scale"], channels=networks.GUIDED))  # fmt: skip
        first = networks.sampled(denoise, sampler, z[:half], times, [eps[:half] for eps in noise])
        ask = networks.guided_pair(net, process, y, meta["cfg_scale"])
        both = list(networks.walk(sampler, z, times, process, ask, Recorded(noise)))
        got[f"{name}.traj"] = torch.cat([states(first), states(both)[:, half:]], dim=1)
    return Got(got, inputs=("z", "y", "ddpm.noise", "ddim_eta.noise"))


def clipped(net: DiT, meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """Conditional trajectories with x_0 clipped to [-1, 1], inversion steps, and the bound."""
    process, y = TableProcess.named(meta["schedule"], meta["T"], respacing=meta["respacing"]), io["y"]
    times, got = levels(process, None), {"timestep_map": process.levels}
    for name, sampler in samplers(net, meta, 1.0).items():
        denoise = Denoiser(net, process, networks.label(y))
        run = networks.sampled(denoise, sampler, io["z"], times, draws(io, name, sampler))
        got[f"{name}.traj"] = states(run)
        got[f"{name}.pred_xstart"] = torch.stack([state.last.x0 for state in run if state.last is not None])
    for key in [key for key in io if key.startswith("reverse.") and key.endswith(".x_t")]:
        name = key.removesuffix(".x_t")
        level = torch.full((len(y),), int(name.removeprefix("reverse.t")))
        got[key] = process.corrupt(io["x0"], process.at(level), io["z"])
        with torch.no_grad():
            d = predict(net, process, got[key], process.at(level), networks.label(y))
        got[f"{name}.clip0"] = tables.inverted(process, d, level)
        got[f"{name}.clip1"] = tables.inverted(process, d.clamp_x0(-1, 1), level)
    got |= tables.bound(net, process, io["x0"], y, io["bpd.noise"], 1.0)
    return Got(got, inputs=("x0", "z", "y", "*.noise"))


def toy(meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """Trajectories with the exact prediction for Gaussian data and a learned variance of 0."""
    given = meta["toy"]
    process = TableProcess.named(given["schedule"], meta["T"])
    data = Mixture.gaussian(given["mu"], given["s"], tuple(io["toy.z"].shape[1:]))
    denoise = Denoiser(AnalyticBackbone(data, process, "epsilon", variance=0.0), process, {})
    times = levels(process, given["respacing"])
    got = {
        "toy.ddpm.traj": states(networks.sampled(denoise, Ancestral(), io["toy.z"], times, list(io["toy.ddpm.noise"]))),
        "toy.ddim.traj": states(networks.sampled(denoise, DDIM(), io["toy.z"], times)),
    }
    return Got(got, inputs=("toy.z", "toy.ddpm.noise"))
