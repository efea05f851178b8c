"""What compilation and fewer bits buy: every variant of this project's forward against diffusers' eager float32.

"Frozen" makes the weights constants of the graph (`torch._inductor.config.freezing`), which are packed once.  For a
batch of any size ("any batch", ``compile(dynamic=True)``) packing goes to oneDNN, for a fixed one to MKL.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from pairs import interleave
from peer import Query, build, error, our_call, peer_call, require_equal
from torch import Tensor, nn

from gencore.pipeline import Pipeline

GOAL = 0.75
_REDUCED = ("bfloat16 weights", "bfloat16 autocast", "int8 linears in the blocks")
_HALF = "bfloat16 weights, compiled, frozen"
CASES: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("DiT-S/2", 1, ("compiled", "compiled, frozen, any batch")),
    ("DiT-S/2", 4, ("compiled, frozen, any batch",)),
    ("DiT-B/2", 1, ("compiled, frozen, any batch",)),
    ("DiT-B/2", 4, ("compiled, frozen, any batch", _HALF, *_REDUCED)),
)


@torch.no_grad()
def measure(quick: bool) -> dict[str, Any]:
    """Ratios and errors by shape and variant; those in float32 must agree, the others report how far they are off.

    Raises:
        Unequal: a float32 variant does not compute the same.
    """
    rows: dict[str, Any] = {}
    for size, batch, variants in (("tiny", 2, _REDUCED),) if quick else CASES:
        pipe, theirs = build(size)
        query = Query.random(size, batch)
        peers = peer_call(theirs, query)
        wanted = peers()
        for variant in variants:
            call = _variant(variant, pipe, query)
            started = time.perf_counter()
            got = call()
            first = time.perf_counter() - started
            exact = variant.startswith("compiled")
            found = require_equal(got, wanted, f"{variant} {size}") if exact else error(got, wanted)
            compared = interleave(call, peers, 2 if quick else 5)
            goal = {"goal": GOAL} if "compiled" in variant else {}
            rows[f"{size} batch {batch}: {variant}"] = {
                "error": found, "first_call_seconds": first, **goal, **compared.row(),
            }  # fmt: skip
            print(f"{size} batch {batch}, {variant}: {compared}, error {found:.1e}, first {first:.0f} s", flush=True)
    return rows


def _variant(name: str, pipe: Pipeline, query: Query) -> Callable[[], Tensor]:
    """A forward that starts from nothing compiled."""
    torch._dynamo.reset()
    net = deepcopy(pipe.backbone)
    if name.startswith("bfloat16 weights"):
        net = net.bfloat16()
        query = query._replace(x=query.x.bfloat16())
    if name.startswith("int8"):
        net.blocks = _int8(net.blocks)
    if "compiled" in name:
        net.compile(dynamic=True if "any batch" in name else None)
    call = our_call(net, query)
    if name == "bfloat16 autocast":
        return lambda: _under_autocast(call)
    if "frozen" in name:
        return lambda: _frozen(call)
    return lambda: call().float()


def _int8(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)


def _under_autocast(call: Callable[[], Tensor]) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return call().float()


def _frozen(call: Callable[[], Tensor]) -> Tensor:
    import torch._inductor.config as inductor

    with inductor.patch(freezing=True):
        return call().float()
