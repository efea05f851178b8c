"""RDT's runner: the network and its parts, its loss with gradients, and sampling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gencore.backbone import Output
from gencore.condition import Condition, Conditions
from gencore.context import Context, StepInfo
from gencore.denoised import Denoised
from gencore.denoiser import Denoiser
from gencore.noise import Recorded
from gencore.objectives.denoising import denoising_loss
from gencore.processes.tables import TableProcess
from gencore.run import answer
from gencore.sampler import Query
from gencore.samplers.dpm_solver import DPMSolver
from gencore.testing.cases import Got
from gencore_robot.backbones.norms import norm
from gencore_robot.backbones.rdt import RDT
from gencore_robot.backbones.tables import grid_table, sequence_table
from gencore_robot.importers.layout import KEYS
from gencore_robot.importers.rdt import network

INPUTS = ("action_gt", "action_mask", "ctrl_freqs", "img_tokens", "lang_attn_mask", "lang_tokens", "noise", "norm/x",
          "state_tokens", "timesteps", "sample/x_T")  # fmt: skip
ILL_CONDITIONED = (1e-3, "epsilon at alpha about 5e-5: compared relative to its max, as the published notes say")


def results(weights: Mapping[str, Tensor], config: Mapping[str, Any], io: dict[str, Tensor]) -> Got:
    """Every recorded tensor that is no input."""
    net, process, _ = network(weights, config)
    net.eval()
    cond = conditions(io)
    t = process.at(io["timesteps"])
    noisy = process.corrupt(io["action_gt"], t, io["noise"])
    got = {"noisy_action": noisy, **parts(net, io, noisy), **tables(net, io)}
    call = Context(tap_at=frozenset(range(len(net.blocks))))
    out: Output = net(noisy, process.model_time(t), cond, call)
    got |= {f"inter/block{i}": h["x"].x.detach() for i, h in out.taps.items()}
    got["pred"] = out.pred.detach()
    blind = {**cond, "language": Condition(cond["language"].value)}
    with torch.no_grad():
        got["pred_nolangmask"] = net(noisy, process.model_time(t), blind, Context()).pred
    d = net.prediction.read(out.pred, noisy, process, t)
    terms = denoising_loss(process, io["action_gt"], io["noise"], io["timesteps"], d, variance="fixed_small")
    loss = terms["loss"].mean()
    loss.backward()
    got["loss"] = loss.detach()
    got |= gradients(net, io)
    got |= samples(net, process, cond, io)
    epsilon = net.prediction.kind == "epsilon"
    return Got({name: value for name, value in got.items() if name in io}, inputs=INPUTS,
               floors={"sample/sigmas": (5e-6, "both sides are rounded to float32")}
               | ({"sample/*": ILL_CONDITIONED} if epsilon else {}))  # fmt: skip


def conditions(io: Mapping[str, Tensor]) -> Conditions:
    """The recorded inputs at the network's ports."""
    return {
        "state": Condition(io["state_tokens"]), "indicator": Condition(io["action_mask"]),
        "frequency": Condition(io["ctrl_freqs"]), "images": Condition(io["img_tokens"]),
        "language": Condition(io["lang_tokens"], io["lang_attn_mask"]),
    }  # fmt: skip


@torch.no_grad()
def parts(net: RDT, io: Mapping[str, Tensor], noisy: Tensor) -> dict[str, Tensor]:
    """Adaptors, embeddings of time and frequency, and both readings of the first norm."""
    language, images = (net.streams[name].adaptor for name in ("language", "images"))
    rms = norm("rms", len(io["norm/x"][0, 0]))
    rms.load_state_dict(net.blocks[0].norm1.state_dict())  # type: ignore[union-attr]
    return {
        "adapted/lang": language(io["lang_tokens"]),  # type: ignore[operator]
        "adapted/img": images(io["img_tokens"]),  # type: ignore[operator]
        "adapted/state_action": net._tokens(torch.cat([io["state_tokens"], noisy], dim=1), io["action_mask"]),
        "inter/t_emb": net.time_embed(io["timesteps"]),
        "inter/freq_emb": net.frequency_embed(io["ctrl_freqs"]),
        "norm/y": net.blocks[0].norm1(io["norm/x"]),  # type: ignore[operator]
        "norm/y_true_rms_for_contrast": rms(io["norm/x"]),
    }


def tables(net: RDT, io: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The position tables before training."""
    width, streams = io["init/x_pos_embed"].shape[-1], net.config()["streams"]
    found = {"init/x_pos_embed": sequence_table(net.horizon, width)[None]}
    for name, ours in (("init/lang_cond_pos_embed", "language"), ("init/img_cond_pos_embed", "images")):
        settings = streams[ours]
        found[name] = grid_table(settings["grid"] or (settings["length"],), width)[None]
    return found


def gradients(net: RDT, io: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradients of the loss that are recorded, and the norms of those."""
    ours = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    found = {}
    for name in io:
        kind, _, parameter = name.partition("/")
        if kind in ("grad", "gradnorm"):
            grad = ours[str(KEYS.target(parameter))]
            found[name] = grad.reshape(io[name].shape) if kind == "grad" else grad.norm()
    return found


@torch.no_grad()
def samples(net: RDT, process: TableProcess, cond: Conditions, io: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A run of the published solver, with what the network answered; at its end slots without indicator are zeroed."""
    sampler, denoise = DPMSolver(spacing="open"), Denoiser(net, process, cond, dtype=torch.float32)
    times = sampler.times(process, net.prediction.kind, len(io["sample/timesteps"]))
    answers, states = list[Tensor](), list[Tensor]()

    def ask(query: Query) -> Denoised:
        found = denoise(query.x, query.t, StepInfo())
        answers.append(found.value)
        return found

    # 1/alpha is 2e4 at the first level, where two products of that size cancel for a prediction of noise.
    state = sampler.init(io["sample/x_T"].double(), times, process)
    while not state.done:
        state = answer(sampler.step(state, Recorded([])), ask)
        states.append(state.x)
    coeffs = process.coeffs(times)
    return {
        "sample/timesteps": process.level(times[:-1]).long(), "sample/sigmas": (coeffs.sigma / coeffs.alpha).float(),
        "sample/model_outputs": torch.stack(answers), "sample/x_after_step": torch.stack(states),
        "sample/action": state.x * io["action_mask"],
    }  # fmt: skip
