"""One forward of the same weights, here and in diffusers, both eager."""

from __future__ import annotations

from typing import Any

import torch
from pairs import interleave
from peer import Query, build, our_call, peer_call, require_equal

CASES = [("DiT-S/2", 1), ("DiT-S/2", 4), ("DiT-B/2", 1), ("DiT-B/2", 4)]


@torch.no_grad()
def measure(quick: bool) -> dict[str, Any]:
    """Ratios by shape and batch, ``{"DiT-S/2 batch 1": ...}``; the goal is at most 1.

    Raises:
        Unequal: the two networks do not compute the same.
    """
    rows: dict[str, Any] = {}
    for size, batch in [("tiny", 1), ("tiny", 2)] if quick else CASES:
        pipe, theirs = build(size)
        query = Query.random(size, batch)
        ours, peers = our_call(pipe.backbone, query), peer_call(theirs, query)
        difference = require_equal(ours(), peers(), f"forward of {size}")
        compared = interleave(ours, peers, 2 if quick else 9 if batch == 1 else 7)
        rows[f"{size} batch {batch}"] = {"error": difference, "goal": 1.0, **compared.row()}
        print(f"forward {size} batch {batch}: {compared}, error {difference:.1e}", flush=True)
    return rows
