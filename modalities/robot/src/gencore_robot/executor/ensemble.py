"""Temporal ensembling of overlapping chunks (ACT, arXiv 2304.13705, section IV-A).

    a(tau) = sum_i w_i a_i(tau) / sum_i w_i,   w_i = exp(-m i)

over the predictions a_i of the action at time tau, i = 0 the oldest.  The k-th prediction of tau always has i = k,
because every chunk that reaches tau was made after the first one that did, so running sums suffice.  With m > 0 old
predictions weigh more.  Averages mix the modes of a multi-modal policy: ensembling is off unless asked for.
"""

from __future__ import annotations

import numpy as np

from gencore.errors import InputError


class TemporalEnsemble:
    """Running weighted means, one row per environment.

    Args:
        decay: m; 0 weighs all predictions alike, below 0 favours new ones.

    >>> mean = TemporalEnsemble(0.0)
    >>> mean.update(np.array([[[1.0], [2.0]]])).tolist(), mean.update(np.array([[[4.0], [5.0]]])).tolist()
    ([[1.0]], [[3.0]])
    """

    def __init__(self, decay: float = 0.01) -> None:
        if not np.isfinite(decay):
            raise InputError("ensemble", decay, "a finite decay, for instance 0.01")
        self.decay = decay
        self._sum = self._weight = self._count = np.zeros(0)

    def reset(self, rows: np.ndarray | None = None) -> None:
        """Forget the predictions of `rows` ((B,) bool), or of all."""
        if rows is None or not self._sum.size:
            self._sum = self._weight = self._count = np.zeros(0)
            return
        for part in (self._sum, self._weight, self._count):
            part[rows] = 0

    def update(self, chunk: np.ndarray) -> np.ndarray:
        """The (B, A) action of now, given the (B, H, A) chunk predicted now.

        Raises:
            InputError: a chunk of another shape than before; reset first.
        """
        if not self._sum.size:
            self._sum = np.zeros(chunk.shape)
            self._weight, self._count = np.zeros((*chunk.shape[:2], 1)), np.zeros((*chunk.shape[:2], 1))
        if chunk.shape != self._sum.shape:
            raise InputError("chunk", f"shape {chunk.shape}", f"{self._sum.shape}, as before")
        weight = np.exp(-self.decay * self._count)
        self._sum, self._weight = self._sum + weight * chunk, self._weight + weight
        self._count = self._count + 1
        action = self._sum[:, 0] / self._weight[:, 0]
        self._sum, self._weight, self._count = map(_shifted, (self._sum, self._weight, self._count))
        return action


def _shifted(x: np.ndarray) -> np.ndarray:
    return np.concatenate((x[:, 1:], np.zeros_like(x[:, :1])), axis=1)
