"""Given actions of a chunk: a frozen beginning, or any rows of it."""

from __future__ import annotations

import torch
from torch import Tensor

from gencore.errors import InputError


def prefixed(prefix: Tensor, horizon: int, width: int) -> tuple[Tensor, Tensor]:
    """A chunk (B, horizon, A) that begins with `prefix` (B, P, A), and the mask (1, 1, horizon) of what is made.

    Raises:
        InputError: a prefix longer than the chunk, or of another width.
    """
    count, steps, given = prefix.shape
    if given != width:
        raise InputError("prefix", f"{given} numbers an action", f"{width}")
    if steps > horizon:
        raise InputError("prefix", f"{steps} actions", f"at most {horizon}, the horizon")
    rest = prefix[:, -1:].expand(count, horizon - steps, width)
    return torch.cat([prefix, rest], 1), (torch.arange(horizon) >= steps)[None, None]


def filled(known: Tensor, mask: Tensor) -> Tensor:
    """`known` (B, H, A) with every row that is not given as the last given one before it, or else as the first.

    Args:
        mask: (1 or B, 1, H), True where a row is made; where no row is given at all, the first stands for it.

    >>> known = torch.tensor([[[1.0], [2.0], [9.0]]])
    >>> filled(known, torch.tensor([[[True, False, True]]]))[0, :, 0].tolist()
    [2.0, 2.0, 2.0]
    """
    given = ~mask[:, 0].expand(max(len(known), len(mask)), -1)
    steps = torch.arange(given.shape[1])
    last = torch.where(given, steps, -1).cummax(1).values
    first = given.int().argmax(1, keepdim=True)
    index = torch.where(last < 0, first, last)
    return known.expand(len(index), -1, -1).gather(1, index[..., None].expand(-1, -1, known.shape[2]))
