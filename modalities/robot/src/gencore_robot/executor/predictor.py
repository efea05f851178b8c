"""The call of a policy: rows of observations in, checked chunks out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from gencore.errors import InputError
from gencore_robot.executor.window import Window


class PredictsChunks(Protocol):
    """What an executor needs of a policy.

    It may also take the keywords `envs` ((B,) int, which environments the rows are) and `prefix` ((B, P, A), the
    actions that will be executed before the chunk arrives), and have a mapping `history`: of each entry of an
    observation that it names it is given the last ones of the episode, see `Window`.
    """

    def predict_chunk(self, obs: Any, /) -> Any:
        """(B, H, A) actions, array or tensor, for a batch of observations."""
        ...


class Predictor:
    """Calls a policy with the keywords it knows.

    >>> class Still:
    ...     def predict_chunk(self, obs):
    ...         return np.zeros((len(obs), 4, 2))
    >>> Predictor(Still())(np.zeros((3, 5)), envs=np.arange(3)).shape
    (3, 4, 2)
    """

    def __init__(self, policy: PredictsChunks) -> None:
        if not callable(getattr(policy, "predict_chunk", None)):
            raise InputError("policy", type(policy).__name__, "an object with predict_chunk(obs)")
        self.policy = policy
        words = inspect.signature(policy.predict_chunk).parameters
        anything = any(p.kind is p.VAR_KEYWORD for p in words.values())
        self.takes = {word for word in ("envs", "prefix") if anything or word in words}
        self.window = Window(getattr(policy, "history", None) or {})

    def __call__(self, obs: Any, **words: Any) -> np.ndarray:
        """(B, H, A) float64.

        Raises:
            InputError: a chunk of another shape, or with values that are not finite.
        """
        count = length(obs)
        told = {word: value for word, value in words.items() if word in self.takes and value is not None}
        chunk = self.policy.predict_chunk(obs, **told)
        if hasattr(chunk, "detach"):
            chunk = chunk.detach().cpu()
        chunk = np.asarray(chunk, dtype=np.float64)
        if chunk.ndim != 3 or len(chunk) != count or not chunk.shape[1]:
            raise InputError("chunk", f"shape {chunk.shape}", f"({count}, horizon, actions)")
        if not np.isfinite(chunk).all():
            raise InputError("chunk", "a value that is not finite", "finite actions", "the policy predicted it")
        return chunk


def rows(obs: Any, chosen: np.ndarray) -> Any:
    """The chosen rows of an observation, whatever its nesting."""
    if isinstance(obs, Mapping):
        return {key: rows(value, chosen) for key, value in obs.items()}
    if isinstance(obs, (tuple, list)):
        if obs and isinstance(obs[0], str):
            return [obs[i] for i in chosen]
        return tuple(rows(value, chosen) for value in obs)
    return obs[chosen]


def length(obs: Any) -> int:
    """B, the number of rows of an observation."""
    if isinstance(obs, Mapping):
        return length(next(iter(obs.values())))
    if isinstance(obs, (tuple, list)):
        return len(obs) if obs and isinstance(obs[0], str) else length(obs[0])
    return len(obs)
