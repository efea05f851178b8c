"""Checks that third parties run on their own parts."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gencore.testing.conformance.run import run_checks
    from gencore.testing.failures import CheckFailed
    from gencore.testing.orders import check_sampler, measured_order

_HOME = {
    "CheckFailed": "gencore.testing.failures",
    "check_sampler": "gencore.testing.orders",
    "measured_order": "gencore.testing.orders",
    "run_checks": "gencore.testing.conformance.run",
}

__all__ = ["CheckFailed", "check_sampler", "measured_order", "run_checks"]


def __getattr__(name: str) -> object:
    # Lazily: the pytest plug-in lives in this package and is imported by every test session, which needs no torch.
    if name not in _HOME:
        raise AttributeError(f"module 'gencore.testing' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
