"""How much of the machine's own matrix-multiply peak an eager float32 forward reaches."""

from __future__ import annotations

from typing import Any

import torch
from pairs import interleave
from peer import SHAPES, Query, build, our_call

SIDE = 2048


def flops(width: int, depth: int, tokens: int, batch: int) -> int:
    """Of one DiT forward with patches of 2 and 8 output channels, from its matrix products alone; 2 a multiply-add.

    A block has 12 width^2 weights that act on every token, 6 width^2 that act once a sample, and two products of
    tokens^2 width.
    """
    block = tokens * 12 * width**2 + 6 * width**2 + 2 * tokens**2 * width
    ends = tokens * (16 + 32) * width + (256 + width) * width + 2 * width**2
    return 2 * batch * (depth * block + ends)


@torch.no_grad()
def measure(quick: bool) -> dict[str, Any]:
    """Share of the peak: GFLOP/s of the forward over those of a square float32 product run in the same pair."""
    size, batch, side = ("tiny", 2, 64) if quick else ("DiT-B/2", 4, SIDE)
    width, depth, _, latent = SHAPES[size]
    pipe, _ = build(size)
    a, b = torch.randn(side, side), torch.randn(side, side)
    compared = interleave(our_call(pipe.backbone, Query.random(size, batch)), lambda: a @ b, 2 if quick else 7)
    work, peak_work = flops(width, depth, (latent // 2) ** 2, batch), 2 * side**3
    share = work / peak_work / compared.ratio.median
    reached, peak = work / compared.seconds.median / 1e9, peak_work / compared.peer_seconds.median / 1e9
    low, high = work / peak_work / compared.ratio.high, work / peak_work / compared.ratio.low
    print(f"{size} batch {batch}: {reached:.0f} of {peak:.0f} GFLOP/s, {share:.1%} ({low:.1%}..{high:.1%})", flush=True)
    return {f"{size} batch {batch}": {
        "gflop": work / 1e9, "gflops": reached, "peak_gflops": peak, "share": share, "share_low": low,
        "share_high": high, **compared.row(),
    }}  # fmt: skip
