"""MDLM: the network, its schedules, its losses, its steps and its runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gencore.backbone import Backbone
from gencore.categorical import TokenPrediction
from gencore.context import Context, Interceptor
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.noise import Recorded
from gencore.objectives.masked_diffusion import MaskedDiffusion, Times, discrete_loss
from gencore.objectives.masked_times import log_uniform_chance
from gencore.processes.absorbing import Absorbing
from gencore.run import stream
from gencore.sampler import Sampler
from gencore.samplers.masked import MaskedAncestral, reverse_weights
from gencore.samplers.tweedie import Tweedie, tweedie_weights
from gencore.schedules import uniform
from gencore.spec import LatentSpec
from gencore.testing.cases import Got
from gencore_text.backbones.block import MAIN
from gencore_text.backbones.ddit import DDiT
from gencore_text.golden.setting import exponentials, numbered, predict, process_of, weighted
from gencore_text.importers.assembly import SCHEDULES

_MAPS: dict[Times, str] = {"change_of_variables": "change_of_variables", "importance": "importance_sampling"}
INPUTS = ("x0", "attention_mask", "u_t", "u_mask", "noise/t", "step/x", "step/t", "step/dt", "traj/*/uniforms")


def denoiser(net: DDiT, meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """Everything a case may hold of one denoiser, as far as it does."""
    config, got = meta["config"], dict[str, Tensor]()
    net = meaning(net, config.get("parameterization", "subs"), bool(config.get("subs_masking")))
    if "noise/t" in io:
        got |= schedules(config, io)
    if "u_t" in io and "x0" in io:
        got |= own_objective(net, config, io)
        for name in sorted({key.split("/")[1] for key in io if key.startswith("obj/")}):
            got |= variant(net, name, config, io)
    if "subs/xt" in io:
        got |= network(net, config, io)
    if "step/x" in io:
        got |= steps(net, config, io)
    for name in sorted({key.split("/")[1] for key in io if key.startswith("traj/")}):
        got |= trajectory(net, name, config, io)
    floors = {"noise/cosinesqr/dsigma": (5e-5, "sin(pi t) is 0 at t = 1, where float32 has -9e-8, divided by eps")}
    return Got({name: tensor for name, tensor in got.items() if name in io}, inputs=INPUTS, floors=floors)


def meaning(net: DDiT, parameterization: Any, subs_masking: bool) -> DDiT:
    """The same weights with logits of another meaning."""
    other, now = copy(net), net.prediction
    other.prediction = TokenPrediction(now.vocab, now.mask_id, parameterization, subs_masking)
    return other


def schedules(config: Mapping[str, Any], io: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """sigma, its slope, and the time map of importance sampling, of every schedule the case names."""
    got, t = {}, io["noise/t"].double()
    for name in sorted({key.split("/")[1] for key in io if key.startswith("noise/") and key != "noise/t"}):
        process = Absorbing(config["mask_index"], SCHEDULES[name])
        got |= {f"noise/{name}/sigma": process.sigma(t), f"noise/{name}/dsigma": process.d_sigma(t)}
        if f"noise/{name}/is_t" in io:
            chance, _ = log_uniform_chance(process, t)
            # The published map is not limited to [0, 1], where its ends lie outside by a rounding.
            got[f"noise/{name}/is_t"] = process.schedule.time(-torch.log1p(-chance))
    return got


@torch.no_grad()
def network(net: DDiT, config: Mapping[str, Any], io: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Logits with and without the noise level, the output of each block, the rotary tables."""
    x, length = io["subs/xt"], io["subs/xt"].shape[1]
    sigma = process_of(config).sigma(own_times(config, io))
    blocks = numbered(list(io), r"net/block(\d+)")
    ctx = Context(tap_at=frozenset(blocks))
    got = {"net/logits_sigma": net(x, sigma, {}, ctx).pred,
           "net/logits_sigma0": net(x, torch.zeros_like(sigma), {}, Context()).pred}  # fmt: skip
    got |= {name: ctx.taps[i][MAIN].x for i, name in blocks.items()}
    if "net/rotary_cos" in io:
        rope: Any = net.blocks[0].rope
        half = rope.freqs.numel()
        ones = torch.cat([torch.ones(half), torch.zeros(half)]).expand(1, 1, length, -1)
        cos, sin = rope(ones, torch.arange(length)[:, None].float())[0, 0].split(half, dim=-1)
        got |= {"net/rotary_cos": torch.cat([cos, cos], -1), "net/rotary_sin": torch.cat([sin, sin], -1)}
    return got


