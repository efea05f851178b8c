"""How far a computed tensor may be from a golden one, as a case's ``meta.json`` says it.

    tolerance_rel_to_max            |got - ref| <= tol * max |ref|, per tensor, float tensors only
    tolerance_rel_to_max_overrides  {pattern: tol} for some of them
    tolerance                       otherwise: {"rtol", "atol"}: |got - ref| <= atol + rtol |ref|; a number for both;
                                    a text such as "rtol 1e-6, atol 1e-8" or "exact"; or {tensor kind: any of these},
                                    a kind being a name, a pattern, a part of a name between dots, slashes or
                                    underscores, a dtype, or "others" or "numbers" for all that is left
    grad_tolerance_rel_to_own_max   for names that begin with "grad": relative to max |ref|, before all of these

Integers and booleans are always exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gencore.errors import InputError

_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Elementwise allowance ``atol + rtol |ref| + rel_to_max max|ref|``."""

    rtol: float = 0.0
    atol: float = 0.0
    rel_to_max: float = 0.0

    def allowed(self, ref: Tensor) -> Tensor:
        """The allowance of each element of `ref`, float64 of its shape."""
        size = torch.nan_to_num(ref.to(torch.float64).abs(), nan=0.0, posinf=0.0)
        largest = size.max() if size.numel() else 0.0
        return self.atol + self.rtol * size + self.rel_to_max * largest


DEFAULT = Tolerance(rtol=1e-4, atol=1e-5)
"""For floats of a case that says nothing."""


def tolerance_of(meta: Mapping[str, Any], name: str, ref: Tensor) -> Tolerance:
    """The tolerance of tensor `name`.

    >>> tolerance_of({"tolerance": {"betas": "rtol 1e-12, atol 1e-15"}}, "T10.7.betas", torch.ones(1)).rtol
    1e-12

    Raises:
        InputError: the case gives one that says nothing about this tensor, or in unknown words.
    """
    if not (ref.is_floating_point() or ref.is_complex()):
        return Tolerance()
    if name.startswith("grad") and "grad_tolerance_rel_to_own_max" in meta:
        return Tolerance(rel_to_max=meta["grad_tolerance_rel_to_own_max"])
    for pattern, value in meta.get("tolerance_rel_to_max_overrides", {}).items():
        if fnmatchcase(name, pattern):
            return Tolerance(rel_to_max=value)
    if "tolerance_rel_to_max" in meta:
        return Tolerance(rel_to_max=meta["tolerance_rel_to_max"])
    return _read(meta["tolerance"], name, ref) if "tolerance" in meta else DEFAULT


def _read(given: Any, name: str, ref: Tensor) -> Tolerance:
    if isinstance(given, Mapping):
        parts = [*reversed(name.split(".")), *reversed(re.split(r"[./_]", name))]
        kinds = [name, str(ref.dtype).removeprefix("torch."), *parts, "others", "numbers"]
        for kind in kinds:
            for pattern, value in given.items():
                if fnmatchcase(kind, pattern):
                    return _read(value, name, ref)
        if "rtol" in given or "atol" in given:
            return Tolerance(given.get("rtol", 0.0), given.get("atol", 0.0))
    elif isinstance(given, int | float):
        return Tolerance(rtol=given, atol=given)
    elif isinstance(given, str):
        found = {key: float(value) for key, value in re.findall(rf"\b(rtol|atol) {_NUMBER}", given)}
        if found or given.startswith("exact"):
            return Tolerance(**found)
    raise InputError("tolerance", f"{given!r} for {name}", "rtol and atol, a number, 'exact', or these by tensor kind")


class Distance(NamedTuple):
    """The element nearest to (or farthest beyond) its allowance: its error, the allowance, and whether all fit."""

    error: float
    allowed: float
    fits: bool

    @property
    def share(self) -> float:
        """Error as a share of the allowance."""
        return self.error / self.allowed if self.allowed else (0.0 if self.error == 0 else float("inf"))


def distance(got: Tensor, ref: Tensor, tolerance: Tolerance) -> Distance:
    """Compare two tensors of one shape; equal infinities and NaN in the same places count as equal."""
    if not ref.numel():
        return Distance(0.0, 0.0, True)
    wide = torch.complex128 if ref.is_complex() else torch.float64
    a, b = got.detach().cpu().to(wide), ref.to(wide)
    same = (a == b) | (a.isnan() & b.isnan())
    error = torch.where(same, 0.0, torch.nan_to_num((a - b).abs(), nan=torch.inf, posinf=torch.inf)).flatten()
    allowed = tolerance.allowed(ref).expand(ref.shape).flatten()
    share = torch.where(error > 0, error / allowed, 0.0)
    worst = int(share.argmax())
    return Distance(error[worst].item(), allowed[worst].item(), bool((error <= allowed).all()))
