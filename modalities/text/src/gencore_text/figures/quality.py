"""Samples as judges see them: perplexity against network calls, with the entropy that repetition would lower.

A judge is a language model of its own, named, and fitted on other text than it judges.  A low perplexity with a low
entropy is repetition, not quality, so the two are read together, and beside those of real text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from gencore.transforms.edlm import Energy, EnergyCorrection, Resampling

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline

Judge = Callable[[np.ndarray], np.ndarray]
"""Log-probabilities (N, L), in nats, of tokens (N, L) int64."""


def token_entropy(tokens: np.ndarray) -> np.ndarray:
    """(N,) entropy, in bits, of the tokens that occur in each text (N, L), by how often they do.

    >>> token_entropy(np.array([[1, 1, 2, 2], [3, 3, 3, 3]])).tolist()
    [1.0, 0.0]
    """

    def one(row: np.ndarray) -> float:
        share = np.unique(row, return_counts=True)[1] / len(row)
        return float(-(share * np.log2(share)).sum()) + 0.0

    return np.array([one(row) for row in tokens])


def judged(tokens: np.ndarray, judges: Mapping[str, Judge]) -> dict[str, Any]:
    """``entropy``, and by judge the perplexity a token and ``*_bits`` with ``*_stderr`` over the texts (N, L)."""
    report: dict[str, Any] = {"entropy": float(token_entropy(tokens).mean())}
    for name, judge in judges.items():
        bits = -judge(tokens).mean(1) / math.log(2)
        error = float(bits.std(ddof=1)) / math.sqrt(len(bits)) if len(bits) > 1 else math.nan
        report |= {f"{name}_perplexity": 2.0 ** float(bits.mean()), f"{name}_bits": float(bits.mean()),
                   f"{name}_stderr": error}  # fmt: skip
    return report


def sampled(pipe: Pipeline, judges: Mapping[str, Judge], *, n: int, steps: int, seed: int, energy: Energy | None = None,
            candidates: int = 1, window: tuple[float, float] = (1.0, 0.0)) -> dict[str, Any]:  # fmt: skip
    """`judged` of `n` samples in `steps`, with what they cost.

    Args:
        energy, candidates, window: of an `EnergyCorrection`; None samples plainly.

    Returns:
        ``calls`` of the denoiser; ``passes`` a sample through any network, those of the energy included;
        ``effective``, the mean effective number of candidates; ``seconds``.
    """
    seen: list[Resampling] = []
    transforms = [] if energy is None else [
        EnergyCorrection(energy, candidates, window=window, report=seen.append)]  # fmt: skip
    out = pipe.generate(n=n, seed=seed, steps=steps, transforms=transforms)
    calls = int(out.timing["calls"])
    report: dict[str, Any] = {"calls": calls, "passes": calls + sum(step.candidates.shape[1] for step in seen)}
    if seen:
        report["effective"] = float(np.mean([step.effective.mean().item() for step in seen]))
    return {**report, "seconds": out.timing["seconds"], **judged(out.tensor.cpu().numpy(), judges)}


def speed_up(plain: Sequence[tuple[float, float]], cost: float, bits: float) -> float | None:
    """How many times cheaper `bits` are at `cost` than on the plain curve of (cost, bits), costs rising.

    The plain cost is interpolated in log cost; None where the plain curve does not get as low, or begins lower.

    >>> round(speed_up([(4, 3.0), (16, 2.0)], 4, 2.5), 6)
    2.0
    """
    for (c0, b0), (c1, b1) in pairwise(plain):
        if b1 <= bits <= b0 and b0 > b1:
            share = (b0 - bits) / (b0 - b1)
            return math.exp(math.log(c0) + share * (math.log(c1) - math.log(c0))) / cost
    return None
