"""gymnasium wrappers: observations become the policy's words, actions the environment's."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from gencore_robot.wrappers.mapping import EnvMapping
from gencore_robot.wrappers.source import Source


class Mapped(gymnasium.Wrapper):
    """One environment behind a mapping.

    Raises:
        InputError: the mapping does not fit the environment.

    >>> from gencore_robot.envs.reach import TwoWayReach
    >>> env = Mapped(TwoWayReach(), EnvMapping(observation={"state": (Source(key="agent_pos"),)}))
    >>> obs, _ = env.reset(seed=0)
    >>> list(obs), env.observation_space.contains(obs)
    (['state'], True)
    """

    def __init__(self, env: gymnasium.Env, mapping: EnvMapping) -> None:
        mapping.check(env.observation_space, env.action_space)
        super().__init__(env)
        self.mapping = mapping
        self.observation_space = words_space(mapping, env.observation_space)
        self.action_space = actions_space(mapping, env.action_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        return self.mapping.words(obs), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, *rest = self.env.step(fitted(self.mapping, action, self.env.action_space))
        return self.mapping.words(obs), *rest  # type: ignore[return-value]


class MappedVector(gymnasium.vector.VectorWrapper):
    """A vector environment behind a mapping; arrays have the batch axis first, texts are lists.

    Raises:
        InputError: the mapping does not fit the environments.
    """

    def __init__(self, env: gymnasium.vector.VectorEnv, mapping: EnvMapping) -> None:
        mapping.check(env.single_observation_space, env.single_action_space)
        super().__init__(env)
        self.mapping = mapping
        self.single_observation_space = words_space(mapping, env.single_observation_space)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self.single_action_space = actions_space(mapping, env.single_action_space)
        self.action_space = batch_space(self.single_action_space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        return self.mapping.words(obs, batched=True), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        obs, *rest = self.env.step(fitted(self.mapping, actions, self.env.single_action_space))
        return self.mapping.words(obs, batched=True), *rest  # type: ignore[return-value]


def fitted(mapping: EnvMapping, action: Any, space: Any) -> np.ndarray:
    """The environment's action for the policy's, in the type of its space and inside its bounds where they hold."""
    out = mapping.to_env(action)
    if mapping.limits:
        out = np.clip(out, space.low, space.high)
    return out.astype(space.dtype)


def words_space(mapping: EnvMapping, space: Any) -> spaces.Dict:
    """The space of the words of an environment's observations."""
    known = {}
    for word, sources in mapping.observation.items():
        parts = [_space(source, space) for source in sources if not (source.optional and not _has(space, source))]
        if not parts:
            continue
        if len(parts) == 1:
            known[word] = parts[0]
        else:
            low, high = (np.concatenate([getattr(part, end) for part in parts], axis=-1) for end in ("low", "high"))
            known[word] = spaces.Box(low, high, dtype=np.result_type(*(part.dtype for part in parts)).type)
    return spaces.Dict(known)


def actions_space(mapping: EnvMapping, space: Any) -> spaces.Box:
    """The space of the policy's actions."""
    bounds = mapping.bounds(space)
    if bounds is None:
        return spaces.Box(-np.inf, np.inf, space.shape, np.float64)
    return spaces.Box(*bounds, dtype=np.float64)


def _space(source: Source, space: Any) -> Any:
    if source.text or source.choices:
        texts = source.choices or (source.text,)
        return spaces.Text(max(map(len, texts)), charset=frozenset("".join(texts)))
    boxes = {key: _at(space, key) for key in source.keys}
    if any(not hasattr(box, "low") for box in boxes.values()):
        count = next(iter(boxes.values())).n
        return spaces.Box(0, count - 1, (1,), np.int64)
    ends = []
    for end in ("low", "high"):
        obs: Any = {}
        for key, box in boxes.items():
            obs = getattr(box, end) if not key else _put(obs, key.split("/"), getattr(box, end))
        ends.append(source.read(obs, batched=False))
    low, high = np.minimum(*ends), np.maximum(*ends)
    return spaces.Box(low, high, dtype=low.dtype.type)


def _put(obs: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    inside = value if len(path) == 1 else _put(dict(obs.get(path[0], {})), path[1:], value)
    return {**obs, path[0]: inside}


def _at(space: Any, key: str) -> Any:
    for part in filter(None, key.split("/")):
        space = space.spaces[part]
    return space


def _has(space: Any, source: Source) -> bool:
    try:
        for key in source.keys:
            _at(space, key)
    except (KeyError, AttributeError):
        return False
    return True
