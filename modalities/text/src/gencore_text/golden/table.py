"""A denoiser that is a table, and runs of it: cached ancestral sampling, and the whole of EDLM's algorithm 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gencore.backbone import Backbone, Output
from gencore.categorical import Categorical, TokenPrediction
from gencore.condition import Conditions
from gencore.context import Context, StepInfo
from gencore.noise import Noise
from gencore.processes.absorbing import Absorbing
from gencore.samplers.masked import MaskedAncestral, reverse_weights
from gencore.testing.cases import Got
from gencore.transforms.edlm import EnergyCorrection, Resampling
from gencore.transforms.energies import ResidualEnergy
from gencore_text.golden.denoiser import Run
from gencore_text.golden.setting import exponentials, process_of


class Table(Backbone):
    """Logits (B, L, V): ``table[l] + mean over positions of context[x]``, without a time."""

    def __init__(self, table: Tensor, context: Tensor, mask_id: int) -> None:
        super().__init__()
        self.table, self.context, self.ports = table, context, {}
        self.prediction: Any = TokenPrediction(table.shape[1], mask_id)

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
        return Output(self.table + self.context[x_t].mean(dim=1, keepdim=True))

    def config(self) -> dict[str, Any]:
        return {"table": self.table.tolist(), "context": self.context.tolist()}


def table_of(meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Table:
    return Table(io["logit_table"], io["logit_context"], meta["config"]["mask_index"])


def cached(meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """The same run with and without a memory: the same tokens, fewer network calls."""
    config, got = meta["config"], dict[str, Tensor]()
    net, process, draws = table_of(meta, io), process_of(meta["config"], exact=True), list(exponentials(io["u_step"]))
    for name, remembers in (("calls_uncached", False), ("calls_cached", True)):
        run = Run(net, process, config, cached=remembers)
        states = run(MaskedAncestral(), draws, len(net.table))
        got[name] = torch.tensor(run.published_calls)
        if not remembers:
            plain = states
        elif not all(map(torch.equal, plain, states)):
            raise ArithmeticError("the cached run differs from the plain one")
    start = torch.full_like(states[0], process.mask_id)
    changed = [not torch.equal(a, b) for a, b in zip([start, *states], states[:-1], strict=False)]
    called = [b > a for a, b in zip([0, *run.calls], run.calls[:-1], strict=False)]
    return Got(
        {**got, "changed": torch.tensor(changed), "network_called": torch.tensor(called), "timesteps": run.times,
         "x_after_step": torch.stack(states[:-1]), "x_final": states[-1]},
        inputs=("logit_table", "logit_context", "u_step"),
    )  # fmt: skip


class Watched:
    """The correction of a case, with everything it does written down; the noise removal is left alone, as published."""

    def __init__(self, correction: EnergyCorrection, times: Tensor, process: Absorbing) -> None:
        self.correction, self.times, self.process = correction, times, process
        self.p_theta: list[Tensor] = []
        self.q_xs: list[Tensor] = []
        self.acted: list[tuple[Resampling, Tensor]] = []
        correction.report = self._keep
        self._now: Categorical | None = None

    def _keep(self, happened: Resampling) -> None:
        assert self._now is not None
        self.acted.append((happened, self._now.log_prob(happened.candidates).sum(-1)))

    def __call__(self, prediction: Categorical, info: StepInfo, noise: Noise) -> Categorical:
        if info.i == len(self.times) - 1:
            return prediction
        self._now = prediction
        corrected = self.correction(prediction, info, noise)
        here, there = (self.process.move_chance(self.times[i]) for i in (info.i, info.i + 1))
        self.p_theta.append(prediction.probs)
        self.q_xs.append(reverse_weights(corrected, here, there))
        return corrected


def corrected(meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """A full EDLM run: candidates, energies, weights, picks, probabilities and tokens of every step."""
    config = meta["config"]
    net = table_of(meta, io)
    process = process_of(config, exact=str(config.get("predictor", "ddpm_cache")).startswith("ddpm_cache"))
    mask, carry = config["mask_index"], bool(config.get("ar_carry_over"))

    def log_prior(tokens: Tensor) -> Tensor:
        ids = tokens - (tokens > mask).long()
        later = io["ar_trans_logp"][ids[:, :-1], ids[:, 1:]]
        return torch.cat([io["ar_init_logp"][ids[:, :1]], later], dim=1)

    window = (config["is_start"], config["is_end"])
    correction = EnergyCorrection(ResidualEnergy(log_prior, carry_over=carry), config["is_size"], window=window,
                                  temperature=config["is_temp"])  # fmt: skip
    run = Run(net, process, config, cached=False)
    watched = Watched(correction, run.times, process)
    run.transforms = (watched,)
    inside = (run.times[:-1] <= window[0]) & (run.times[:-1] >= window[1])
    draws: list[Tensor] = []
    for i, step in enumerate(io["u_step"]):
        draws += [io["u_candidate"][i], io["u_pick"][i]] if inside[i] else []
        draws.append(step)
    states = run(MaskedAncestral(), [exponentials(u) for u in draws], len(net.table))
    acted = [happened for happened, _ in watched.acted]
    own = torch.stack([log_p for _, log_p in watched.acted])
    energy = torch.stack([happened.energy for happened in acted])
    steps = torch.zeros(len(run.times) - 1, dtype=torch.bool)
    steps[[happened.info.i for happened in acted]] = True
    return Got(
        {"timesteps": run.times, "in_window": steps, "p_theta": torch.stack(watched.p_theta),
         "q_xs": torch.stack(watched.q_xs), "x_after_step": torch.stack(states[:-1]), "x_final": states[-1],
         "window/candidates": torch.stack([happened.candidates for happened in acted]), "window/energy": energy,
         "window/weights": torch.stack([happened.weights for happened in acted]),
         "window/chosen": torch.stack([happened.chosen for happened in acted]), "window/log_p_theta": own,
         "window/log_p_ar": own - energy},
        inputs=("logit_table", "logit_context", "ar_init_logp", "ar_trans_logp", "u_step", "u_candidate", "u_pick"),
    )  # fmt: skip
