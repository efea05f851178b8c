"""A video transformer and a plain PyTorch reading of it: one forward of the same weights, and memory over frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from pairs import interleave
from peer import require_equal
from torch import Tensor, nn
from video_peer import PlainVDT

from gencore.context import Context
from gencore.nn.init import seeded
from gencore_video.backbone import SIZES, VDT

CASES = [("s", 2, (8, 32, 32)), ("s", 2, (16, 32, 32)), ("discs", 8, (16, 32, 32))]
SHAPES: dict[str, dict[str, Any]] = {
    **SIZES,
    "discs": {"width": 192, "depth": 4, "heads": 6},
    "tiny": {"width": 32, "depth": 2, "heads": 2},
}
LENGTHS, FEW = (8, 16, 32), (2, 4, 8)


def measure(quick: bool) -> dict[str, Any]:
    """Rows ``VDT-S/2 16x32x32`` of times, whose ratio should be at most 1, and of peaks; ``memory`` by frames.

    Raises:
        Unequal: the two networks do not compute the same.
    """
    rows: dict[str, Any] = {}
    for size, patch, shape in [("tiny", 2, (3, 8, 12))] if quick else CASES:
        name = f"VDT-{size.upper()}/{patch} {'x'.join(map(str, shape))}"
        rows[name] = _forward(name, _network(size, patch), shape, 2 if quick else 7)
    rows["memory"] = _memory(_network("tiny" if quick else "s", 2), FEW if quick else LENGTHS, 8 if quick else 16)
    return rows


def _network(size: str, patch: int) -> VDT:
    """Random weights, none of them zero, so that every layer acts on the result."""
    with seeded(0), torch.no_grad():
        net = VDT(4, patch, **SHAPES[size])
        for tensor in net.parameters():
            if not bool(tensor.any()):
                nn.init.normal_(tensor, std=0.02)
    return net.eval()


@torch.no_grad()
def _forward(name: str, net: VDT, shape: tuple[int, int, int], pairs: int) -> dict[str, Any]:
    theirs, t = PlainVDT(net, shape), torch.tensor([500.0])
    x = torch.randn(1, 4, *shape, generator=torch.Generator().manual_seed(0))

    def ours() -> Tensor:
        return net(x, t, {}, Context()).pred

    def plain() -> Tensor:
        return theirs(x, t)

    difference = require_equal(ours(), plain(), f"forward of {name}")
    compared, peak, peer_peak = interleave(ours, plain, pairs), traced(ours).peak, traced(plain).peak
    print(
        f"forward {name}: {compared}, error {difference:.1e}; peak {peak / 1e6:.4g} against {peer_peak / 1e6:.4g} MB",
        flush=True,
    )
    return {"error": difference, "goal": 1.0, "peak": peak, "peer_peak": peer_peak, **compared.row()}


def _memory(net: VDT, lengths: tuple[int, ...], side: int) -> dict[str, Any]:
    """Bytes by number of frames, each of which is twice the one before; ``growth`` is the last over the last but one.

    ``forward`` is the peak without gradients, ``kept`` what a forward leaves alive for the backward pass, and
    ``step`` the peak of both; the ``_recomputed`` ones are those of a network whose blocks are recomputed.
    """
    rows: dict[str, Any] = {}
    for frames in lengths:
        x = torch.zeros(1, 4, frames, side, side)

        def forward(x: Tensor = x) -> Tensor:
            return net(x, torch.zeros(1), {}, Context()).pred

        with torch.no_grad():
            row = {"forward": traced(forward).peak}
        for recomputed in (False, True):
            net.checkpointing = recomputed
            ending = "_recomputed" * recomputed
            row[f"kept{ending}"] = traced(forward).left
            row[f"step{ending}"] = traced(lambda: _gradients(net, forward())).peak
        net.checkpointing = False
        rows[str(frames)] = row
        print(f"{frames} frames: {', '.join(f'{k} {v / 1e6:.4g} MB' for k, v in row.items())}", flush=True)
    last, before = rows[str(lengths[-1])], rows[str(lengths[-2])]
    rows["growth"] = {name: last[name] / before[name] for name in last}
    print(f"twice the frames: {', '.join(f'{k} {v:.3f}x' for k, v in rows['growth'].items())}", flush=True)
    return rows


def _gradients(net: VDT, out: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(out.sum(), list(net.parameters()))


class Traced(NamedTuple):
    """Bytes allocated by a call and not yet freed: the most at any time, and those left while its result is held."""

    peak: int
    left: int


def traced(call: Callable[[], object]) -> Traced:
    """What the CPU allocator is asked for during `call`, after one that fills tables and caches.

    >>> traced(lambda: torch.ones(1000) + torch.ones(1000)).left
    4000
    """
    from torch.profiler import ProfilerActivity, profile

    call()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        held = call()
    events = cast(Any, prof.profiler).kineto_results.events()
    alive = most = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        alive += event.nbytes()
        most = max(most, alive)
    del held
    return Traced(most, alive)
