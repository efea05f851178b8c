"""What an action network reads by cross attention: tokens of an encoder, a phrase of a list, or small pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencore.condition import Port
from gencore.errors import InputError, unknown
from gencore_robot.backbones.adaptors import adaptor
from gencore_robot.backbones.tables import grid_table


class EncodedTokens(nn.Module):
    """Tokens (B, N, dims) of a frozen encoder, or one token (B, 1, dims) of low-dimensional state, plus positions.

    Args:
        width: of the network.
        dims: of a token.
        length: most tokens.
        adaptor: see `gencore_robot.backbones.adaptors`.
        grid: how the table starts (`grid_table`); tokens on several axes must be complete.  None is one axis.

    Raises:
        InputError: a grid of another length.
    """

    def __init__(self, width: int, *, dims: int, length: int, adaptor: str = "mlp2x_gelu",
                 grid: Sequence[int] | None = None) -> None:  # fmt: skip
        super().__init__()
        table = grid_table((length,) if grid is None else grid, width)
        if len(table) != length:
            raise InputError("grid", f"{list(grid or ())} of {len(table)} tokens", f"{length} tokens")
        self.exact = grid is not None and len(grid) > 1
        self.adaptor = _adaptor(adaptor, dims, width)
        self.positions = nn.Parameter(table[None])
        self.port = Port("cross_attention", dims)

    def forward(self, value: Tensor) -> Tensor:
        n, length = value.shape[1], self.positions.shape[1]
        if n > length or (self.exact and n < length):
            raise InputError("tokens", n, f"{length}" if self.exact else f"at most {length}")
        return self.adaptor(value.to(self.positions.dtype)) + self.positions[:, :n]


class Phrases(nn.Module):
    """The number of a phrase, (B,) int64 in 0..rows-1, as one learned token; the row after the last is the null."""

    def __init__(self, width: int, *, rows: int) -> None:
        super().__init__()
        self.table = nn.Embedding(rows + 1, width)
        self.port = Port("cross_attention", rows, torch.tensor(rows))
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, value: Tensor) -> Tensor:
        return self.table(value)[:, None]


class Pictures(nn.Module):
    """Pictures (B, V, 3, H, W) in [0, 1] as V * cells^2 tokens by three strided convolutions, trained with the network.

    Args:
        width: of the network.
        views: V, frames times cameras.
        cells: tokens along each side of a picture.
        channels: of the first convolution; each next one has twice as many.
    """

    def __init__(self, width: int, *, views: int, cells: int = 4, channels: int = 16) -> None:
        super().__init__()
        self.views, self.cells = views, cells
        sizes = [3, channels, 2 * channels, 4 * channels]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(sizes))
        self.proj = nn.Linear(sizes[-1], width)
        self.positions = nn.Parameter(grid_table((views, cells, cells), width)[None])
        # The mean colour of nothing: a missing view is black, and the network learns what that means.
        self.port = Port("cross_attention", 3, torch.zeros(1))

    def forward(self, value: Tensor) -> Tensor:
        if value.ndim != 5 or value.shape[1] != self.views or value.shape[2] != 3:
            raise InputError("pictures", f"shape {tuple(value.shape)}", f"(B, {self.views}, 3, H, W)")
        x = value.to(self.proj.weight.dtype).flatten(0, 1)
        for layer in self.layers:
            x = F.silu(layer(x))
        x = F.adaptive_avg_pool2d(x, self.cells).flatten(2).transpose(1, 2)
        return self.proj(x).reshape(len(value), -1, self.positions.shape[2]) + self.positions


KINDS: dict[str, type[nn.Module]] = {"tokens": EncodedTokens, "phrases": Phrases, "pictures": Pictures}
_adaptor = adaptor


def build_stream(name: str, settings: Mapping[str, Any], width: int) -> nn.Module:
    """The embedding of one stream.

    Args:
        settings: ``{"kind": "tokens" | "phrases" | "pictures", **arguments}``, "tokens" where no kind is said.

    Raises:
        InputError: an unknown kind, or arguments it does not take.
    """
    arguments = dict(settings)
    kind = arguments.pop("kind", "tokens")
    if kind not in KINDS:
        raise unknown(f"stream '{name}'", kind, KINDS)
    try:
        return KINDS[kind](width, **arguments)
    except TypeError as fault:
        raise InputError(f"stream '{name}'", f"{kind} with {', '.join(arguments) or 'nothing'}", str(fault)) from None
