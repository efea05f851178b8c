"""Patterns over a plain sequence: padding, causality, packed segments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.patterns.base import Groups, Pattern, grouped, require_positions


@dataclass(frozen=True, slots=True)
class Causal(Pattern):
    """Each position sees itself and everything before it."""

    by_order: ClassVar[bool] = True

    def check(self, queries: int, keys: int) -> None:
        require_positions("Causal", keys, queries, keys)

    def sees(self, b: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return k <= q


@dataclass(frozen=True, slots=True, eq=False)
class KeyMask(Pattern):
    """Some keys are seen by every query, the others (padding) by none.

    Args:
        seen: (B, Nk) or (1, Nk) bool, True where a key is seen.
    """

    seen: Tensor

    def __post_init__(self) -> None:
        if self.seen.dtype != torch.bool or self.seen.ndim != 2:
            given = f"{self.seen.dtype} of shape {tuple(self.seen.shape)}"
            raise InputError("mask", given, "bool of shape (B, Nk), True where a key is seen")

    def samples(self) -> int | None:
        return self.seen.shape[0] if self.seen.shape[0] > 1 else None

    def check(self, queries: int, keys: int) -> None:
        if self.seen.shape[1] != keys:
            raise InputError("mask", f"{self.seen.shape[1]} entries for {keys} keys", "one entry a key")

    def sees(self, b: Tensor, q: Tensor, k: Tensor) -> Tensor:
        seen = self.seen.to(k.device)
        return seen[0][k] if seen.shape[0] == 1 else seen[b, k]


@dataclass(frozen=True, slots=True, eq=False)
class Segments(Pattern):
    """Each position sees those of its own segment, of packed sequences for instance.

    Args:
        ids: (N,) or (B, N) integers, equal within a segment.
    """

    ids: Tensor
    size: int = field(init=False, repr=False)
    """Length of every segment when ids (N,) hold contiguous segments of one length, else 0."""

    def __post_init__(self) -> None:
        size = 0
        # Looking at the values would break a graph being compiled.
        if self.ids.ndim == 1 and not torch.compiler.is_compiling():
            runs, lengths = torch.unique_consecutive(self.ids, return_counts=True)
            if len(runs.unique()) == len(runs) and len(lengths.unique()) == 1:
                size = int(lengths[0])
        object.__setattr__(self, "size", size)

    def samples(self) -> int | None:
        return self.ids.shape[0] if self.ids.ndim == 2 else None

    def check(self, queries: int, keys: int) -> None:
        require_positions("Segments", self.ids.shape[-1], queries, keys)

    def sees(self, b: Tensor, q: Tensor, k: Tensor) -> Tensor:
        ids = self.ids.to(k.device)
        return ids[q] == ids[k] if ids.ndim == 1 else ids[b, q] == ids[b, k]

    def regroup(self, queries: int, keys: int) -> Groups | None:
        self.check(queries, keys)
        if not self.size or queries != keys:
            return None
        return grouped("g n", "g", "n", {"n": self.size, "g": keys // self.size})
