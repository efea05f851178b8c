"""SiT's paths: coefficients, conversions, diffusion forms, intervals and losses."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.denoised import Denoised, Prediction
from gencore.objectives.flow import diffusion_scale, flow_loss, predict
from gencore.samplers.sde import FORMS
from gencore.schedules import transport_interval
from gencore.spec import broadcast_time
from gencore.testing.cases import Got
from gencore_images.golden.networks import label, reading, stated
from gencore_images.importers.sit import KINDS, path_of

PATHS = ("Linear", "GVP", "VP")
PREDICTIONS = ("velocity", "score", "noise")


def form_of(name: str) -> str:
    """Our name of a diffusion form; the published code spells one of them ``inccreasing``."""
    return name.lower().replace("inccreasing", "increasing")


def intervals(meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """Every combination of path, prediction, sde, reverse, form (which changes nothing) and last step."""
    got: dict[str, Tensor] = {}
    for name in io:
        phase, who = name.split(".")
        given: dict[str, Any] = {"train": phase == "train"}
        given |= {} if who == "default" else {"sample_eps": meta["user_sample_eps"]}
        given |= {"train_eps": meta["user_train_eps"]} if who == "user" else {}
        kinds, flags = product(PATHS, PREDICTIONS), list(product((False, True), (False, True)))
        ends = [
            transport_interval(path_of(path), KINDS[kind], sde=sde, reverse=back, last_step=h, **given)
            for path, kind in kinds for sde, back in flags for _ in ("SBDM", "sigma") for h in meta["last_step_sizes"]
        ]  # fmt: skip
        got[name] = torch.tensor(ends, dtype=torch.float64).reshape(io[name].shape)
    return Got(got)


def paths(meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """Functions of time on every path."""
    got: dict[str, Tensor] = {}
    t, x, v, norm = 1 - io["t"].double(), io["x"], io["v"], stated(meta["called"], "norm")
    for path in {name.partition(".")[0] for name in io if "." in name}:
        process = path_of(path)
        c = process.coeffs(t)
        wide = process.coeffs(broadcast_time(t, x))
        ratio = -c.d_alpha / c.alpha
        target = -(wide.d_alpha * io["x1_data"] + wide.d_sigma * io["x0_noise"])
        by_velocity, by_score = Denoised("velocity", -v, x, wide), Denoised("score", v, x, wide)
        found = {
            "alpha": c.alpha, "sigma": c.sigma, "d_alpha": -c.d_alpha, "d_sigma": -c.d_sigma, "ut": target,
            "d_alpha_alpha_ratio": ratio, "drift": -x * broadcast_time(ratio, x), "drift_var": diffusion_scale(c),
            "xt": process.corrupt(io["x1_data"], t, io["x0_noise"]), "score_from_velocity": by_velocity.score,
            "noise_from_velocity": by_velocity.epsilon, "velocity_from_score": -by_score.velocity,
        }  # fmt: skip
        for key in (key for key in io if key.startswith(f"{path}.")):
            match key.split(".")[1:]:
                case ["diffusion", form]:
                    got[key] = FORMS[form_of(form)](process, t, norm)
                case [kind, "train_interval"]:
                    got[key] = torch.tensor(transport_interval(process, KINDS[kind], train=True), dtype=torch.float64)
                case [kind, "interval", "sde0", _]:
                    got[key] = torch.tensor(transport_interval(process, KINDS[kind]), dtype=torch.float64)
                case [kind, "interval", "sde1", _]:
                    h = stated(meta["called"], "last_step_size")
                    ends = transport_interval(process, KINDS[kind], sde=True, last_step=h)
                    got[key] = torch.tensor(ends, dtype=torch.float64)
                case [name]:
                    got[key] = found[name]
    return Got(got, inputs=("t", "x", "v", "x0_noise", "x1_data"))


@torch.no_grad()
def losses(net: DiT, io: Mapping[str, Tensor]) -> Got:
    """``PATH.PREDICTION.WEIGHT.loss`` per sample."""
    got: dict[str, Tensor] = {}
    t, data, noise = 1 - io["t"].double(), io["x1"], io["x0"]
    for key in (key for key in io if key.endswith(".loss")):
        path, kind, weight, _ = key.split(".")
        process = path_of(path)
        other = reading(net, Prediction(KINDS[kind], net.prediction.extra, reverse=True))
        d = predict(other, process, process.corrupt(data, t, noise), t, label(io["y"]))
        got[key] = flow_loss(d, data, noise, None if weight == "None" else weight)  # type: ignore[arg-type]
    return Got(got, inputs=("t", "x0", "x1", "y"))
