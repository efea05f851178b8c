"""Aligned columns for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of each column over `rows`; the last one is left ragged (0)."""
    *padded, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [*padded, 0]


def line(row: Sequence[str], columns: Sequence[int]) -> str:
    """One row padded to `columns`.

    >>> line(("ddim", "1", "ok"), (6, 2, 0))
    'ddim    1   ok'
    """
    return "  ".join(cell.ljust(width) for cell, width in zip(row, columns, strict=True)).rstrip()
