"""What users and datasets hold, as checked batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gencore.errors import InputError


def batched(field: str, value: Any, shape: Sequence[int | None], count: int | None = None) -> Tensor:
    """`value` as float32 (B, *shape), finite; one sample may come without B, and is repeated to `count`.

    >>> batched("state", [1, 2], (2,), 3).shape
    torch.Size([3, 2])

    Args:
        shape: the sizes after B, None for any.
        count: B, where it is known.

    Raises:
        InputError: another shape or count, values that are no numbers, NaN or infinity.
    """
    try:
        x = torch.as_tensor(value).to(torch.float32)
    except (TypeError, ValueError, RuntimeError) as fault:
        raise InputError(field, type(value).__name__, "numbers", str(fault).splitlines()[0]) from None
    given = tuple(x.shape)
    if x.ndim == len(shape):
        x = x[None]
    fits = x.ndim == len(shape) + 1 and all(n in (None, m) for n, m in zip(shape, x.shape[1:], strict=True))
    if not fits or not len(x):
        accepted = ", ".join("N" if n is None else str(n) for n in ("B", *shape))
        raise InputError(field, f"shape {given}", f"({accepted})")
    if bad := int((~torch.isfinite(x)).sum()):
        raise InputError(field, f"{bad} of {x.numel()} values not finite", "finite numbers")
    return repeated(field, x, count)


def repeated(field: str, x: Tensor, count: int | None) -> Tensor:
    """(B, ...) `x`, or its one row `count` times.

    Raises:
        InputError: several rows, but not `count`.
    """
    if count is None or len(x) == count:
        return x
    if len(x) > 1:
        raise InputError(field, f"{len(x)} samples", f"{count}, or one for all")
    return x.expand(count, *x.shape[1:])