def objective(process: Absorbing, config: Mapping[str, Any], times: Times = "uniform", levels: int | None = None,
              antithetic: bool | None = None) -> MaskedDiffusion:  # fmt: skip
    spread = config.get("antithetic", True) if antithetic is None else antithetic
    return MaskedDiffusion(process, times=times, steps=levels, antithetic=spread,
                           sampling_eps=config.get("sampling_eps", 1e-3))  # fmt: skip


def own(process: Absorbing, config: Mapping[str, Any]) -> MaskedDiffusion:
    """The objective that the case's configuration names."""
    chosen: list[Times] = [name for name, key in _MAPS.items() if config.get(key)]
    return objective(process, config, chosen[0] if chosen else "uniform", config.get("T") or None)


def own_times(config: Mapping[str, Any], io: Mapping[str, Tensor]) -> Tensor:
    """The times (B,) that the case's own objective draws."""
    return own(process_of(config), config).draw_times(Recorded([io["u_t"]]))[0]


def own_objective(net: DDiT, config: Mapping[str, Any], io: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The case's own loss with everything on the way to it."""
    process = process_of(config)
    t = own_times(config, io)
    xt = process.corrupt(io["x0"], t, io["u_mask"])
    nll, loss = weighted(losses(net, own(process, config), io), io["attention_mask"])
    return {
        "subs/t": t, "subs/xt": xt, "subs/sigma": process.sigma(t), "subs/dsigma": process.d_sigma(t),
        "subs/move_chance": process.move_chance(t)[:, None], "subs/log_p": predict(net, xt, process, t).log_probs,
        "subs/nlls": nll, "subs/loss": loss, "subs/ppl": loss.exp(),
    }  # fmt: skip


@torch.no_grad()
def losses(net: DDiT, aim: MaskedDiffusion, io: Mapping[str, Tensor]) -> Tensor:
    """Per-token losses (B, L) with the recorded draws.

    The published terms of T levels take t for the move chance, whatever the schedule.
    """
    if aim.steps is None:
        return aim.token_losses(net, io["x0"], {}, Recorded([io["u_t"], io["u_mask"]]))
    t = aim.draw_times(Recorded([io["u_t"]]))[0]
    d = predict(net, aim.process.corrupt(io["x0"], t, io["u_mask"]), aim.process, t)
    plain = Absorbing(aim.process.mask_id)
    nll = discrete_loss(replace(d, process=plain), io["x0"], plain, aim.steps)
    if net.prediction.parameterization == "d3pm":
        nll = nll - predict(net, io["x0"], aim.process, torch.zeros_like(t)).log_prob(io["x0"])
    return nll


def variant(net: DDiT, name: str, config: Mapping[str, Any], io: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One objective by its name: the parameterisation, then words that override the configuration."""
    parameterization, *words = name.split("_")
    levels, antithetic, times, masking, own = config.get("T") or None, None, "uniform", False, dict(config)
    for word in words:
        match word:
            case "changevar":
                times = "change_of_variables"
            case "importance":
                times = "importance"
            case "noanti":
                antithetic = False
            case "subsmask":
                masking = True
            case word if word in SCHEDULES:
                own["noise"] = word
            case word if level := re.fullmatch(r"T(\d+)", word):
                levels = int(level[1])
            case _:
                raise InputError("case", f"objective {name}", "words of a known objective")
    # A score network without a time would divide by exp(0) - 1.
    process = process_of(own, sees="sigma" if parameterization == "sedd" else None)
    aim = objective(process, own, times, levels, antithetic)  # type: ignore[arg-type]
    t = aim.draw_times(Recorded([io["u_t"]]))[0]
    nll, loss = weighted(losses(meaning(net, parameterization, masking), aim, io), io["attention_mask"])
    return {
        f"obj/{name}/nlls": nll, f"obj/{name}/loss": loss, f"obj/{name}/xt": process.corrupt(io["x0"], t, io["u_mask"]),
        f"obj/{name}/move_chance": process.move_chance(t)[:, None],
    }  # fmt: skip


def steps(net: DDiT, config: Mapping[str, Any], io: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The probabilities that one step of every sampler draws from, and the scores."""
    x, t = io["step/x"], io["step/t"].double().flatten()
    s = t - io["step/dt"].double()
    here, there = t[:, None], s[:, None]
    got = {}
    for name, exact in (("ddpm", False), ("cache", True)):
        process = process_of(config, exact=exact)
        d = predict(net, x, process, t)
        got[f"step/{name}/q_xs"] = reverse_weights(d, process.move_chance(here), process.move_chance(there))
    got["step/cache/p_x0"] = d.probs
    process = process_of(config)
    d = predict(net, x, process, t)
    sigma = process.sigma(here)
    score = d.score
    return got | {"step/score": score, "step/analytic/probs": tweedie_weights(d, sigma - process.sigma(there)),
                  "step/denoiser/probs": tweedie_weights(d, sigma, last=True)}  # fmt: skip


def trajectory(net: DDiT, name: str, config: Mapping[str, Any], io: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A whole run with recorded draws, and its number of network calls."""
    uniforms = io[f"traj/{name}/uniforms"]
    cached = name == "ddpm_cache"
    sampler: Sampler = Tweedie() if name == "analytic" else MaskedAncestral()
    run = Run(net, process_of(config, exact=cached), config, cached=cached)
    states = run(sampler, list(exponentials(uniforms)), uniforms.shape[2])
    return {f"traj/{name}/out": states[-1], f"traj/{name}/calls": torch.tensor(run.published_calls)}


class Run:
    """A published run: times from 1 to ``sampler_eps``, then noise removal.

    Args:
        cached: answer again without a network call while no token changed.
        transforms: of the predictions; they draw from the same recorded draws.
    """

    def __init__(self, net: Backbone, process: Absorbing, config: Mapping[str, Any], *, cached: bool,
                 transforms: tuple[Any, ...] = ()) -> None:  # fmt: skip
        self.net, self.process, self.transforms = net, process, transforms
        self.times = uniform(config["steps"], 1.0, config.get("sampler_eps", 1e-5))
        # Whoever listens to a network wants to hear every call.
        self.listeners = () if cached else (Interceptor(),)
        self.calls: list[int] = []

    @property
    def published_calls(self) -> int:
        """Network calls of a published run, which always asks once more for the noise removal."""
        return self.calls[-2] + 1

    def __call__(self, sampler: Sampler, draws: list[Tensor], length: int) -> list[Tensor]:
        """The tokens (B, L) after every step and after the noise removal; `calls` counts the network's."""
        noise = Recorded(draws)
        denoise = Denoiser(
            self.net, self.process, {}, transforms=self.transforms, interceptors=self.listeners, noise=noise
        )
        vocab = self.net.prediction.vocab  # type: ignore[attr-defined]
        spec = LatentSpec("b n", (length,), kind="discrete", vocab=vocab)
        times = torch.cat([self.times, torch.zeros(1, dtype=torch.float64)])
        found = []
        for step in stream(denoise, sampler, spec, times, noise):
            found.append(step.x)
            self.calls.append(denoise.calls)
        return found
