"""Reuse of sub-layer outputs between computed steps (FORA, arXiv:2407.01425): a forecast of order 0.

FORA reuses attention and feed-forward outputs for ``interval - 1`` steps after each computed one; with
``sites="attn"`` and `after` this is the attention broadcast of PAB (arXiv:2408.12588) within a range of steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from gencore.interceptors.taylorseer import TaylorSeer


def reuse(interval: int | None = None, *, warmup: int = 1, after: int | None = None,
          steps: int | Sequence[int] | None = None, sites: str | Sequence[str] | None = None,
          dtype: str | None = None) -> TaylorSeer:  # fmt: skip
    """Compute every `interval`-th step and repeat its outputs until the next.

    >>> [i for i in range(7) if reuse(3).cache.schedule.full(i)]
    [0, 3, 6]

    Args:
        interval: 2 if no `steps` are given.
        warmup, after, steps, sites, dtype: of `TaylorSeer`.

    Raises:
        InputError: a value out of range.
    """
    interval = 2 if interval is None and steps is None else interval
    return TaylorSeer(interval, 0, warmup=warmup, after=after, steps=steps, sites=sites, dtype=dtype)
