"""Delta-DiT: skip a range of blocks and add what it added at the last computed step (arXiv:2406.01125).

For a range R of blocks with input h:

    computed step:  delta = h_out(R) - h_in(R)          skipped step:  h_out = h_in + delta

so that the new state still flows through.  Early steps draw the outline, which front blocks make: the rear blocks are
skipped before step b, the front blocks from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from gencore.context import Context, Interceptor, Run
from gencore.errors import InputError, unknown
from gencore.interceptors.cache import Cache
from gencore.interceptors.memory import Store
from gencore.interceptors.polynomial import Polynomial
from gencore.interceptors.schedules import Every, Listed, items
from gencore.sampler import Sampler
from gencore.stream import Hidden


class DeltaDiT(Interceptor):
    """Caches ranges of blocks.

    >>> DeltaDiT(interval=3).config()["blocks"]
    0.75

    Args:
        interval: N, computed steps are those it divides; 1 changes nothing; 2 if no `steps` are given.
        switch: b, the first step that skips front blocks; below 1 a share of the run's steps.
        blocks: N_c, blocks in a range; below 1 a share of the stack, rounded.
        keep: "both" keeps the deltas of the rear and the front range at every computed step, so that the switch is
            free; "one" keeps that of the current range, half the memory, and computes step b as well.
        order: 0 repeats the delta; above, it is forecast as in TaylorSeer.
        residual: False repeats the range's output instead (plain feature caching, for comparison).
        steps: the computed steps themselves, rising, instead of an interval.

    Raises:
        InputError: a value out of range.
    """

    def __init__(self, interval: int | None = None, switch: float = 0.6, blocks: float = 0.75, *,
                 keep: Literal["both", "one"] = "both", order: int = 0, residual: bool = True,
                 steps: int | Sequence[int] | None = None) -> None:  # fmt: skip
        if keep not in ("both", "one"):
            raise unknown("keep", keep, ("both", "one"))
        for field, value, least in (("switch", switch, 0), ("blocks", blocks, 0.01)):
            if isinstance(value, bool) or value < least or (value > 1 and value != int(value)):
                raise InputError(field, value, "a whole number, or a share below 1")
        if steps is not None and interval is not None:
            raise InputError("steps", "a list with an interval", "one of them")
        interval = 2 if interval is None and steps is None else interval
        self._config: dict[str, Any] = {
            "interval": interval, "switch": switch, "blocks": blocks, "keep": keep, "order": order,
            "residual": residual, "steps": None if steps is None else list(items(steps)),
        }  # fmt: skip
        plan = Listed(items(steps)) if interval is None else Every(interval)
        self.switch, self.blocks, self.keep, self.residual = switch, blocks, keep, residual
        self.cache = Cache("delta-dit", plan, Polynomial(order))

    def span(self, ctx: Context, run: Run, h: Hidden, start: int, stop: int) -> Hidden:
        count = min(_count(self.blocks, ctx.depth), ctx.depth)
        front, rear = (start, min(count, stop)), (max(ctx.depth - count, start), stop)
        now = rear if ctx.info.i < _count(self.switch, ctx.info.n) else front
        if now[0] >= now[1]:
            return run(h, start, stop)
        ranges = [r for r in dict.fromkeys((front, rear) if self.keep == "both" else (now,)) if r[0] < r[1]]
        at = {start: h}
        for cut in sorted({stop, *(edge for r in ranges for edge in r)}):
            if (here := max(at)) < cut:
                at[cut] = run(at[here], here, cut)
            if cut == now[0] and (found := self.cache.ready(ctx, _name(now), _tensors(at[cut]))) is not None:
                return run(self._skipped(at[cut], self.cache.answer(ctx, found)), now[1], stop)
        for r in ranges:
            self._learn(ctx, r, at[r[0]], at[r[1]])
        return at[stop]

    def _skipped(self, h: Hidden, kept: dict[str, Tensor]) -> Hidden:
        return h | {name: h[name]._replace(x=h[name].x + x if self.residual else x) for name, x in kept.items()}

    def _learn(self, ctx: Context, span: tuple[int, int], before: Hidden, after: Hidden) -> None:
        if before.keys() != after.keys():
            raise InputError("interceptors", "delta-dit on blocks that add streams", "blocks that keep their streams")
        moved = {k: (after[k].x, before[k].x) for k in before if after[k].x is not before[k].x}
        value = {k: new - old if self.residual else new for k, (new, old) in moved.items()}
        self.cache.learn(ctx, _name(span), _tensors(before), value)

    def report(self, store: Store, sampler: Sampler | None = None) -> dict[str, Any]:
        return self.cache.report(store, sampler)

    def config(self) -> dict[str, Any]:
        return self._config


def _count(value: float, total: int) -> int:
    """`value` itself, or below 1 that share of `total`."""
    return round(value * total) if value < 1 else int(value)


def _name(span: tuple[int, int]) -> str:
    return f"{span[0]}-{span[1]}"


def _tensors(h: Hidden) -> dict[str, Tensor]:
    return {name: stream.x for name, stream in h.items()}
