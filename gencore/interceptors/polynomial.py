"""Forecasts of a feature F from its values at earlier computed steps, by a polynomial in the step or the time s.

"taylor" (TaylorSeer, arXiv:2503.06923), at a computed step s that follows the computed step p:

    D_0 = F,   D_{i+1} = (D_i - D_i at p) / (s - p),        F(x) = sum_i D_i (x - s)^i / i!

"newton", the polynomial through the last order + 1 values (exact for those of that degree, at any spacing), with
s = p_0, and p_1, p_2, ... the computed steps before it:

    D_{i+1} = (D_i - D_i at p_1) / (s - p_{i+1}),           F(x) = sum_i D_i (x - p_0) ... (x - p_{i-1})

The two agree for order 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gencore.errors import unknown
from gencore.interceptors.schedules import whole

Basis = Literal["taylor", "newton"]
Place = int | Tensor
"""Where on the abscissa: a step, or float64 times (B,) or (1,)."""

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Fit(NamedTuple):
    """What is known of one feature.

    Args:
        terms: D_0, D_1, ... of the feature's shape.
        places: of the last computed steps, the latest first.
        dtype: of the feature; terms may be stored with fewer bits.
    """

    terms: tuple[Tensor, ...]
    places: tuple[Place, ...]
    dtype: torch.dtype

    def row(self) -> Fit:
        """The fit of the first sample alone."""
        return Fit(tuple(term[:1] for term in self.terms),
                   tuple(p if isinstance(p, int) else p[:1] for p in self.places), self.dtype)  # fmt: skip


@dataclass(frozen=True)
class Polynomial:
    """Extrapolation of degree `order`; 0 repeats the last value.

    >>> line = Polynomial(1)
    >>> fit = line.grow(line.grow(None, torch.tensor([1.0]), 0), torch.tensor([3.0]), 2)
    >>> line.at(fit, 5)
    tensor([6.])

    Args:
        order: 0 or more; as many further tensors are kept for every feature.
        basis: "taylor" or "newton".
        dtype: name of the dtype terms are stored in; None keeps the feature's.

    Raises:
        InputError: a value out of range.
    """

    order: int
    basis: Basis = "taylor"
    dtype: str | None = None

    def __post_init__(self) -> None:
        whole("order", self.order, 0)
        for field, word, known in (("basis", self.basis, ("taylor", "newton")), ("dtype", self.dtype, DTYPES)):
            if word is not None and word not in known:
                raise unknown(field, word, known)

    def grow(self, old: Fit | None, value: Tensor, s: Place) -> Fit:
        """The fit after `value` (B, ...) was computed at `s`; `old` is None at the first, or to forget."""
        terms = [value]
        if old is not None:
            for i, before in enumerate(old.terms[: self.order]):
                p = old.places[i if self.basis == "newton" else 0]
                terms.append(_divided(terms[i] - before.to(value.dtype), s, p))
        stored = value.dtype if self.dtype is None else DTYPES[self.dtype]
        places = (s, *(() if old is None else old.places))[: self.order + 1]
        return Fit(tuple(term.to(stored) for term in terms), places, value.dtype)

    def at(self, fit: Fit, s: Place, out: Tensor | None = None) -> Tensor:
        """The forecast (B, ...) at `s`, written to `out` where that is given."""
        total = fit.terms[0].to(fit.dtype)
        if out is not None and len(fit.terms) == 1:
            return out.copy_(total)
        factor: float | Tensor = 1.0
        for i, term in enumerate(fit.terms[1:]):
            gap = _gap(s, fit.places[i if self.basis == "newton" else 0], total)
            factor = factor * gap / (1 if self.basis == "newton" else i + 1)
            # A forecast is bound by memory: one pass a term, and none to bring lanes together.
            total = (torch.addcmul(total, term.to(fit.dtype), factor, out=out) if isinstance(factor, Tensor)
                     else torch.add(total, term.to(fit.dtype), alpha=factor, out=out))  # fmt: skip
        return total


def _gap(s: Place, p: Place, like: Tensor) -> float | Tensor:
    gap = s - p
    return gap.to(like).reshape(-1, *(1,) * (like.ndim - 1)) if isinstance(gap, Tensor) else float(gap)


def _divided(difference: Tensor, s: Place, p: Place) -> Tensor:
    """`difference`, which is written over, by the distance of the places."""
    gap = _gap(s, p, difference)
    # Samples whose time stood still say nothing about a slope.
    return torch.where(gap == 0, 0, difference / gap) if isinstance(gap, Tensor) else difference.div_(gap)
