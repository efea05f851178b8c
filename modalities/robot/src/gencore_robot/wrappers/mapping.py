"""A mapping: an environment's observations in a policy's words, and the policy's actions in the environment's order.

action[i] = scale_i policy[order_i] + offset_i
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gencore.errors import InputError, unknown
from gencore_robot.embodiments.embodiment import Embodiment
from gencore_robot.wrappers.source import Source, entry, has


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvMapping:
    """The content of a mapping file.

    Args:
        name: what messages call it.
        observation: word of the policy, ``state``, ``env_state``, ``images`` or ``instruction``: the sources it is
            put together from, one after another along the last axis.
        order: which entry of the policy's action each entry of the environment's is; None for the same order.
        scale, offset: see above; one number, or one an entry of the environment's action.
        embodiment: the robot, for the control rate and the number of joints; None where nothing is known.
        environments: ids it is meant for.
        make: arguments the environment is made with.
        success: key of `info` that tells success.
        limits: whether the bounds of the action space are the robot's; False where the environment declares bounds
            and takes actions beyond them.
        processes: whether instances must live in processes of their own because they share state.

    >>> swap = EnvMapping(observation={"state": (Source(key="q"),)}, order=(1, 0), scale=2.0)
    >>> swap.to_env(np.array([1.0, 5.0])).tolist(), swap.from_env(np.array([10.0, 2.0])).tolist()
    ([10.0, 2.0], [1.0, 5.0])
    """

    observation: Mapping[str, tuple[Source, ...]]
    name: str = "mapping"
    order: tuple[int, ...] | None = None
    scale: float | Sequence[float] = 1.0
    offset: float | Sequence[float] = 0.0
    embodiment: Embodiment | None = None
    environments: tuple[str, ...] = ()
    make: Mapping[str, Any] = field(default_factory=dict)
    success: str = "is_success"
    limits: bool = True
    processes: bool = False

    def __post_init__(self) -> None:
        if not self.observation:
            raise InputError(f"mapping '{self.name}': observation", "no words", "at least one")
        if self.order is not None and set(self.order) != set(range(len(self.order))):
            raise InputError(f"mapping '{self.name}': order", list(self.order), "each entry from 0 on once")
        try:
            numbers = [*np.ravel(np.asarray(self.scale, float)), *np.ravel(np.asarray(self.offset, float))]
        except (TypeError, ValueError) as fault:
            raise InputError(f"mapping '{self.name}': scale, offset", [self.scale, self.offset],
                             "a number, or one an entry") from fault  # fmt: skip
        if not np.isfinite(numbers).all() or not np.all(self.scale):
            raise InputError(f"mapping '{self.name}': scale, offset", numbers, "finite numbers, no scale of 0")

    @classmethod
    def from_config(cls, config: Any) -> EnvMapping:
        """From the content of a mapping file; its ``embodiment``, if any, is the content of an embodiment file.

        Raises:
            InputError: a key is missing or unknown, or a value cannot be used.
        """
        if not isinstance(config, Mapping) or not isinstance(config.get("observation"), Mapping):
            raise InputError("mapping", "no 'observation'", "an object with observation: {word: key or entry}")
        if stray := [key for key in config if key not in cls.__dataclass_fields__]:
            raise unknown("mapping", stray[0], cls.__dataclass_fields__)
        words = {}
        for word, entries in config["observation"].items():
            listed = entries if isinstance(entries, list) else [entries]
            words[word] = tuple(map(Source.from_config, listed))
        changed: dict[str, Any] = {"observation": words}
        for key in ("order", "environments"):
            if (listed := config.get(key)) is not None:
                if not isinstance(listed, list | tuple):
                    raise InputError(f"mapping: {key}", repr(listed), "a list")
                changed[key] = tuple(listed)
        if isinstance(config.get("embodiment"), Mapping):
            changed["embodiment"] = Embodiment.from_config(config["embodiment"])
        return cls(**{**config, **changed})

    def words(self, obs: Any, *, batched: bool = False) -> dict[str, Any]:
        """An observation of one environment, or of a vector environment where `batched`, in the policy's words.

        Raises:
            InputError: a key that is missing.
        """
        said = {}
        for word, sources in self.observation.items():
            if not all(has(obs, key) for source in sources if source.optional for key in source.keys):
                continue
            parts = [source.read(obs, batched=batched) for source in sources]
            said[word] = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        return said

    def to_env(self, action: np.ndarray) -> np.ndarray:
        """The environment's (..., A) action for the policy's."""
        action = np.asarray(action, np.float64)
        ordered = action if self.order is None else action[..., list(self.order)]
        return ordered * np.asarray(self.scale) + np.asarray(self.offset)

    def from_env(self, action: np.ndarray) -> np.ndarray:
        """The policy's (..., A) action for the environment's."""
        plain = (np.asarray(action, np.float64) - np.asarray(self.offset)) / np.asarray(self.scale)
        return plain if self.order is None else plain[..., np.argsort(self.order)]

    def bounds(self, action_space: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """The (A,) limits of the policy's actions, None where there are none."""
        if not self.limits:
            return None
        ends = self.from_env(np.stack([action_space.low, action_space.high]))
        return ends.min(0), ends.max(0)

    def check(self, observation_space: Any, action_space: Any) -> None:
        """Hold the mapping against the spaces of one environment.

        Raises:
            InputError: a key the environment lacks, actions that are no vector, or widths that do not fit the robot.
        """
        where = f"mapping '{self.name}'"
        for sources in self.observation.values():
            for source in sources:
                for key in () if source.optional else source.keys:
                    entry(_open(observation_space), key)
        if len(getattr(action_space, "shape", None) or ()) != 1:
            raise InputError(where, f"actions {action_space}", "a Box of one axis")
        count = action_space.shape[0]
        if self.order is not None and len(self.order) != count:
            raise InputError(f"{where}: order", f"{len(self.order)} entries", f"{count}, the environment's actions")
        for what, value in (("scale", self.scale), ("offset", self.offset)):
            if np.ndim(value) and len(np.ravel(value)) != count:
                raise InputError(f"{where}: {what}", f"{len(np.ravel(value))} entries", f"1 or {count}")
        wanted = None if self.embodiment is None else sum(part.width for part in self.embodiment.action)
        if self.embodiment is not None and wanted != count:
            raise InputError(where, f"{count} actions of the environment", f"{wanted}, as '{self.embodiment.name}' has")


def _open(space: Any) -> Any:
    """A space, Dict spaces as plain mappings."""
    inside = getattr(space, "spaces", None)
    return {key: _open(part) for key, part in inside.items()} if isinstance(inside, Mapping) else space
