"""What a model must know of the data it was trained on: moments and range of every slot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gencore.errors import InputError

KEYS = ("mean", "std", "rms", "min", "max")
STILL = 1e-3
"""Deviation, in SI units, up to which a slot is taken to stand still: it is moved by its mean, not scaled."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Per slot, (D,) float64 each: mean, population standard deviation, root mean square, smallest, largest.

    Args:
        count: rows they were taken over.
    """

    mean: np.ndarray
    std: np.ndarray
    rms: np.ndarray
    min: np.ndarray
    max: np.ndarray
    count: int

    @classmethod
    def of(cls, rows: np.ndarray) -> Statistics:
        """Of (N, D) rows, N >= 1.

        Raises:
            InputError: no rows, or another rank.

        >>> float(Statistics.of(np.array([[1.0], [3.0]])).std[0])
        1.0
        """
        if rows.ndim != 2 or not len(rows):
            raise InputError("statistics", f"rows of shape {rows.shape}", "(N, D) with N of at least 1")
        rows = rows.astype(np.float64)
        return cls(rows.mean(0), rows.std(0), np.sqrt((rows**2).mean(0)), rows.min(0), rows.max(0), len(rows))

    def standard(self) -> tuple[Tensor, Tensor]:
        """(D,) float64 mean and deviation to standardise by, the deviation 1 where a slot stands still."""
        std = torch.from_numpy(self.std)
        return torch.from_numpy(self.mean), torch.where(std > STILL, std, 1.0)

    def config(self) -> dict[str, Any]:
        """JSON that `from_config` reads."""
        return {key: getattr(self, key).tolist() for key in KEYS} | {"count": self.count}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Statistics:
        """From what `config` gave.

        Raises:
            InputError: a key is missing, lengths differ, or a value is not finite.
        """
        if missing := [key for key in (*KEYS, "count") if key not in config]:
            raise InputError("statistics", f"no {missing[0]}", ", ".join((*KEYS, "count")))
        arrays = {key: np.asarray(config[key], np.float64) for key in KEYS}
        if len({a.shape for a in arrays.values()}) > 1 or not all(np.isfinite(a).all() for a in arrays.values()):
            raise InputError(
                "statistics", "lengths that differ or values that are not finite", "one finite value a slot"
            )
        return cls(**arrays, count=int(config["count"]))
