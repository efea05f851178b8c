"""DiT's discrete process: schedules, respacing, losses, reverse transitions and the variational bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.denoised import Denoised, Prediction, PredictionKind
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.noise import Recorded
from gencore.objectives.denoising import LossKind, denoising_loss
from gencore.objectives.flow import predict
from gencore.objectives.variational import bits_per_dim
from gencore.process import Coeffs
from gencore.processes.posterior import VarianceKind, clipped_variance, level_posteriors, log_variance
from gencore.processes.tables import TableProcess, respace
from gencore.samplers.ddim import ddim_update
from gencore.testing.cases import Got
from gencore_images.golden.networks import label, reading

AMPLIFIED = (1e-3, "1/alpha multiplies the network's own rounding by up to 157; the recorded case says so too")
KINDS: dict[str, PredictionKind] = {"eps": "epsilon", "xstart": "x0"}


def schedules(meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """Tables of the named schedules, and of respaced linear processes."""
    got: dict[str, Tensor] = {}
    for name in meta["schedules"]:
        process = TableProcess.named(name, meta["T"])
        here, neighbour = level_posteriors(process, torch.arange(process.steps))
        got |= {
            f"{name}.betas": process.betas, f"{name}.alphas_cumprod": process.alphas_cumprod,
            f"{name}.posterior_variance": here.variance,
            f"{name}.posterior_log_variance_clipped": clipped_variance(here, neighbour).log(),
            f"{name}.posterior_mean_coef1": here.on_x0, f"{name}.posterior_mean_coef2": here.on_xt,
        }  # fmt: skip
    for spec in meta["respacings"]:
        process = TableProcess.named("linear", meta["T"], respacing=spec)
        key = f"respace.{spec.replace(',', '_')}"
        kept = torch.tensor(respace(meta["T"], spec))
        got |= {f"{key}.steps": kept, f"{key}.betas": process.betas, f"{key}.timestep_map": process.levels}
    return Got({name: value for name, value in got.items() if name in io})


def sections(meta: Mapping[str, Any]) -> Got:
    """Respacing alone, and the specifications that must be refused."""
    got: dict[str, Tensor] = {}
    facts: dict[tuple[str, ...], Any] = {}
    for name, case in meta["cases"].items():
        process = TableProcess.named(case["schedule"], case["T"], respacing=case["respacing"])
        got |= {f"{name}.steps": process.levels, f"{name}.betas": process.betas}
        facts["cases", name, "num_steps"] = process.steps
    for name, case in meta.get("must_raise", {}).items():
        try:
            facts["must_raise", name, "error"] = f"kept {respace(case['T'], case['respacing'])}"
        except InputError as fault:
            facts["must_raise", name, "error"] = "ValueError" if isinstance(fault, ValueError) else type(fault).__name__
    return Got(got, facts=facts)


@torch.no_grad()
def losses(net: DiT, meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """Training losses and reverse transitions of several processes, prediction kinds, variances and loss types."""
    got: dict[str, Tensor] = {}
    facts: dict[tuple[str, ...], Any] = {}
    for name, spec in meta["processes"].items():
        process = TableProcess.named(spec["schedule"], spec["T"], respacing=spec["respacing"])
        facts["processes", name, "num_steps"] = process.steps
        x0, eps, level, y = io["x0"], io[f"{name}.eps"], io[f"{name}.t"], io["y"]
        x_t = process.corrupt(x0, process.at(level), eps)
        got |= {f"{name}.timestep_map": process.levels, f"{name}.x_t": x_t}
        for key in (key for key in io if key.startswith(f"{name}.")):
            match key.removeprefix(f"{name}.").split("."):
                case ["pmv", ("fixed_large" | "fixed_small") as variance, *rest]:
                    d = _read(net, process, x_t, level, y, "epsilon", variance)
                    got[key] = _transition(process, d, level, variance, 1.0)[rest[-1]]
                case ["pmv", kind, ("clip0" | "clip1") as clip, what]:
                    d = _read(net, process, x_t, level, y, KINDS[kind], "learned_range")
                    got[key] = _transition(process, d, level, "learned_range", 1.0 if clip == "clip1" else None)[what]
                case [kind, variance, loss, term]:
                    d = _read(net, process, x_t, level, y, KINDS[kind], variance)
                    got[key] = denoising_loss(process, x0, eps, level, d, variance=variance, loss=loss)[term]  # type: ignore[arg-type]
    return Got(got, inputs=("x0", "y", "*.t", "*.eps"), facts=facts)


@torch.no_grad()
def loss_variants(net: DiT, io: Mapping[str, Tensor], steps: int) -> Got:
    """Losses on a process and on a respaced one, transitions and an inversion step on `x0` itself, the bound."""
    process = TableProcess.named("linear", steps)
    (short,) = {key.split(".")[1] for key in io if key.startswith("loss.respaced")}
    few = process.respaced(short.removeprefix("respaced"))
    x0, eps, y, got = io["loss.x0"], io["loss.eps"], io["loss.y"], {}
    variants: dict[str, tuple[PredictionKind, LossKind, TableProcess, str]] = {
        "mse": ("epsilon", "mse", process, "loss.t"), "mse_rescaled": ("epsilon", "rescaled_mse", process, "loss.t"),
        "kl": ("epsilon", "rescaled_kl", process, "loss.t"), "xstart": ("x0", "mse", process, "loss.t"),
        short: ("epsilon", "mse", few, f"loss.{short}.t"),
    }  # fmt: skip
    for name, (kind, loss, used, at) in variants.items():
        level = io[at]
        x_t = used.corrupt(x0, used.at(level), eps)
        d = _read(net, used, x_t, level, y, kind, "learned_range")
        terms = denoising_loss(used, x0, eps, level, d, loss=loss)
        got |= {f"loss.{name}.{term}": value for term, value in terms.items()}
    got["loss.x_t"] = process.corrupt(x0, process.at(io["loss.t"]), eps)
    level = io[f"loss.{short}.t"]
    for name, clip in (("clip0", None), ("clip1", 1.0), ("fixed_large", None), ("fixed_small", None)):
        variance: VarianceKind = name if name in ("fixed_large", "fixed_small") else "learned_range"  # type: ignore[assignment]
        d = _read(net, few, x0, level, y, "epsilon", variance)
        got |= {f"pmv.{name}.{what}": value for what, value in _transition(few, d, level, variance, clip).items()}
    at = io["ddim_reverse.t"].expand(len(x0))
    got["ddim_reverse.sample"] = inverted(few, _read(net, few, x0, at, y, "epsilon", "learned_range"), at)
    got |= bound(net, process.respaced(str(len(io["bpd.noise"]))), x0, y, io["bpd.noise"], None)
    return Got({name: value for name, value in got.items() if name in io},
               inputs=("loss.x0", "loss.eps", "loss.t", "loss.y", f"loss.{short}.t", "ddim_reverse.t", "bpd.noise"),
               floors={"pmv.clip1.pred_xstart": AMPLIFIED})  # fmt: skip


def bound(net: DiT, process: TableProcess, x0: Tensor, y: Tensor, noise: Tensor, clip: float | None
          ) -> dict[str, Tensor]:  # fmt: skip
    """The variational bound with one recorded draw a level, noisiest first."""
    found = bits_per_dim(Denoiser(net, process, label(y)), x0, Recorded(noise), clip=clip)
    return {"bpd.total_bpd": found.total, "bpd.prior_bpd": found.prior, "bpd.vb": found.terms,
            "bpd.xstart_mse": found.x0_error, "bpd.mse": found.eps_error}  # fmt: skip


def inverted(process: TableProcess, d: Denoised, level: Tensor) -> Tensor:
    """One deterministic step towards noise, to the level above; above the last one is pure noise."""
    if int(level[0]) + 1 < process.steps:
        shape = (-1, *(1,) * (d.x_t.ndim - 1))
        return ddim_update(d, process.coeffs(process.at(level + 1).reshape(shape)))
    one = torch.ones(1, dtype=torch.float64)
    return ddim_update(d, Coeffs(0 * one, one, 0 * one, 0 * one))


def _read(net: DiT, process: TableProcess, x: Tensor, level: Tensor, y: Tensor, kind: PredictionKind, variance: str
          ) -> Denoised:  # fmt: skip
    extra = "learned_range" if variance == "learned_range" else "drop" if net.prediction.extra else None
    return predict(reading(net, Prediction(kind, extra)), process, x, process.at(level), label(y))


def _transition(process: TableProcess, d: Denoised, level: Tensor, variance: VarianceKind, clip: float | None
                ) -> dict[str, Tensor]:  # fmt: skip
    """Mean, variance and x_0 of p(x_s | x_t); fixed variances are one number a sample."""
    if clip is not None:
        d = d.clamp_x0(-clip, clip)
    here, neighbour = level_posteriors(process, level.reshape(-1, *(1,) * (d.x_t.ndim - 1)))
    logvar = log_variance(variance, here, neighbour, d)
    logvar = logvar if variance == "learned_range" else logvar.flatten()
    return {"mean": here.mean(d.x0, d.x_t), "variance": logvar.exp(), "log_variance": logvar, "pred_xstart": d.x0}
