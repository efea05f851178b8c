"""How a check says what it found.  Standard library only."""

from __future__ import annotations


class CheckFailed(AssertionError):
    """A part breaks the contract of its kind; the text says how."""


class Skipped(Exception):
    """A check does not apply; the text says why."""


def require(holds: object, otherwise: str) -> None:
    """Fail with the text `otherwise` unless `holds`."""
    if not holds:
        raise CheckFailed(otherwise)
