"""Several pictures, or the frames of several clips, as one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gencore.errors import InputError

GAP = 2
"""Black pixels between the pictures of a sheet."""


def layout(count: int, columns: int | None = None) -> tuple[int, int]:
    """(columns, rows) of a sheet, as square as its number allows unless `columns` is given.

    >>> layout(5), layout(5, 4)
    ((3, 2), (4, 2))
    """
    columns = math.ceil(count**0.5) if columns is None else columns
    return columns, -(-count // columns)


def sheet(pictures: Sequence[np.ndarray], columns: int | None = None) -> np.ndarray:
    """Pictures (..., H, W, C) of one shape, row by row on one sheet (..., H', W', C); what is left over is 0.

    >>> sheet([np.full((1, 1, 1), i) for i in (1, 2, 3)])[..., 0].tolist()
    [[1, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0], [3, 0, 0, 0]]
    """
    across, down = layout(len(pictures), columns)
    first = pictures[0]
    h, w = first.shape[-3:-1]
    whole = np.zeros(
        (*first.shape[:-3], down * (h + GAP) - GAP, across * (w + GAP) - GAP, first.shape[-1]), first.dtype
    )
    for i, picture in enumerate(pictures):
        top, left = i // across * (h + GAP), i % across * (w + GAP)
        whole[..., top : top + h, left : left + w, :] = picture
    return whole


def cut(whole: np.ndarray, count: int, columns: int | None = None) -> list[np.ndarray]:
    """The `count` pictures of a sheet (..., H', W', C) that `sheet` made.

    Raises:
        InputError: its sides are not those of such a sheet.
    """
    across, down = layout(count, columns)
    height, width = whole.shape[-3:-1]
    (h, rest_h), (w, rest_w) = divmod(height + GAP, down), divmod(width + GAP, across)
    if rest_h or rest_w or min(h, w) <= GAP:
        raise InputError("file", f"{width}x{height}", f"a sheet of {across}x{down} equal pictures")
    places = [(i // across * h, i % across * w) for i in range(count)]
    return [whole[..., top : top + h - GAP, left : left + w - GAP, :] for top, left in places]
