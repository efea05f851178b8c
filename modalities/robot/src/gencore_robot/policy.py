"""A trained pipeline as a policy of a gymnasium environment, alone or vectorised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gencore.errors import InputError
from gencore_robot.codec import ActionCodec
from gencore_robot.executor.chunks import ChunkExecutor
from gencore_robot.executor.paced import Paced
from gencore_robot.executor.predictor import length

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline


class Policy:
    """Observations in, actions out.

    Every environment has its own stream of seeds, one per prediction, so that what it does depends neither on the
    number of environments nor on when the others are predicted.

    Args:
        pipe: makes chunks of actions, ``generate(observation=...) -> (B, H, A)``.
        count: environments in the vector; None for one plain environment, whose observations have no batch axis.
        keys: name in the observation -> word of the pipeline, for instance ``{"agent_pos": "state"}``; None passes
            every entry under its own name.
        words: said with every prediction, for instance ``{"instruction": "hand the cube over"}``.
        seed: of all draws.
        options: of `Pipeline.generate`: steps, sampler, ...
        realtime: predict beside control, by `Paced`, which takes execute, low, high, velocity, hz, clock, sleep, pool.
        execution: of `ChunkExecutor`: execute, ensemble, autoreset, low, high, velocity, max_step, pose, hz.
    """

    def __init__(
        self,
        pipe: Pipeline,
        count: int | None = None,
        *,
        keys: Mapping[str, str] | None = None,
        words: Mapping[str, Any] | None = None,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        realtime: bool = False,
        **execution: Any,
    ) -> None:
        self.pipe, self.count, self.keys = pipe, count, keys
        self.words, self.options = dict(words or {}), dict(options or {})
        self.history = self._history()
        self.executor: ChunkExecutor | Paced = (Paced if realtime else ChunkExecutor)(self, count or 1, **execution)
        self._made = np.zeros(count or 1, np.int64)
        self._seeds = [_seed(seed, i) for i in range(count or 1)]

    def reset(self, env_mask: np.ndarray | None = None, *, seed: int | Sequence[int] | None = None) -> None:
        """Forget the plans of the environments of `env_mask` ((B,) bool), or of all; a seed begins their draws anew.

        Args:
            seed: of all draws; or one an environment, of all B, which makes the draws depend on nothing else.

        Raises:
            InputError: another number of seeds.
        """
        self.executor.reset(env_mask)
        if seed is None:
            return
        count = len(self._made)
        given = [_seed(seed, i) for i in range(count)] if isinstance(seed, int) else list(seed)
        if len(given) != count:
            raise InputError("seed", f"{len(given)} seeds", f"{count}, one an environment")
        for i in range(count) if env_mask is None else np.flatnonzero(env_mask):
            self._seeds[i], self._made[i] = given[i], 0

    def stepped(self, terminated: Any, truncated: Any) -> np.ndarray:
        """Tell what the step that followed `act` returned, see `ChunkExecutor.stepped`."""
        return self.executor.stepped(terminated, truncated)

    def act(self, obs: Mapping[str, Any]) -> np.ndarray:
        """The action for an observation: (A,), or (B, A) of a vector environment.

        Raises:
            InputError: a key that is missing, or a value that is not finite.
        """
        if self.count is not None:
            return self.executor.act(obs)
        return self.executor.act({key: _row(value) for key, value in obs.items()})[0]

    def predict_chunk(self, obs: Mapping[str, Any], *, envs: np.ndarray | None = None,
                      prefix: np.ndarray | None = None) -> Tensor:  # fmt: skip
        """The (B, H, A) actions for a batch of observations.

        Args:
            envs: (B,) which environments the rows are; 0 .. B - 1 unless said.
            prefix: (B, P, A) first actions of the chunks that are already decided.

        Raises:
            InputError: as `act`; a prefix longer than the chunk.
        """
        said = self._said(obs)
        count = length(said)
        chosen = np.arange(count) if envs is None else np.asarray(envs)
        if len(self._made) <= int(chosen.max()):
            raise InputError("envs", int(chosen.max()), f"0..{len(self._made) - 1}")
        seeds = [_seed(self._seeds[i], int(self._made[i])) for i in chosen]
        self._made[chosen] += 1
        given: dict[str, Any] = {}
        if prefix is not None and prefix.shape[1]:
            given["prefix"] = self._allowed(prefix)
        out = self.pipe.generate(n=count, seed=seeds, observation=said, **self.words, **self.options, **given)
        return out.tensor

    def _history(self) -> dict[str, int]:
        """Entries of the observation of which the pipeline reads the last ones of an episode, and how many."""
        read: Mapping[str, int] = getattr(getattr(self.pipe, "conditioner", None), "history", {})
        names = {word: word for word in read} if self.keys is None else self.keys
        return {key: read[word] for key, word in names.items() if word in read}

    def _allowed(self, prefix: np.ndarray) -> np.ndarray:
        # An environment may take what the robot's file does not allow; the network was never shown such actions.
        codec = self.pipe.tokenizer
        if not isinstance(codec, ActionCodec):
            return prefix
        return np.clip(prefix, codec.action.low.numpy(), codec.action.high.numpy())

    def _said(self, obs: Mapping[str, Any]) -> dict[str, Any]:
        names = {key: key for key in obs} if self.keys is None else self.keys
        said = {}
        for key, word in names.items():
            if key not in obs:
                raise InputError("observation", f"no '{key}'", f"it among {', '.join(map(str, obs))}")
            value = obs[key]
            if isinstance(value, np.ndarray) and value.dtype == object:
                said[word] = [[_finite(key, step) for step in row] for row in value]
                continue
            said[word] = _finite(key, value)
        return said


def _finite(key: str, value: Any) -> Any:
    """Numbers as a tensor, floats as float32; anything else as it is."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = torch.as_tensor(np.ascontiguousarray(value))
    if isinstance(value, Tensor) and value.is_floating_point():
        if not bool(torch.isfinite(value).all()):
            raise InputError(key, "a value that is not finite", "finite numbers", "check the sensor")
        value = value.float()
    return value


def _row(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    return value[None] if isinstance(value, (np.ndarray, Tensor)) else np.asarray(value)[None]


def _seed(*key: int) -> int:
    return int.from_bytes(blake2b("/".join(map(str, key)).encode(), digest_size=6).digest())
