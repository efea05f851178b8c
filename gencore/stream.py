"""What flows between blocks: named streams of tokens (or grids), and the modulation they share."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Stream(NamedTuple):
    """One stream of hidden states.

    Args:
        x: (B, N, D) tokens, or (B, D, *grid) for convolutional blocks.
        grid: sizes of the token grid, row-major in N; empty when tokens have no grid (text).
        pos: (N, A) or (B, N, A) coordinates for rotary embeddings, A axes; None when blocks need none.
        mask: (B, N) True where a token counts; None when all do.
    """

    x: Tensor
    grid: tuple[int, ...] = ()
    pos: Tensor | None = None
    mask: Tensor | None = None


Hidden = dict[str, Stream]
"""All streams by name.  A second tower, a self-condition, a skip or a text prompt are just streams."""


class Mod(NamedTuple):
    """What modulates blocks, kept apart so that a block may use time without the condition.

    Args:
        t: network time, (B, M) with M = 1 or N tokens.
        t_emb: (B, M, D) embedding of `t`.
        c: (B, M, D) sum of `t_emb` and the modulation conditions.
    """

    t: Tensor
    t_emb: Tensor
    c: Tensor
