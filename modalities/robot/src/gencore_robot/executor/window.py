"""The last observations of every environment, for policies that read more than the present one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np


class Window:
    """Entries of an observation as the last T of an episode.

    Args:
        history: name of an entry: T, the present one counted; an entry of 1, or none, stays as it is.

    >>> window = Window({"a": 2})
    >>> [window({"a": np.array([[x]])})["a"].tolist() for x in (1.0, 2.0, 3.0)]
    [[[None, array([1.])]], [[array([1.]), array([2.])]], [[array([2.]), array([3.])]]]
    """

    def __init__(self, history: Mapping[str, int]) -> None:
        self.history = {key: steps for key, steps in history.items() if steps > 1}
        self._before: dict[str, list[deque[Any]]] = {key: [] for key in self.history}

    def __call__(self, obs: Any, *, keep: bool = True) -> Any:
        """`obs` with each entry of `history` as a (B, T) object array, the oldest first, None before the episode.

        Args:
            obs: a mapping of (B, ...) entries, row i of environment i.
            keep: whether it is among the last ones of the next call; False only looks.

        An observation that is no mapping, or has no such entry, stays as it is.
        """
        if not isinstance(obs, Mapping):
            return obs
        there = {key: steps for key, steps in self.history.items() if key in obs}
        return {**obs, **{key: self._stacked(key, steps, obs[key], keep) for key, steps in there.items()}}

    def forget(self, mask: np.ndarray | None = None) -> None:
        """The environments of `mask` (B,) bool, or all, begin an episode with their next observation."""
        for rows in self._before.values():
            for row in rows if mask is None else (rows[i] for i in np.flatnonzero(mask) if i < len(rows)):
                row.clear()

    def _stacked(self, key: str, steps: int, value: Any, keep: bool) -> np.ndarray:
        rows = self._before[key]
        rows += [deque(maxlen=steps - 1) for _ in range(len(rows), len(value))]
        out = np.full((len(value), steps), None, object)
        for i, now in enumerate(value):
            # An environment may write its next observation into the same memory.
            now = np.array(now) if isinstance(now, np.ndarray) else now
            seen = [*rows[i], now]
            for place, one in zip(range(steps - len(seen), steps), seen, strict=True):
                out[i, place] = one
            if keep:
                rows[i].append(now)
        return out
