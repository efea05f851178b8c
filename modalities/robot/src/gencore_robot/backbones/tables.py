"""What RDT's position tables hold before training (arXiv:2410.07864); afterwards they are ordinary parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.nn.embed import sincos_1d


def sequence_table(horizon: int, width: int) -> Tensor:
    """(horizon + 3, width) float32 for the tokens [time, control frequency, state, actions].

    The first half of the features is the sin-cos of the modality 0..3, the second that of the place inside it.

    >>> sequence_table(4, 8).shape
    torch.Size([7, 8])

    Raises:
        InputError: a width that is not a multiple of 4.
    """
    if width % 4:
        raise InputError("width", width, "a multiple of 4")
    kind = torch.tensor([0, 1, 2, *[3] * horizon])
    place = torch.tensor([0, 0, 0, *range(horizon)])
    return torch.cat([sincos_1d(kind, width // 2), sincos_1d(place, width // 2)], dim=1).float()


def grid_table(grid: Sequence[int], width: int) -> Tensor:
    """(N, width) float32 of a row-major grid of N tokens; `width` is divided over the axes longer than 1, in order.

    >>> images = grid_table((2, 3, -4), 8)
    >>> images.shape, torch.equal(images[0], images[3]), torch.equal(images[0], images[4])
    (torch.Size([24, 8]), True, False)

    Args:
        grid: sizes of the axes, the first slowest; -n repeats an axis n times without telling its places apart.

    Raises:
        InputError: an axis of 0, or a width that the axes cannot share.
    """
    told = [axis for axis, n in enumerate(grid) if n > 1]
    if not grid or 0 in grid:
        raise InputError("grid", list(grid), "sizes above 0, or below 0 for axes that are only repeated")
    if width % (2 * max(1, len(told))):
        raise InputError("width", width, f"a multiple of {2 * len(told)} for a grid of {len(told)} axes")
    sizes = [abs(n) for n in grid]
    if not told:
        return sincos_1d(torch.zeros(math.prod(sizes)), width).float()
    parts = []
    for axis in told:
        features = sincos_1d(torch.arange(sizes[axis]), width // len(told))
        shape = [1] * len(sizes)
        shape[axis] = sizes[axis]
        parts.append(features.reshape(*shape, -1).expand(*sizes, -1))
    return torch.cat(parts, dim=-1).flatten(0, -2).float()
