"""What a reader of one storage offers."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Source(Protocol):
    """Raw pictures of one storage."""

    kind: str
    """What it is, for people: ``image folder``, ``HDF5 file``."""
    classes: tuple[str, ...]
    """Names of the labels 0, 1, ...; empty when the pictures have none."""
    labels: np.ndarray
    """(N,) int64; zeros when the pictures have none."""

    def name(self, index: int) -> str:
        """What to call picture `index` in a message."""
        ...

    def read(self, index: int) -> np.ndarray:
        """Picture `index` as (H, W, C) uint8 in 0..255 or float in [-1, 1], C = 1 or 3; `Unreadable` if damaged."""
        ...


class Unreadable(Exception):
    """A picture that cannot be decoded; the text says why."""
