"""A chunk of another length over the same time: sample j sits at source index j (n - 1) / (m - 1), linearly."""

from __future__ import annotations

import numpy as np

from gencore.errors import InputError


def stretch(chunk: np.ndarray, length: int) -> np.ndarray:
    """(n, A) actions to (`length`, A), both end points kept.

    Reading every k-th action of the result is not the inverse; stretching back to n is, at points both grids share.

    Raises:
        InputError: fewer than two actions, before or after.

    >>> stretch(np.array([[0.0], [3.0]]), 4)[:, 0].tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    if len(chunk) < 2 or length < 2:
        raise InputError("chunk length", f"{len(chunk)} to {length}", "at least 2 on both sides")
    at = np.arange(length) * (len(chunk) - 1) / (length - 1)
    left = np.minimum(at.astype(int), len(chunk) - 2)
    part = (at - left)[:, None]
    return chunk[left] * (1 - part) + chunk[left + 1] * part
