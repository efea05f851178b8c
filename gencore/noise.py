"""Keyed randomness: a draw depends on the sample's seed and on what it is for, never on batch, rank or device.

An argument called `noise` is always such a source; a drawn tensor is called `eps`.  The key is hashed with blake2b
to 128 bits, which key a Philox4x64 counter generator (Salmon et al. 2011) on the host.  Normals come from the raw
words by a float64 Box-Muller transform, so a recipe does not depend on NumPy's unversioned distributions, and a
longer draw starts with the shorter one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from gencore.errors import InputError

Kind = Literal["normal", "uniform", "exponential"]


class Noise(Protocol):
    """A source of draws, one stream per sample."""

    @property
    def count(self) -> int:
        """B, the number of samples."""
        ...

    def draw(self, kind: Kind, key: tuple[str | int, ...], shape: tuple[int, ...]) -> Tensor:
        """A (B, *shape) tensor for purpose `key`, for instance ``("step", 3)``; the same key gives the same values.

        Exponentials are float64 whatever the source's dtype: categorical draws by ``argmax p / e`` lose the tail of
        the distribution in float32.
        """
        ...


def _words(seed: int, key: tuple[str | int, ...], count: int) -> np.ndarray:
    digest = blake2b("/".join(map(str, (seed, *key))).encode(), digest_size=16).digest()
    return np.random.Philox(key=int.from_bytes(digest, "little")).random_raw(count)


def uniforms(seed: int, key: tuple[str | int, ...], count: int) -> np.ndarray:
    """`count` float64 uniforms in the open interval (0, 1) of one stream."""
    return ((_words(seed, key, count) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normals(seed: int, key: tuple[str | int, ...], count: int) -> np.ndarray:
    """`count` float64 standard normals of one stream; a longer draw starts with the shorter one."""
    u = uniforms(seed, key, count + count % 2).reshape(-1, 2)
    radius, angle = np.sqrt(-2.0 * np.log(u[:, 0])), 2.0 * np.pi * u[:, 1]
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1).reshape(-1)[:count]


def exponentials(seed: int, key: tuple[str | int, ...], count: int) -> np.ndarray:
    """`count` float64 standard exponentials of one stream, all above 0."""
    return -np.log(uniforms(seed, key, count))


_STREAMS = {"normal": normals, "uniform": uniforms, "exponential": exponentials}


def permutation(seed: int, key: tuple[str | int, ...], count: int) -> np.ndarray:
    """An int64 permutation of ``range(count)`` of one stream."""
    return np.argsort(_words(seed, key, count), kind="stable")


class Keyed:
    """One stream per sample, keyed by that sample's seed.

    Args:
        seeds: the seed of each sample; any Python integer.
        prefix: put before every key, for instance ``("train", step)``.
        device: where draws are copied to.  The bytes are the same on every device.
        dtype: dtype of the draws, exponentials excepted.

    >>> alone, batch = Keyed([8]), Keyed([7, 8, 9])
    >>> torch.equal(alone.draw("normal", ("init",), (3,))[0], batch.draw("normal", ("init",), (3,))[1])
    True
    """

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        prefix: tuple[str | int, ...] = (),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.seeds, self.prefix, self.device, self.dtype = tuple(seeds), prefix, device, dtype

    def draw(self, kind: Kind, key: tuple[str | int, ...], shape: tuple[int, ...]) -> Tensor:
        rows = [_STREAMS[kind](seed, (*self.prefix, *key), math.prod(shape)) for seed in self.seeds]
        dtype = torch.float64 if kind == "exponential" else self.dtype
        return torch.from_numpy(np.stack(rows)).reshape(-1, *shape).to(self.device, dtype)

    @property
    def count(self) -> int:
        return len(self.seeds)


class Recorded:
    """Draws replayed in call order, for golden vectors recorded from a reference implementation.

    Args:
        draws: (K, B, ...) or a sequence of (B, ...) tensors, the k-th answers the k-th call of whatever kind.
    """

    def __init__(self, draws: Sequence[Tensor] | Tensor) -> None:
        self._draws = iter(draws)
        self.count = len(draws[0]) if len(draws) else 0

    def draw(self, kind: Kind, key: tuple[str | int, ...], shape: tuple[int, ...]) -> Tensor:
        eps = next(self._draws, None)
        if eps is None:
            raise InputError("noise", f"a draw for {key}", "no more than were recorded")
        if tuple(eps.shape[1:]) != tuple(shape):
            raise InputError("noise", f"recorded shape {tuple(eps.shape[1:])} for {key}", f"{tuple(shape)}")
        return eps


def seeds_for(seed: int | Sequence[int], count: int) -> tuple[int, ...]:
    """The seed of each of `count` samples: ``seed + i``, or the given list itself.

    >>> seeds_for(7, 3)
    (7, 8, 9)
    """
    if isinstance(seed, int):
        return tuple(seed + i for i in range(count))
    if len(seed) != count:
        raise InputError("seed", f"{len(seed)} seeds for {count} samples", "one integer, or one seed a sample")
    return tuple(int(s) for s in seed)
