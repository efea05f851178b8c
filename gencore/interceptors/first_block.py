"""First-block gate: skip all other blocks while the first one adds nearly what it added before (FBCache, TeaCache).

With h the input of the stack, h_1 its state after the first block and h_L after the last, and a computed call p:

    skip if |(h_1 - h) - (h_1 - h at p)|_1 < threshold |h_1 - h at p|_1,    then   h_L = h_1 + (h_L - h_1 at p)

The gate is read for every sample and guidance branch by itself, so that no sample depends on its batch.  Blocks are
skipped where all rows of the batch agree; else all rows compute, and those that would have skipped still take the
skipped value.  Small batches therefore save the most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gencore.context import Context, Interceptor, Run
from gencore.errors import InputError
from gencore.interceptors.memory import Store, distance, entries, keys, renewed, report
from gencore.interceptors.polynomial import Fit
from gencore.interceptors.schedules import whole
from gencore.sampler import Sampler
from gencore.stream import Hidden

FIRST, REST = "first ", "rest "


class FirstBlock(Interceptor):
    """Reuses what the blocks after the first one add.

    Args:
        threshold: relative change of the first block's contribution below which it is reused; 0 changes nothing.
        warmup: first steps, all computed.
        after: from this step on all are computed.

    Raises:
        InputError: a value out of range.
    """

    def __init__(self, threshold: float = 0.05, *, warmup: int = 1, after: int | None = None) -> None:
        if isinstance(threshold, str) or not threshold >= 0:
            raise InputError("threshold", threshold, "0 or more, as 0.05")
        self.threshold, self.warmup = float(threshold), whole("warmup", warmup, 0)
        self.after = None if after is None else whole("after", after, 0)
        self.tag = f"first-block#{id(self):x}"

    def span(self, ctx: Context, run: Run, h: Hidden, start: int, stop: int) -> Hidden:
        if start > 0 or stop < 2:
            return run(h, start, stop)
        first = run(h, 0, 1)
        like = {name: stream.x for name, stream in h.items()}
        added = {FIRST + name: s.x - like[name] for name, s in first.items() if s.x is not like.get(name)}
        found = entries(ctx, "first-block", self.tag, like)
        kept = None if found is None else {
            name: torch.cat([entry.fits[name].terms[0] for entry in found]) for name in found[0].fits}  # fmt: skip
        alike = torch.zeros(len(next(iter(added.values()))), dtype=torch.bool)
        late = self.after is not None and ctx.info.i >= self.after
        if kept is not None and ctx.info.i >= self.warmup and not late:
            alike = self._alike(added, kept).cpu()
        if found is not None and kept is not None and bool(alike.all()):
            for entry in found:
                entry.answered += 1
            return self._skipped(first, kept)
        out = run(first, 1, stop)
        rest = {REST + name: s.x - first[name].x for name, s in out.items() if s.x is not first[name].x}
        if kept is not None and bool(alike.any()):
            skipped = self._skipped(first, kept)
            out = {name: s._replace(x=_pick(alike, skipped[name].x, s.x)) for name, s in out.items()}
            added, rest = ({name: _pick(alike, kept[name], x) for name, x in part.items()} for part in (added, rest))
        self._learn(ctx, like, {**added, **rest})
        return out

    def _alike(self, added: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> Tensor:
        """(rows,) bool."""
        change = sum((x - kept[name]).abs().flatten(1).sum(1) for name, x in added.items())
        return torch.as_tensor(change < self.threshold * sum(kept[name].abs().flatten(1).sum(1) for name in added))

    def _skipped(self, first: Hidden, kept: Mapping[str, Tensor]) -> Hidden:
        rest = {name.removeprefix(REST): x for name, x in kept.items() if name.startswith(REST)}
        return first | {name: first[name]._replace(x=first[name].x + x) for name, x in rest.items()}

    def _learn(self, ctx: Context, like: Mapping[str, Tensor], value: Mapping[str, Tensor]) -> None:
        parts = {name: x.detach().chunk(len(ctx.lanes)) for name, x in value.items()}
        for lane, key in enumerate(keys(ctx, "first-block", self.tag)):
            entry = ctx.store[key] = renewed(ctx.store.get(key), ctx, like)
            for name, part in parts.items():
                if name in entry.fits and name.startswith(REST):
                    entry.misses.append(distance(entry.fits[name].terms[0][:1], part[lane][:1]))
                entry.fits[name] = Fit((part[lane],), (ctx.info.i,), part[lane].dtype)
            entry.steps.append(ctx.info.index)

    def report(self, store: Store, sampler: Sampler | None = None) -> dict[str, Any]:
        return report(store, self.tag, sampler)

    def config(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "warmup": self.warmup, "after": self.after}


def _pick(rows: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(rows.to(no.device).reshape(-1, *(1,) * (no.ndim - 1)), yes, no)
