"""What compilation and fewer bits buy: every variant of this project's forward against diffusers' eager float32.

Weights are frozen (`torch._inductor.config.freezing`): constants to the compiler, which packs them once.
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

CASES = [("DiT-S/2", 1), ("DiT-B/2", 4)]
GOAL = 0.75
_COMPILED = ("float32 compiled", "float32 compiled and frozen", "bfloat16 weights, compiled and frozen")
_EAGER = ("bfloat16 weights", "bfloat16 autocast", "int8 linears in the blocks")


@torch.no_grad()
def measure(quick: bool) -> dict[str, Any]:
    """Ratios and errors by shape and variant; those in float32 must agree, the others report how far they are off.

    Raises:
        Unequal: a float32 variant does not compute the same.
    """
    rows: dict[str, Any] = {}
    for size, batch in [("tiny", 2)] if quick else CASES:
        pipe, theirs = build(size)
        query = Query.random(size, batch)
        peers = peer_call(theirs, query)
        wanted = peers()
        for variant in _EAGER if quick else (*_COMPILED, *_EAGER):
            call = _variant(variant, pipe, query)
            started = time.perf_counter()
            got = call()
            first = time.perf_counter() - started
            exact = variant.startswith("float32")
            found = require_equal(got, wanted, f"{variant} {size}") if exact else error(got, wanted)
            compared = interleave(call, peers, 2 if quick else 5)
            goal = {"goal": GOAL} if "frozen" in variant else {}
            rows[f"{size} batch {batch}, {variant}"] = {
                "error": found, "first_call_seconds": first, **goal, **compared.row(),
            }  # fmt: skip
            print(f"{variant}, {size} batch {batch}: {compared}, error {found:.1e}, first call {first:.0f} s", flush=True)
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
        net.compile()
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
