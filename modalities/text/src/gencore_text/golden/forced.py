"""Resampling with given candidates: what `EnergyCorrection` does with candidates that a case lists."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gencore.categorical import Categorical
from gencore.context import StepInfo
from gencore.errors import InputError
from gencore.noise import Recorded
from gencore.transforms.edlm import EnergyCorrection, Resampling

_SURE = 1e-300


def resampled(energy: Callable[[Tensor, Categorical], Tensor], prediction: Categorical, candidates: Tensor,
              temperature: float) -> Resampling:  # fmt: skip
    """One resampling of `prediction` whose draws are such that they give `candidates` (B, k, L).

    Raises:
        InputError: a candidate that the prediction excludes, so that no draw could give it.
    """
    wanted = one_hot(candidates, prediction.log_probs.shape[-1]).bool()
    draws = [torch.where(wanted, _SURE, 1.0).double(), torch.ones(candidates.shape[:2], dtype=torch.float64)]
    kept: list[Resampling] = []
    correction = EnergyCorrection(energy, candidates.shape[1], temperature=temperature, report=kept.append)
    correction(prediction, StepInfo(), Recorded(draws))
    if not torch.equal(kept[0].candidates, candidates):
        raise InputError("candidates", "tokens of probability 0", "candidates that the denoiser can draw")
    return kept[0]
