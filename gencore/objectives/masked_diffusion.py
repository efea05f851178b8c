"""Masked diffusion's bound on -log p(x_0), per token (MDLM, arXiv:2406.07524, eq. 10 and 8; D3PM, arXiv:2107.03006).

Continuous time, SUBS:   L = E_t  sigma'(t) / (e^sigma(t) - 1)  sum over masked positions of -log p(x_0 | x_t)

T steps, with s = t - 1/T, masked chances a = m(t) / m(1), b = m(s) / m(1) and P the model's probability of the mask:

    L = T sum over masked positions of  (1 - b/a) (A - log p(x_0)) + (b/a) (A - B),
    A = log(1 + (1 - a) P / a),   B = log(1 + (1 - b) P / b)

which for SUBS (P = 0) is the first bound's weight in steps; D3PM adds -log p(x_0 | x_0) at every position.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gencore.backbone import Backbone
from gencore.categorical import Categorical
from gencore.condition import Conditions
from gencore.context import Context
from gencore.errors import InputError, unknown
from gencore.noise import Noise
from gencore.objective import Batch, Loss, Objective
from gencore.objectives.masked_times import log_uniform_chance, training_uniforms
from gencore.objectives.score_entropy import score_entropy
from gencore.processes.absorbing import Absorbing
from gencore.spec import broadcast_time

Times = Literal["uniform", "importance", "change_of_variables"]


def continuous_loss(d: Categorical, x0: Tensor, weight: Tensor) -> Tensor:
    """-log p(x_0) times `weight` (B,), (B, *sizes) nats; 0 at open positions, which are certain."""
    return -d.log_prob(x0) * broadcast_time(weight, x0).to(d.log_probs.dtype)


def discrete_loss(d: Categorical, x0: Tensor, process: Absorbing, steps: int) -> Tensor:
    """The term of one of `steps` levels, the one at ``d.t``, times their number: (B, *sizes) nats."""
    t = broadcast_time(d.t, x0)
    full = process.move_chance(torch.ones((), dtype=torch.float64, device=t.device))
    a = (process.move_chance(t) / full).clamp(max=1 - 1e-4)
    # Each step takes the same width off the clamped level too, as published.
    b = (a - (process.move_chance(t) - process.move_chance((t - 1 / steps).clamp(min=0))) / full).clamp(min=0)
    of_mask = d.log_probs[..., process.mask_id].to(torch.float64).exp()
    log_a = torch.log1p((1 - a) * of_mask / a)
    # At the lowest level b is 0 and its term has the limit 0; 0 / 0 would be NaN, in the gradient too.
    log_b = torch.log1p((1 - b) * of_mask / b.clamp(min=1e-12))
    each = (1 - b / a) * (log_a - d.log_prob(x0)) + torch.where(b > 1e-12, b / a * (log_a - log_b), 0.0)
    return torch.where(d.masked, steps * each, 0.0).to(d.log_probs.dtype)


def token_mean(nll: Tensor, valid: Tensor | None) -> Tensor:
    """The mean of `nll` (B, *sizes) over the positions where `valid`, broadcasting, is True; 0 where there are none."""
    if valid is None:
        return nll.mean()
    counted = valid.expand(nll.shape)
    return torch.where(counted, nll, 0.0).sum() / counted.sum().clamp(min=1)


class MaskedDiffusion(Objective):
    """The bound that fits the network's parameterisation, at random times, in nats a token.

    Args:
        process: of the masking.
        times: "uniform"; or in equal steps of the log move chance, which makes the weight constant: "importance" maps
            them to the schedule's times, "change_of_variables" shows a network with a time these instead.
        steps: T levels in place of continuous time; d3pm needs them.
        antithetic: spread times over the batch, see `training_uniforms`.
        sampling_eps: the smallest uniform time.

    Raises:
        InputError: an unknown name, or steps together with other times.
    """

    def __init__(self, process: Absorbing, *, times: Times = "uniform", steps: int | None = None,
                 antithetic: bool = False, sampling_eps: float = 1e-3) -> None:  # fmt: skip
        if times not in get_args(Times):
            raise unknown("times", times, get_args(Times))
        if times != "uniform":
            process.schedule.ends()
            if steps is not None:
                raise InputError("steps", f"{steps} with {times} times", "uniform times")
        if steps is not None and steps < 1:
            raise InputError("steps", steps, "1 or more, or None for continuous time")
        if not 0 <= sampling_eps < 1:
            raise InputError("sampling_eps", sampling_eps, "0 or more and below 1")
        self.process, self.steps, self.antithetic, self.sampling_eps = process, steps, antithetic, sampling_eps
        self.times: Times = times

    def config(self) -> dict[str, Any]:
        return {"times": self.times, "steps": self.steps, "antithetic": self.antithetic,
                "sampling_eps": self.sampling_eps}  # fmt: skip

    def draw_times(self, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        """Times of the process, what the network sees at them, and weights of the bound; each (B,) float64."""
        u = training_uniforms(noise, antithetic=self.antithetic)
        t = (1 - self.sampling_eps) * u + self.sampling_eps
        if self.times == "uniform":
            if self.steps is not None:
                t = (torch.floor(t * self.steps) + 1).clamp(max=self.steps) / self.steps
            weight = self.process.d_sigma(t) / torch.expm1(self.process.sigma(t))
            return t, self.process.model_time(t), weight
        chance, constant = log_uniform_chance(self.process, t)
        mapped = self.process.time_at(chance)
        seen = self.process.model_time(mapped)
        if self.times == "change_of_variables" and self.process.network_time != "none":
            seen = t
        return mapped, seen, torch.full_like(t, constant)

    def token_losses(self, net: Backbone, x0: Tensor, conditions: Conditions, noise: Noise) -> Tensor:
        """The loss of every position, (B, *sizes) nats; its mean over positions bounds -log p(x_0) a token.

        Draws: ``("time",)``, then ``("mask",)``.

        Raises:
            InputError: a parameterisation without a loss in these times.
        """
        t, seen, weight = (value.to(x0.device) for value in self.draw_times(noise))
        eps = noise.draw("uniform", ("mask",), tuple(x0.shape[1:])).to(x0.device)
        d = _read(net, self.process, self.process.corrupt(x0, t, eps), t, seen, conditions)
        kind = getattr(net.prediction, "parameterization", net.prediction.kind)
        match kind, self.steps:
            case "sedd", None:
                return score_entropy(d, x0, self.process)
            case "subs", None:
                return continuous_loss(d, x0, weight)
            case "subs", int(steps):
                return discrete_loss(d, x0, self.process, steps)
            case "d3pm", int(steps):
                clean = torch.zeros_like(t)
                found = _read(net, self.process, x0, clean, self.process.model_time(clean), conditions)
                return discrete_loss(d, x0, self.process, steps) - found.log_prob(x0)
        raise InputError("parameterization", f"{kind} with steps={self.steps}",
                         "subs, sedd in continuous time, or d3pm with steps")  # fmt: skip

    def loss(self, phase: str, roles: Mapping[str, Backbone], batch: Batch, noise: Noise) -> Loss:
        nll = self.token_losses(roles["model"], batch.x0, batch.conditions, noise)
        total = token_mean(nll, batch.valid)
        return Loss(total, {"nll": total.detach()})


def _read(net: Backbone, process: Absorbing, x_t: Tensor, t: Tensor, seen: Tensor, conditions: Conditions) -> Any:
    return net.prediction.read(net(x_t, seen, conditions, Context()).pred, x_t, process, t)
