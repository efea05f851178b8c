"""Neighbourhood attention (arXiv:2204.07143) in tiles, each with its own copy of the keys within reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from gencore.attend import keys_as_bias, sdpa
from gencore.errors import InputError
from gencore.patterns import Full, Pattern, Tiles, Window
from gencore.patterns.grid import coordinates


def window(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, key_bias: Tensor | None) -> Tensor:
    """Attention over `Window` patterns whose memory grows with N, not N^2.

    The query grid is cut into tiles of twice the radius and keys and values are gathered with a halo around each, so
    one batched attention over N / T tiles of T queries and at most 3^A T keys does the work.  On one CPU core a
    16 x 16 x 16 grid with radius 2 (4 heads of 32) takes about 40 ms, the default with its dense mask about 400 ms.
    Layers without any pattern but a `KeyMask` (cross attention, global blocks) run as the default does.

    Args:
        q, k, v: (B, H, N, D), N the row-major grid of the window.
        pattern: a `Window`, alone or with a `KeyMask`.
        key_bias: (B, N) added to the scores of each key, or None.

    Returns:
        (B, H, N, D).

    Raises:
        InputError: the pattern is another one, or the queries are not the whole grid.
    """
    pattern, key_bias = keys_as_bias(pattern, key_bias, k)
    if isinstance(pattern, Full):
        return sdpa(q, k, v, pattern, key_bias)
    if not isinstance(pattern, Window):
        given = f"window for {' & '.join(type(part).__name__ for part in pattern.parts())}"
        raise InputError("attention", given, "window handles Window patterns", "leave attention at its default")
    pattern.check(q.shape[2], k.shape[2])
    if q.shape[2] != k.shape[2]:
        raise InputError("attention", f"window for {q.shape[2]} of {k.shape[2]} queries", "queries of the whole grid")
    grid, radius = pattern.grid, pattern.radius
    whole = [r >= n - 1 for n, r in zip(grid, radius, strict=True)]
    tile = tuple(n if sees_all else min(n, 2 * r or 1) for n, r, sees_all in zip(grid, radius, whole, strict=True))
    halo = tuple(0 if sees_all else r for r, sees_all in zip(radius, whole, strict=True))
    padded = tuple(-(-n // t) * t for n, t in zip(grid, tile, strict=True))
    bias = k.new_zeros(1, k.shape[2]) if key_bias is None else key_bias
    bias = _halos(bias.expand(len(k), -1)[:, None, :, None], grid, tile, halo, fill=float("-inf"))[:, 0, :, 0]
    groups = Tiles(tile, padded).regroup(math.prod(padded), math.prod(padded))
    assert groups is not None
    out = groups.merge(
        sdpa(
            groups.split(_pad(q, grid, [(0, p - n) for n, p in zip(grid, padded, strict=True)]).flatten(2, -2)),
            _halos(k, grid, tile, halo),
            _halos(v, grid, tile, halo),
            _Reach(tile, halo, radius),
            bias,
        )
    )
    out = out.unflatten(2, padded)
    for axis, n in enumerate(grid):
        out = out.narrow(2 + axis, 0, n)
    return out.flatten(2, -2)


@dataclass(frozen=True, slots=True)
class _Reach(Pattern):
    """Queries of a tile over the keys of the tile and its halo."""

    tile: tuple[int, ...]
    halo: tuple[int, ...]
    radius: tuple[int, ...]

    def mask(self, queries: int, keys: int, device: torch.device | str = "cpu") -> Tensor:
        at = coordinates(torch.arange(queries, device=device)[:, None], self.tile)
        sizes = [t + 2 * h for t, h in zip(self.tile, self.halo, strict=True)]
        to = coordinates(torch.arange(keys, device=device), sizes)
        near = [(j - h - i).abs() <= r for i, j, h, r in zip(at, to, self.halo, self.radius, strict=True)]
        return reduce(Tensor.logical_and, near)


def _pad(x: Tensor, grid: Sequence[int], margins: Sequence[tuple[int, int]], fill: float = 0.0) -> Tensor:
    """(B, H, N, D) to (B, H, *grid, D) with (before, after) cells added to each axis."""
    flat = [0, 0, *(m for margin in reversed(margins) for m in margin)]
    return F.pad(x.unflatten(2, tuple(grid)), flat, value=fill)


def _halos(x: Tensor, grid: Sequence[int], tile: Sequence[int], halo: Sequence[int], fill: float = 0.0) -> Tensor:
    """(B, H, N, D) to (B * tiles, H, tokens of a tile with its halo, D)."""
    rank = len(grid)
    x = _pad(x, grid, [(h, h + -n % t) for n, t, h in zip(grid, tile, halo, strict=True)], fill)
    for axis in range(rank):
        x = x.unfold(2 + axis, tile[axis] + 2 * halo[axis], tile[axis])
    # (B, H, *tiles, D, *tokens)
    x = x.permute(0, *range(2, 2 + rank), 1, *range(3 + rank, 3 + 2 * rank), 2 + rank)
    return x.flatten(2 + rank, 1 + 2 * rank).flatten(0, rank)
