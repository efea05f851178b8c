"""The work of the block loop, counted: what a cache saves, whatever the machine."""

from __future__ import annotations

from torch.utils.flop_counter import FlopCounterMode

from gencore.context import Context, Interceptor, Run
from gencore.stream import Hidden


class BlockFlops(Interceptor):
    """Counts the floating-point operations of the blocks: matrix products and attention.

    Attach it last, so that it sees what the caches before it let through.

    Args:
        total: counted so far, over all runs it was attached to.
    """

    def __init__(self) -> None:
        self.total = 0

    def span(self, ctx: Context, run: Run, h: Hidden, start: int, stop: int) -> Hidden:
        with FlopCounterMode(display=False) as counter:
            h = run(h, start, stop)
        self.total += counter.get_total_flops()
        return h
