"""Rotary position embeddings (arXiv:2104.09864) over sequences and grids of any rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from einops import rearrange
from rotary_embedding_torch import apply_rotary_emb
from torch import Tensor, nn

from gencore.errors import InputError

Layout = Literal["interleaved", "half"]


class Rope(nn.Module):
    """Rotates pairs of features by angles proportional to a token's coordinates; a `gencore.attend.Rotary`.

    Each axis owns a run of features, in axis order, and turns its pair i of m by ``position * theta**(-i / m)``;
    features beyond the last run stay as they are.  Nothing enters the state dict unless frequencies are learned.

    Args:
        head_dim: features D of a head.
        axes: features per axis (even), or the number of axes, which then share D evenly.
        theta: base of the frequencies.
        layout: which features of a run pair up: neighbours ("interleaved"), or i with m + i ("half", as in GPT-NeoX).
        learned_freq: train the frequencies, stored as `freqs`.

    Raises:
        InputError: `axes` does not fit `head_dim`, or `layout` is not one of the two.
    """

    freqs: Tensor

    def __init__(
        self,
        head_dim: int,
        axes: int | Sequence[int] = 1,
        *,
        theta: float = 10000.0,
        layout: Layout = "interleaved",
        learned_freq: bool = False,
    ) -> None:
        super().__init__()
        runs = (2 * (head_dim // (2 * max(axes, 1))),) * axes if isinstance(axes, int) else tuple(axes)
        if not runs or any(d < 2 or d % 2 for d in runs) or sum(runs) > head_dim:
            raise InputError("axes", axes, f"even numbers of features, {head_dim} in total at most")
        if layout not in ("interleaved", "half"):
            raise InputError("layout", repr(layout), "interleaved, half")
        self.runs, self.rest, self.theta, self.layout = runs, head_dim - sum(runs), theta, layout
        if learned_freq:
            self.freqs = nn.Parameter(self._frequencies(torch.float32))
        else:
            self.register_buffer("freqs", self._frequencies(torch.float32), persistent=False)

    def _frequencies(self, dtype: torch.dtype) -> Tensor:
        # The library's own are rounded to float32 and undefined for two features.
        return torch.tensor([self.theta ** (-i / d) for d in self.runs for i in range(0, d, 2)], dtype=dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        super()._apply(fn, recurse)
        if not isinstance(self.freqs, nn.Parameter):
            # Half-precision weights must not round the angles, and a buffer outside the state dict has no other
            # source of values when a model is built without storage.
            dtype = torch.promote_types(self.freqs.dtype, torch.float32)
            self.freqs = self._frequencies(dtype).to(self.freqs.device)
        return self

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        """`x` rotated to its tokens' coordinates.

        Args:
            x: (B, H, N, D) queries or keys.
            pos: (N, A) or (B, N, A) coordinates, any real numbers.

        Returns:
            (B, H, N, D) in x's dtype; angles are float64 in a float64 module and float32 in any other.

        Raises:
            InputError: `x` or `pos` has another shape.
        """
        if pos.shape[-2:] != (x.shape[2], len(self.runs)) or pos.ndim not in (2, 3):
            raise InputError(
                "positions", f"shape {tuple(pos.shape)}", f"({x.shape[2]}, {len(self.runs)}), batched or not"
            )
        exact = torch.promote_types(x.dtype, torch.float32)
        pos, freqs = pos.to(exact), self.freqs.to(exact).split([d // 2 for d in self.runs])
        angles = torch.cat([pos[..., a : a + 1] * f for a, f in enumerate(freqs)], dim=-1)
        angles = angles.repeat_interleave(2, dim=-1)
        angles = angles[:, None] if pos.ndim == 3 else angles[None, None]
        if self.layout == "interleaved":
            return apply_rotary_emb(angles, x)
        return self._reorder(apply_rotary_emb(angles, self._reorder(x, "(two m) -> (m two)")), "(m two) -> (two m)")

    def _reorder(self, x: Tensor, pattern: str) -> Tensor:
        before, after = pattern.split(" -> ")
        runs = x.split([*self.runs, self.rest], dim=-1)
        moved = [rearrange(run, f"... {before} -> ... {after}", two=2) for run in runs[:-1]]
        return torch.cat([*moved, runs[-1]], dim=-1)


def grid_positions(grid: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """(N, A) float32 coordinates of a grid's tokens in row-major order.

    >>> grid_positions((2, 2)).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    axes = torch.meshgrid(*(torch.arange(n, device=device, dtype=torch.float32) for n in grid), indexing="ij")
    return torch.stack(axes, dim=-1).flatten(0, -2)
