"""Fixed sinusoidal features of times and positions, and patches as tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gencore.errors import InputError


def time_features(t: Tensor, dim: int, max_period: float = 10000.0, shift: int = 0) -> Tensor:
    """[cos(t w_k), sin(t w_k)], w_k = max_period^(-k / (dim/2 - shift)) (arXiv:2112.10741, 2212.09748).

    Args:
        t: network times of any shape; need not be integer.
        dim: even number of features.
        shift: 0, or 1 for networks whose last frequency is exactly 1 / max_period (those of diffusers).

    Returns:
        (*t.shape, dim) float32.
    """
    half = dim // 2
    # Exponents as published, in float32; their exp in float64, because float32 ones differ between processors and a
    # last bit of w_k is a visible angle at t = 999.
    exponents = -math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / (half - shift)
    freqs = exponents.double().exp().float()
    angles = t.float().unsqueeze(-1) * freqs
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    """MLP over `time_features`: Linear - SiLU - Linear."""

    def __init__(self, dim: int, features: int = 256, shift: int = 0) -> None:
        super().__init__()
        self.features, self.shift = features, shift
        self.mlp = nn.Sequential(nn.Linear(features, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(time_features(t, self.features, shift=self.shift).to(next(self.mlp.parameters()).dtype))


def sincos_1d(positions: Tensor, dim: int) -> Tensor:
    """[sin(p om_k), cos(p om_k)], om_k = 10000^(-k / (dim/2)); (N,) -> (N, dim) in float64."""
    omega = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64, device=positions.device) / (dim / 2))
    angles = positions.to(torch.float64)[:, None] * omega
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def sincos_grid(grid: Sequence[int], dim: int, device: torch.device | str = "cpu") -> Tensor:
    """Fixed table of a row-major token grid, (N, dim) float32; the *last* axis takes the first features.

    `dim` is split evenly over the axes, which for an image puts the column coordinate in the first half
    (arXiv:2111.06377, 2212.09748).

    Raises:
        InputError: `dim` is not a multiple of twice the number of axes.
    """
    if dim % (2 * len(grid)):
        raise InputError("width", dim, f"a multiple of {2 * len(grid)} for sin-cos positions on {len(grid)} axes")
    tables = []
    for axis, n in reversed(list(enumerate(grid))):
        features = sincos_1d(torch.arange(n, device=device), dim // len(grid)).float()
        shape = [1] * len(grid)
        shape[axis] = n
        tables.append(features.reshape(*shape, -1).expand(*grid, -1))
    return torch.cat(tables, dim=-1).flatten(0, -2)


def patchify(x: Tensor, patch: Sequence[int]) -> Tensor:
    """(B, C, *size) -> (B, N, C * prod(patch)); within a token channels first, then patch offsets row-major."""
    grid = [n // p for n, p in zip(x.shape[2:], patch, strict=True)]
    r = len(grid)
    split = [n for pair in zip(grid, patch, strict=True) for n in pair]
    x = x.reshape(x.shape[0], x.shape[1], *split)
    order = [0, *(2 + 2 * i for i in range(r)), 1, *(3 + 2 * i for i in range(r))]
    return x.permute(order).reshape(x.shape[0], math.prod(grid), -1)


def unpatchify(tokens: Tensor, grid: Sequence[int], patch: Sequence[int]) -> Tensor:
    """(B, N, prod(patch) * C) -> (B, C, *size); within a token patch offsets first, then channels."""
    r, b = len(grid), tokens.shape[0]
    x = tokens.reshape(b, *grid, *patch, -1)
    order = [0, 2 * r + 1, *(i for pair in zip(range(1, r + 1), range(r + 1, 2 * r + 1), strict=True) for i in pair)]
    return x.permute(order).reshape(b, -1, *(n * p for n, p in zip(grid, patch, strict=True)))


def patch_grid(size: Sequence[int], patch: Sequence[int], axes: Sequence[str]) -> tuple[int, ...]:
    """The token grid of a latent of `size`.

    Raises:
        InputError: an axis the patch does not divide, with the nearest sizes that work.
    """
    for name, n, p in zip(axes, size, patch, strict=True):
        if n % p:
            low, high = n // p * p, (n // p + 1) * p
            near = f"{high}" if low == 0 else f"{low} or {high}"
            raise InputError(f"size of axis '{name}'", n, f"a multiple of the patch {p}", f"nearest: {near}")
    return tuple(n // p for n, p in zip(size, patch, strict=True))


def token_time(t: Tensor, shape: Sequence[int], patch: Sequence[int], axes: Sequence[str], finer: Sequence[str]
               ) -> Tensor:  # fmt: skip
    """The time each token is shown: (B, 1) for one time a sample, else (B, N), the largest of a token's cells.

    >>> token_time(torch.tensor([[0.0, 1.0]]).reshape(1, 1, 2), (1, 3, 2), (1,), ("n",), ("n",))
    tensor([[0., 1.]])

    Args:
        t: (B,), or broadcasting against the state with one channel.
        shape: (B, C, *size) of the state.
        patch: cells of a token along each axis.
        axes: names of the grid axes, and `finer` those along which the network takes a time of its own.

    Raises:
        InputError: times of another shape, or along an axis that is not in `finer`.
    """
    if t.ndim == 1:
        return t[:, None]
    if t.ndim != len(shape) or t.shape[1] != 1:
        raise InputError("time", f"shape {tuple(t.shape)}", f"(B,) or rank {len(shape)} with one channel")
    varying = [a for a, n in zip(axes, t.shape[2:], strict=True) if n > 1]
    if stray := [a for a in varying if a not in finer]:
        raise InputError("time axes", ", ".join(stray), ", ".join(finer) or "one time a sample")
    if not varying:
        return t.reshape(-1, 1)
    return patchify(t.expand(t.shape[0], 1, *shape[2:]), patch).amax(-1)
