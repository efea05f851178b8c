"""EDLM: energies of an autoregressive and of a trained network, their losses, weights and normalisers.

Two published habits are kept here and nowhere else: the autoregressive term leaves out token 0, and the contrastive
loss adds 1e-8 inside its logarithms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gencore.categorical import Categorical, draw
from gencore.context import Context
from gencore.metrics.partition import log_partition
from gencore.noise import Recorded
from gencore.testing.cases import Got, weights_file
from gencore.transforms.energies import AutoregressiveLogProbs, NetworkEnergy, ResidualEnergy
from gencore_text.backbones.causal import CausalTransformer
from gencore_text.backbones.ddit import DDiT
from gencore_text.backbones.energy import EnergyNet
from gencore_text.golden.denoiser import objective
from gencore_text.golden.forced import resampled
from gencore_text.golden.setting import exponentials, predict, process_of
from gencore_text.importers.edlm_energy import import_edlm_energy
from gencore_text.importers.mdlm_ar import import_mdlm_ar

INPUTS = ("x0", "attention_mask", "u_t", "u_mask", "u_neg", "is/candidates")
WRONG_SIGN = "softmax(+E / temperature), a fault of the published sampler; the paper's weights are compared"
Energy = Callable[[Tensor, Categorical], Tensor]


@torch.no_grad()
def energies(net: DDiT, case: Path, meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """Everything a case of a denoiser with an energy holds."""
    config, file = meta["config"], weights_file(case, meta)
    process = process_of(config)
    t = objective(process, config).draw_times(Recorded([io["u_t"]]))[0]
    xt = process.corrupt(io["x0"], t, io["u_mask"])
    prediction = predict(net, xt, process, t)
    negative = draw(prediction.probs, exponentials(io["u_neg"]))
    sigma, slope = process.sigma(t), process.d_sigma(t)
    got = {"t": t, "sigma": sigma, "dsigma": slope, "xt": xt, "log_p_x0": prediction.log_probs, "x0_neg": negative}
    weight = slope / torch.expm1(sigma)
    if config["kind"] == "ar":
        ar = import_mdlm_ar(file, heads=config["n_heads"], mask_id=config["mask_index"]).backbone
        assert isinstance(ar, CausalTransformer)
        log_probs = after_first(AutoregressiveLogProbs(ar, process))
        got["ar/logp"] = next_token(ar, io["x0"])
        for name, carry in (("carry0/", False), ("carry1/", True)):
            energy: Energy = ResidualEnergy(log_probs, carry_over=carry)
            got |= losses(name, energy, prediction, negative, weight, io, normalised=True)
    else:
        ebm = import_edlm_energy(file, heads=config["n_heads"], mask_id=config["mask_index"]).backbone
        assert isinstance(ebm, EnergyNet)
        energy = NetworkEnergy(ebm)
        got |= losses("", energy, prediction, negative, weight, io, normalised=False)
    if "is/candidates" in io:
        found = resampled(energy, prediction, io["is/candidates"], config["is_temp"])
        got |= {"is/energy": found.energy, "is/weights": found.weights}
        if found.energy.shape[1] > 1:
            bounds = log_partition(found.energy)
            got |= {"z/log_z_lower": bounds.lower, "z/log_z_upper": bounds.upper,
                    "z/log_z_leave_one_out_mean": bounds.leave_one_out}  # fmt: skip
    return Got({name: value for name, value in got.items() if name in io}, inputs=INPUTS,
               unused={"is/weights_reference_code_sign": WRONG_SIGN})  # fmt: skip


def after_first(log_probs: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same without token 0, which published networks do not predict."""
    return lambda tokens: torch.cat([torch.zeros(len(tokens), 1).double(), log_probs(tokens)[:, 1:]], dim=1)


def next_token(ar: CausalTransformer, x0: Tensor) -> Tensor:
    """(B, L - 1, V) log-probabilities of tokens 1 .. L - 1, the mask at -1000 before the softmax, as published."""
    logits = ar(x0, torch.zeros(len(x0)), {}, Context()).pred[:, 1:]
    mask = torch.tensor([ar.prediction.mask_id])
    return logits.index_fill(-1, mask, -1000.0).log_softmax(-1)


def losses(prefix: str, energy: Energy, prediction: Categorical, negative: Tensor, weight: Tensor,
           io: Mapping[str, Tensor], *, normalised: bool) -> dict[str, Tensor]:  # fmt: skip
    """Energies of the data and of the negatives, the contrastive loss, and the loss of the corrected likelihood.

    Args:
        weight: (B,) of the bound.
        normalised: take log Z for 0; else for minus the energy of the one negative.
    """
    x0, attention = io["x0"], io["attention_mask"]
    pair = energy(torch.stack([x0, negative], dim=1), prediction)
    of_data, of_negative = pair[:, :1], pair[:, 1:]
    contrast = -torch.log(torch.sigmoid(-of_data) + 1e-8) - torch.log(torch.sigmoid(of_negative) + 1e-8)
    each = contrast * attention
    log_z = torch.zeros_like(of_data) if normalised else -of_negative
    nll = -(prediction.log_prob(x0) + (-of_data - log_z) / x0.shape[1]) * weight[:, None] * attention
    return {
        f"{prefix}energy_pos": of_data, f"{prefix}energy_neg": of_negative,
        f"{prefix}nce_mean_over_batch": contrast.mean(), f"{prefix}train/nlls_or_nce": each,
        f"{prefix}train/loss": each.sum() / attention.sum(), f"{prefix}val/nlls_or_nce": nll,
        f"{prefix}val/loss": nll.sum() / attention.sum(),
    }  # fmt: skip
