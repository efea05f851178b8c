"""SiT's samplers and likelihoods, on the network and on Gaussian data whose prediction is exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gencore.backbone import Backbone, Output
from gencore.backbones.dit import DiT
from gencore.condition import Conditions
from gencore.context import Context
from gencore.denoised import Denoised, Prediction
from gencore.denoiser import Denoiser
from gencore.guidance import ClassifierFree
from gencore.noise import Keyed, Recorded
from gencore.process import GaussianProcess
from gencore.sampler import Query, Sampler
from gencore.samplers.dopri5 import Dopri5
from gencore.samplers.likelihood import log_likelihood
from gencore.samplers.runge_kutta import RungeKutta
from gencore.samplers.sde import StochasticInterpolant
from gencore.schedules import transport_interval
from gencore.spec import broadcast_time
from gencore.testing.analytic import AnalyticBackbone, Mixture
from gencore.testing.cases import Got
from gencore_images.golden import networks
from gencore_images.golden.interpolants import form_of
from gencore_images.importers.sit import KINDS, path_of

METHODS = {"euler": "euler", "heun2": "heun", "midpoint": "midpoint", "rk4": "rk4-38"}
LAST: dict[str, Any] = {"Mean": "mean", "Tweedie": "tweedie", "Euler": "euler", "None": None}
Ask = Callable[[Query], Denoised]


class Counted:
    """An answerer that counts its calls."""

    def __init__(self, ask: Ask) -> None:
        self.ask, self.calls = ask, 0

    def __call__(self, query: Query) -> Denoised:
        self.calls += 1
        return self.ask(query)


def ode(process: GaussianProcess, kind: str, method: str, x: Tensor, ask: Ask, points: int, *, reverse: bool = False,
        rtol: float = 1e-3, atol: float = 1e-6) -> Tensor:  # fmt: skip
    """The solution at `points` equally spaced times of the published interval, the start included."""
    start, end = transport_interval(process, KINDS[kind], reverse=reverse)
    times = 1 - torch.linspace(start, end, points, dtype=torch.float64)
    sampler: Sampler = Dopri5(rtol, atol, "batch") if method == "dopri5" else RungeKutta(METHODS[method])
    states = list(networks.walk(sampler, x, times, process, ask))
    if method == "dopri5":
        return states[-1].memory[0].out[0]
    return torch.stack([x, *(state.x for state in states)])


def sde(process: GaussianProcess, kind: str, sampler: StochasticInterpolant, x: Tensor, ask: Ask, noise: Tensor,
        points: int) -> Tensor:  # fmt: skip
    """`points` states, the last one after the last step; without a last step the last state is repeated."""
    h = 0.0 if sampler.last is None else sampler.last_step
    start, end = transport_interval(process, KINDS[kind], sde=True, last_step=h)
    times = 1 - torch.linspace(start, end, points, dtype=torch.float64)
    if sampler.last is not None:
        times = torch.cat([times, torch.zeros(1, dtype=torch.float64)])
    states = [state.x for state in networks.walk(sampler, x, times, process, ask, Recorded(noise))]
    return torch.stack(states if len(states) == points else [*states, states[-1]])


def guided(net: DiT, meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """``ode.PATH.PREDICTION.METHOD.traj`` and ``sde.PATH.METHOD.LAST.FORM.some``, both halves of the guidance batch."""
    got: dict[str, Tensor] = {}
    facts: dict[tuple[str, ...], Any] = {}
    z, y, points, half = io["z"], io["y"], meta["num_steps"], len(io["z"]) // 2
    some = [0, points // 2, points - 2, points - 1]
    for key in io:
        match key.split("."):
            case ["ode", path, kind, method, "traj"]:
                process, other = path_of(path), _read_as(net, kind)
                ask = Counted(networks.guided_pair(other, process, y, meta["cfg_scale"]))
                got[key] = ode(process, kind, method, z, ask, points)
                if kind == "velocity" and f"{path}.{method}" in meta["nfe"]:
                    facts["nfe", f"{path}.{method}"] = ask.calls
                if method != "dopri5":
                    # What users call steps the conditional half alone; an adaptive step would see another error norm.
                    guidance = ClassifierFree(meta["cfg_scale"], channels=networks.GUIDED)
                    denoise = Denoiser(other, process, networks.label(y[:half]), guidance=guidance)
                    got[key][:, :half] = ode(process, kind, method, z[:half], _answers(denoise), points)
            case ["sde", path, method, last, form, "some"]:
                process = path_of(path)
                sampler = StochasticInterpolant(method.lower(), form_of(form), last=LAST[last])  # type: ignore[arg-type]
                ask = networks.guided_pair(_read_as(net, "velocity"), process, y, meta["cfg_scale"])
                got[key] = sde(process, "velocity", sampler, z, ask, io["sde.noise"], points)[some]
    return Got(got, inputs=("z", "y", "sde.noise"), facts=facts)


def reversed_runs(net: DiT, meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """``net.PATH.PREDICTION.METHOD.traj``: the ODE from data to noise, conditional."""
    got: dict[str, Tensor] = {}
    facts: dict[tuple[str, ...], Any] = {}
    for key in (key for key in io if key.startswith("net.")):
        _, path, kind, method, _ = key.split(".")
        process = path_of(path)
        ask = Counted(_answers(Denoiser(_read_as(net, kind), process, networks.label(io["y"]))))
        got[key] = ode(process, kind, method, io["x"], ask, meta["num_steps"], reverse=True)
        if key in meta["nfe"]:
            facts["nfe", key] = ask.calls
    return Got(got, inputs=("x", "y"), facts=facts)


def toys(meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """``toy.ode.PATH.PREDICTION.METHOD.rev{0,1}`` and ``toy.sde.PATH.PREDICTION.METHOD.LAST.FORM``."""
    got: dict[str, Tensor] = {}
    given, points = meta["toy"], meta["num_steps"]
    for key in io:
        match key.split("."):
            case ["toy", "ode", path, kind, method, direction]:
                back = direction == "rev1"
                process, start = path_of(path), io["toy.x" if back else "toy.z"]
                got[key] = ode(process, kind, method, start, _exact(process, kind, given, start), points, reverse=back)
            case ["toy", "sde", path, kind, method, last, form]:
                process, start = path_of(path), io["toy.z"]
                sampler = StochasticInterpolant(method.lower(), form_of(form), given["diffusion_norm"], LAST[last],  # type: ignore[arg-type]
                                                given["last_step_size"])  # fmt: skip
                ask = _exact(process, kind, given, start)
                got[key] = sde(process, kind, sampler, start, ask, io["toy.sde.noise"], points)
    return Got(got, inputs=("toy.z", "toy.x", "toy.sde.noise"))


def likelihoods(meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """``[PATH.LEVEL.]logp`` and ``z`` of data, ``METHOD.final`` of noise, and their closed forms, for Gaussian data."""
    got: dict[str, Tensor] = {}
    facts: dict[tuple[str, ...], Any] = {}
    solvers, x = meta["solver"], io["x"]
    given = meta.get("toy") or {name: networks.stated(meta["notes"], name) for name in ("mu", "s")}
    data = _gaussian(given, x)
    for key in (key for key in io if key.endswith("logp")):
        name = key.removesuffix("logp")
        path, level = name.split(".")[:2] if name else ("Linear", "likelihood")
        process = path_of(path)
        denoise = Denoiser(SinglePrecision(path, given["mu"], given["s"]), process, {})
        found = log_likelihood(denoise, x, Keyed(range(len(x))), interval=transport_interval(process, "velocity"),
                               rtol=solvers[level]["rtol"], atol=solvers[level]["atol"], norm="batch")  # fmt: skip
        got |= {key: found.log_p, f"{name}z": found.code}
        # Tighter than 1e-5, float32 steps follow rounding: such a case pins the result, not the count.
        if name.removesuffix(".") in meta.get("nfe", {}) and solvers[level]["rtol"] >= 1e-5:
            facts["nfe", name.removesuffix(".")] = found.calls
    linear = path_of("Linear")
    clean, pure = (linear.coeffs(torch.tensor([t], dtype=torch.float64).reshape(1, 1, 1, 1)) for t in (0.0, 1.0))
    for key in (key for key in io if key.endswith(".final")):
        ask, method = _exact(linear, "velocity", given, x), key.removesuffix(".final")
        if method == "dopri5":
            how = solvers["dopri5_final"]
            tight = {"rtol": how["rtol"], "atol": how["atol"]}
            got[key] = ode(linear, "velocity", method, io["z0"], ask, how["num_steps"], **tight)[-1]
        else:
            got[key] = ode(linear, "velocity", "euler", io["z0"], ask, int(method.removeprefix("euler")))[-1]
    if "exact_final" in io:
        got["exact_final"] = data.flow(io["z0"].double(), pure, clean)
    got["logp_exact"] = data.log_prob(x.double(), clean)
    return Got(got, inputs=("x", "z0"), facts=facts)


class SinglePrecision(Backbone):
    """The exact velocity of N(mu, std^2) on a path, in float32 and in SiT's own time as it was recorded.

    A likelihood starts where the divergence may vanish; the solver's first step, and with it the number of calls, is
    then a quotient of roundings that no other precision repeats.
    """

    def __init__(self, path: str, mu: float, std: float) -> None:
        super().__init__()
        self.path, self.mu, self.std = path, mu, std
        self.prediction, self.ports = Prediction("velocity", reverse=True), {}

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
        s = broadcast_time(t.float(), x_t)
        if self.path == "Linear":
            alpha, sigma, d_alpha, d_sigma_sigma = s, 1 - s, torch.ones_like(s), s - 1
        elif self.path == "GVP":
            angle = s * (math.pi / 2)
            alpha, sigma = angle.sin(), angle.cos()
            d_alpha, d_sigma_sigma = math.pi / 2 * angle.cos(), -math.pi / 2 * angle.sin() * angle.cos()
        else:
            alpha = (-0.25 * (1 - s) ** 2 * 19.9 - 0.05 * (1 - s)).exp()
            rate = 0.5 * (1 - s) * 19.9 + 0.05
            sigma, d_alpha, d_sigma_sigma = (1 - alpha**2).sqrt(), alpha * rate, -(alpha**2) * rate
        c = (x_t - alpha * self.mu) / (alpha**2 * self.std**2 + sigma**2)
        return Output(d_alpha * (self.mu + alpha * self.std**2 * c) + d_sigma_sigma * c)

    def config(self) -> dict[str, Any]:
        return {"path": self.path, "mu": self.mu, "std": self.std}


def _read_as(net: DiT, kind: str) -> DiT:
    return networks.reading(net, Prediction(KINDS[kind], net.prediction.extra, reverse=True))


def _answers(denoise: Denoiser) -> Ask:
    @torch.no_grad()
    def ask(query: Query) -> Denoised:
        return denoise(query.x, query.t)

    return ask


def _gaussian(given: Mapping[str, float], like: Tensor) -> Mixture:
    return Mixture.gaussian(given["mu"], given["s"], tuple(like.shape[1:]))


def _exact(process: GaussianProcess, kind: str, given: Mapping[str, float], like: Tensor) -> Ask:
    return _answers(Denoiser(AnalyticBackbone(_gaussian(given, like), process, KINDS[kind]), process, {}))
