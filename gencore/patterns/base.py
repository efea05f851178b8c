"""What every attention pattern offers, full attention, and the intersection of patterns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from gencore.errors import InputError


class Groups(NamedTuple):
    """Independent attentions: `split` (B, H, N, D) -> (B', H, N', D), its inverse, and the pattern inside each group.

    Groups keep the order of their tokens.
    """

    split: Callable[[Tensor], Tensor]
    merge: Callable[[Tensor], Tensor]
    inner: Pattern


Slices = list[tuple[slice, tuple[slice, ...]]]
"""(queries, keys) pairs: those queries see exactly those ranges of keys.  The pairs list every query once, in order."""


class Pattern:
    """Which keys each query sees."""

    __slots__ = ()

    by_order: ClassVar[bool] = False
    """Whether only the order of two positions counts: such a pattern holds inside any groups that keep the order."""

    def sees(self, b: Tensor, q: Tensor, k: Tensor) -> Tensor:
        """bool, broadcastable to b, q and k together: whether position q of sample b sees key k.

        Args:
            b, q, k: integers that broadcast against each other; `q` counts key positions.
        """
        raise NotImplementedError

    def check(self, queries: int, keys: int) -> None:
        """Raise InputError unless the pattern is defined for Nq queries and Nk keys."""

    def samples(self) -> int | None:
        """B where samples differ, None where one mask serves every sample."""
        return None

    def parts(self) -> tuple[Pattern, ...]:
        """The patterns whose intersection this is; none for `Full`."""
        return (self,)

    def mask(self, queries: int, keys: int, device: torch.device | str = "cpu") -> Tensor | None:
        """(Nq, Nk) or (B, Nq, Nk) bool, True where the query sees the key; None when every query sees every key.

        Raises:
            InputError: the pattern is not defined for these counts.
        """
        self.check(queries, keys)
        samples = self.samples()
        b, q, k = (torch.arange(n, device=device) for n in (samples or 1, queries, keys))
        allowed = self.sees(b[:, None, None], q[:, None] + (keys - queries), k)
        allowed = allowed.expand(samples or 1, queries, keys)
        return allowed[0] if samples is None else allowed

    def regroup(self, queries: int, keys: int) -> Groups | None:
        """The same attention as independent groups of equal size, or None."""
        return None

    def slices(self, queries: int, keys: int) -> Slices | None:
        """The same attention as full attentions over ranges of keys, or None."""
        return None

    def __and__(self, other: Pattern) -> Pattern:
        return intersection((*self.parts(), *other.parts()))


@dataclass(frozen=True, slots=True)
class Full(Pattern):
    """Every query sees every key."""

    def parts(self) -> tuple[Pattern, ...]:
        return ()

    def sees(self, b: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return k == k

    def mask(self, queries: int, keys: int, device: torch.device | str = "cpu") -> Tensor | None:
        return None


@dataclass(frozen=True, slots=True)
class Intersection(Pattern):
    """What every one of `terms` allows."""

    terms: tuple[Pattern, ...]

    def parts(self) -> tuple[Pattern, ...]:
        return self.terms

    def samples(self) -> int | None:
        return next((n for term in self.terms if (n := term.samples()) is not None), None)

    def check(self, queries: int, keys: int) -> None:
        for term in self.terms:
            term.check(queries, keys)

    def sees(self, b: Tensor, q: Tensor, k: Tensor) -> Tensor:
        allowed = self.terms[0].sees(b, q, k)
        for term in self.terms[1:]:
            allowed = allowed & term.sees(b, q, k)
        return allowed

    def regroup(self, queries: int, keys: int) -> Groups | None:
        ordered = [term for term in self.terms if term.by_order]
        others = [term for term in self.terms if not term.by_order]
        groups = others[0].regroup(queries, keys) if len(others) == 1 else None
        return groups and groups._replace(inner=intersection((*groups.inner.parts(), *ordered)))


def intersection(parts: Sequence[Pattern]) -> Pattern:
    """The pattern that allows what all `parts` allow; `Full` when there are none."""
    return Intersection(tuple(parts)) if len(parts) > 1 else parts[0] if parts else Full()


def require_positions(pattern: str, positions: int, queries: int, keys: int) -> None:
    """Raise InputError unless the keys are all `positions` and the queries are the last of them."""
    if keys != positions or queries > keys:
        given = f"{pattern} for {queries} queries and {keys} keys"
        raise InputError("pattern", given, f"{positions} keys and no more queries than that")


def grouped(flat: str, apart: str, along: str, sizes: dict[str, int]) -> Groups:
    """Groups by einops axes: N is `flat`, one group for each index of `apart`, its tokens run over `along`."""
    whole, split = f"b h ({flat}) d", f"(b {apart}) h ({along}) d"

    def to_groups(x: Tensor) -> Tensor:
        return rearrange(x, f"{whole} -> {split}", **sizes)

    def to_whole(x: Tensor) -> Tensor:
        return rearrange(x, f"{split} -> {whole}", **sizes)

    return Groups(to_groups, to_whole, Full())
