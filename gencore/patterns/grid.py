"""Patterns over a row-major grid of tokens of any rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from torch import Tensor

from gencore.errors import InputError
from gencore.patterns.base import Groups, Pattern, grouped, require_positions


@dataclass(frozen=True, slots=True)
class Along(Pattern):
    """Attention along some axes only, as in factorised space-time attention (arXiv:2102.05095).

    Args:
        axes: the axes, in order, along which a query looks; its other coordinates are fixed.
        grid: tokens per axis.
    """

    axes: int | tuple[int, ...]
    grid: tuple[int, ...]

    def __post_init__(self) -> None:
        axes = (self.axes,) if isinstance(self.axes, int) else tuple(self.axes)
        if not axes or not all(0 <= a < len(self.grid) for a in axes):
            raise InputError("axes", self.axes, f"0..{len(self.grid) - 1}")
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "grid", tuple(self.grid))

    def check(self, queries: int, keys: int) -> None:
        require_positions("Along", math.prod(self.grid), queries, keys)

    def _fixed(self) -> list[int]:
        return [a for a in range(len(self.grid)) if a not in self.axes]  # type: ignore[operator]

    def sees(self, b: Tensor, q: Tensor, k: Tensor) -> Tensor:
        at, to = coordinates(q, self.grid), coordinates(k, self.grid)
        return _all([at[a] == to[a] for a in self._fixed()], k)

    def regroup(self, queries: int, keys: int) -> Groups | None:
        self.check(queries, keys)
        fixed = self._fixed()
        sizes = {f"a{i}": n for i, n in enumerate(self.grid)}
        if queries != keys:
            # The queries are the last slices of axis 0: each group holds as many of them only if it runs along it.
            if 0 in fixed or queries % math.prod(self.grid[1:]):
                return None
            del sizes["a0"]
        names = [f"a{i}" for i in range(len(self.grid))]
        apart = " ".join(names[a] for a in fixed)
        return grouped(" ".join(names), apart, " ".join(n for n in names if n not in apart.split()), sizes)


@dataclass(frozen=True, slots=True)
class Tiles(Pattern):
    """Non-overlapping windows (arXiv:2103.14030); those at the far border are smaller where the grid does not divide.

    Args:
        size: tokens of a tile per axis.
        grid: tokens per axis.
    """

    size: tuple[int, ...]
    grid: tuple[int, ...]

    def __post_init__(self) -> None:
        _settle(self, "size", least=1)

    def check(self, queries: int, keys: int) -> None:
        require_positions("Tiles", math.prod(self.grid), queries, keys)

    def sees(self, b: Tensor, q: Tensor, k: Tensor) -> Tensor:
        at, to = coordinates(q, self.grid), coordinates(k, self.grid)
        return _all([i // s == j // s for i, j, s in zip(at, to, self.size, strict=True)], k)

    def regroup(self, queries: int, keys: int) -> Groups | None:
        self.check(queries, keys)
        if queries != keys or any(n % s for n, s in zip(self.grid, self.size, strict=True)):
            return None
        sizes = {f"s{i}": s for i, s in enumerate(self.size)}
        sizes |= {f"t{i}": n // s for i, (n, s) in enumerate(zip(self.grid, self.size, strict=True))}
        tiles, inside, both = (
            " ".join(form.format(i) for i in range(len(self.grid))) for form in ("t{0}", "s{0}", "t{0} s{0}")
        )
        return grouped(both, tiles, inside, sizes)


@dataclass(frozen=True, slots=True)
class Window(Pattern):
    """The neighbourhood of each query, cut (not shifted inwards) at the border of the grid.

    Args:
        radius: how far a query sees in either direction, per axis; 0 sees its own coordinate only.
        grid: tokens per axis.
    """

    radius: tuple[int, ...]
    grid: tuple[int, ...]

    def __post_init__(self) -> None:
        _settle(self, "radius", least=0)

    def check(self, queries: int, keys: int) -> None:
        require_positions("Window", math.prod(self.grid), queries, keys)

    def sees(self, b: Tensor, q: Tensor, k: Tensor) -> Tensor:
        at, to = coordinates(q, self.grid), coordinates(k, self.grid)
        return _all([(i - r <= j) & (j <= i + r) for i, j, r in zip(at, to, self.radius, strict=True)], k)


def coordinates(position: Tensor, grid: Sequence[int]) -> list[Tensor]:
    """Coordinates along each axis of flat row-major positions."""
    strides = [math.prod(grid[axis + 1 :]) for axis in range(len(grid))]
    return [position // stride % size for stride, size in zip(strides, grid, strict=True)]


def _all(conditions: list[Tensor], k: Tensor) -> Tensor:
    return reduce(Tensor.logical_and, conditions, k == k)


def _settle(pattern: Tiles | Window, field: str, least: int) -> None:
    """Make `field` and the grid tuples, so that the pattern is hashable whatever sequences it was given."""
    values, grid = tuple(getattr(pattern, field)), tuple(pattern.grid)
    if len(values) != len(grid) or any(v < least for v in values):
        raise InputError(field, values, f"one integer >= {least} for each axis of the grid {grid}")
    object.__setattr__(pattern, field, values)
    object.__setattr__(pattern, "grid", grid)
