"""The work of the block loop, counted: what a cache saves, whatever the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gencore.context import Context, Interceptor, Run
from gencore.stream import Hidden


class BlockFlops(Interceptor):
    """Counts the floating-point operations of the blocks: matrix products, convolutions and attention.

    Attach it last, so that it sees what the caches before it let through.

    Args:
        total: counted so far, over all runs it was attached to.
    """

    def __init__(self) -> None:
        self.total = 0

    def span(self, ctx: Context, run: Run, h: Hidden, start: int, stop: int) -> Hidden:
        with _Counter() as counter:
            h = run(h, start, stop)
        self.total += counter.total
        return h


class _Counter(TorchDispatchMode):
    """`torch.utils.flop_counter.FlopCounterMode` without its tree of modules, which costs more than small blocks do."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:  # fmt: skip
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        count: Callable[..., int] | None = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **kwargs, out_val=out)
        return out
