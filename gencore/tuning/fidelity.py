"""How near a cached sample is to the uncached one of the same seed, and budgets for it.

For real data the peak signal-to-noise ratio over the range of the uncached samples x, decoded:

    PSNR_i = 10 log10((max x - min x)^2 / mean (y_i - x_i)^2)  in dB,  at most 150, which is the rounding of float32

For tokens, which have no distance, the share that is equal, in percent.  The range is one for all samples and all
channels: where channels have units of their own, those with the largest numbers count most.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import torch
from torch import Tensor

from gencore.errors import InputError

UNITS = {"dB": "dB PSNR", "%": "% equal"}
"""What each unit stands for."""

_CEILING = 150.0
_BUDGET = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*(db|%)?\s*", re.IGNORECASE)


class Fidelity(NamedTuple):
    """Of some samples to the uncached ones; higher is nearer.

    Args:
        worst: of the sample farthest off.
        mean: PSNR of the mean squared error over all samples, or the mean share.
        unit: "dB" or "%".
    """

    worst: float
    mean: float
    unit: str


def fidelity(got: Tensor, exact: Tensor) -> Fidelity:
    """Compare decoded samples (B, ...) with the uncached ones of the same seeds.

    >>> exact = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    >>> fidelity(torch.tensor([[0.1, 0.9], [0.0, 1.0]]), exact)
    Fidelity(worst=20.0, mean=23.0103, unit='dB')
    >>> fidelity(torch.tensor([[5, 6, 7, 9]]), torch.tensor([[5, 6, 7, 8]]))
    Fidelity(worst=75.0, mean=75.0, unit='%')

    Raises:
        InputError: values that are not finite.
    """
    if not exact.is_floating_point():
        shares = 100 * (got == exact).double().flatten(1).mean(1)
        return Fidelity(round(float(shares.min()), 4), round(float(shares.mean()), 4), "%")
    errors = (got.double() - exact.double()).square().flatten(1).mean(1)
    peak = float(exact.max()) - float(exact.min())
    if not bool(torch.isfinite(errors).all()):
        raise InputError("samples", "values that are not finite", "finite ones")
    return Fidelity(_psnr(peak, float(errors.max())), _psnr(peak, float(errors.mean())), "dB")


def _psnr(peak: float, error: float) -> float:
    if error <= peak**2 * 10 ** (-_CEILING / 10):
        return _CEILING
    return round(10 * math.log10(max(peak**2, 1e-300) / error), 4)


def loss(value: float, unit: str) -> float:
    """The size of the error a figure stands for: its root mean square over the range, or the share that differs.

    >>> loss(40.0, "dB"), loss(90.0, "%")
    (0.01, 0.1)
    """
    return 10 ** (-value / 20) if unit == "dB" else round(1 - value / 100, 12)


def read_budget(budget: str | float) -> tuple[float, str]:
    """A budget and its unit, empty where none was said.

    >>> read_budget("35dB"), read_budget(35), read_budget("90 %")
    ((35.0, 'dB'), (35.0, ''), (90.0, '%'))

    Raises:
        InputError: no number above 0, or another unit.
    """
    match = None if isinstance(budget, bool) else _BUDGET.fullmatch(str(budget))
    if match is None or not 0 < float(match[1]) < math.inf or (match[2] == "%" and float(match[1]) > 100):
        raise InputError("budget", repr(budget), "35dB, a PSNR, or 90%, a share of equal tokens")
    return float(match[1]), {"db": "dB", "%": "%"}.get((match[2] or "").lower(), "")


def within(budget: str | float, unit: str) -> float:
    """The figure in `unit` that a budget asks for.

    Raises:
        InputError: it is not of that unit.
    """
    value, said = read_budget(budget)
    if said not in ("", unit) or (unit == "%" and value > 100):
        kind = "tokens" if unit == "%" else "real data"
        raise InputError("budget", f"{budget} for {kind}", f"one in {unit}", f"{UNITS[unit]} is their measure")
    return value
