"""Where one word of a policy comes from in an observation.

value = (observation[key][..., start:stop] - offset) / scale
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gencore.errors import InputError, unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One entry of a mapping file.

    Args:
        key: of a Dict observation, ``outer/inner`` in nested ones; empty for the whole of a Box observation.
        start, stop: which of the last axis; None for the ends.
        scale, offset: see above; one number, or one a value.
        choices: the text that each value of a Discrete entry stands for.
        text: always said, in place of a key.
        views: keys of camera pictures (H, W, 3) uint8, stacked to (views, 3, H, W), in place of a key.
        optional: nothing is said where the observation has no such key.

    >>> Source(key="a", start=1).read({"a": np.array([[1.0, 2.0, 3.0]])}, batched=True).tolist()
    [[2.0, 3.0]]
    """

    key: str = ""
    start: int | None = None
    stop: int | None = None
    scale: float | Sequence[float] = 1.0
    offset: float | Sequence[float] = 0.0
    choices: tuple[str, ...] = ()
    text: str = ""
    views: tuple[str, ...] = ()
    optional: bool = False

    def __post_init__(self) -> None:
        if sum(map(bool, (self.key, self.text, self.views))) > 1:
            raise InputError("mapping entry", f"key '{self.key}', text '{self.text}', views {list(self.views)}",
                             "one of them")  # fmt: skip
        numbers = np.concatenate([np.ravel(np.asarray(v, np.float64)) for v in (self.scale, self.offset)])
        if not np.isfinite(numbers).all() or not np.all(self.scale):
            raise InputError("mapping entry: scale, offset", numbers.tolist(), "finite numbers, no scale of 0")

    @classmethod
    def from_config(cls, config: Any) -> Source:
        """From an entry of a mapping file; a string is its key."""
        if isinstance(config, str):
            config = {"key": config}
        if not isinstance(config, Mapping):
            raise InputError("mapping entry", config, "a key, or an object")
        if stray := [key for key in config if key not in cls.__dataclass_fields__]:
            raise unknown("mapping entry", stray[0], cls.__dataclass_fields__)
        lists = {key: tuple(config[key]) for key in ("choices", "views") if key in config}
        return cls(**{**config, **lists})

    def config(self) -> dict[str, Any]:
        """JSON that `from_config` reads, without what is as it would be anyway."""
        plain = type(self)()
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if value != getattr(plain, key)
        }

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys it needs of an observation."""
        return self.views or (() if self.text else (self.key,))

    def read(self, obs: Any, *, batched: bool) -> Any:
        """Its value in an observation: an array with the batch axis first where `batched`, or text, one a row.

        Raises:
            InputError: a key that is missing, or a choice that does not exist.
        """
        if self.text:
            return [self.text] * _rows(obs) if batched else self.text
        if self.views:
            frames = [np.asarray(entry(obs, view)) for view in self.views]
            if len(sizes := {frame.shape for frame in frames}) > 1:
                raise InputError("mapping entry: views", " and ".join(map(str, sorted(sizes))), "pictures of one size")
            return np.moveaxis(np.stack(frames, axis=1 if batched else 0), -1, -3)
        value = np.asarray(entry(obs, self.key))
        if self.choices:
            said = [self._choice(int(v)) for v in np.atleast_1d(value)]
            return said if batched else said[0]
        if value.ndim == int(batched):
            value = value[..., None]
        value = value[..., self.start : self.stop]
        if np.all(np.asarray(self.scale) == 1.0) and not np.any(self.offset):
            return value
        return (value - np.asarray(self.offset)) / np.asarray(self.scale)

    def _choice(self, index: int) -> str:
        if not 0 <= index < len(self.choices):
            raise InputError(self.key, index, f"0..{len(self.choices) - 1}")
        return self.choices[index]


def entry(obs: Any, key: str) -> Any:
    """What an observation, or its space, has under a key.

    Raises:
        InputError: no such key; the text names those there are.
    """
    if not key:
        if isinstance(obs, Mapping):
            raise InputError("observation", f"entries {_names(obs)}", "a mapping that names one with key")
        return obs
    for part in key.split("/"):
        if not isinstance(obs, Mapping) or part not in obs:
            there = _names(obs) if isinstance(obs, Mapping) else "one array without keys"
            raise InputError("observation", f"no '{key}'", f"what the environment offers: {there}")
        obs = obs[part]
    return obs


def has(obs: Any, key: str) -> bool:
    """Whether `entry` would find it."""
    try:
        entry(obs, key)
    except InputError:
        return False
    return True


def _names(obs: Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in obs)


def _rows(obs: Any) -> int:
    while isinstance(obs, Mapping):
        obs = next(iter(obs.values()))
    return len(obs)
