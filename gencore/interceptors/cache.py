"""Schedule x predictor: the part that every cache by forecast shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from gencore.context import Context
from gencore.errors import InputError, unknown
from gencore.interceptors.memory import Entry, Features, Store, began, distance, entries, keys, renewed, report
from gencore.interceptors.polynomial import Place, Polynomial
from gencore.interceptors.schedules import Schedule
from gencore.sampler import Sampler

Abscissa = Literal["step", "time"]


class Cache:
    """Answers a site from its earlier values, or says that it must be computed.

    A site computes at the steps of the schedule, and wherever it has nothing to answer from: no earlier value in this
    trajectory, branch and stage; one of another shape; or one from before a computed step that it missed.

    Args:
        name: of the interceptor, for its reports.
        schedule: which steps compute.
        predictor: of the others.
        abscissa: what the predictor counts in: "step", or "time" (one time a sample).
        slopes_from: the first step at which differences are formed; computed steps before it leave their value only.

    Raises:
        InputError: an unknown abscissa.
    """

    def __init__(self, name: str, schedule: Schedule, predictor: Polynomial, *, abscissa: Abscissa = "step",
                 slopes_from: int = 0) -> None:  # fmt: skip
        if abscissa not in ("step", "time"):
            raise unknown("abscissa", abscissa, ("step", "time"))
        self.schedule, self.predictor, self.abscissa, self.slopes_from = schedule, predictor, abscissa, slopes_from
        self.tag = f"{name}#{id(self):x}"

    def ready(self, ctx: Context, kind: str, like: Features) -> list[Entry] | None:
        """What answers this call, one entry for every lane; None if it must be computed.

        Args:
            like: inputs of the site, whose shapes must stay what they were.

        Raises:
            InputError: as `gencore.interceptors.memory.entries`.
        """
        found = entries(ctx, kind, self.tag, like)
        if found is None:
            return None
        oldest = min(entry.steps[-1] for entry in found) - began(ctx)
        return None if any(map(self.schedule.full, range(oldest + 1, ctx.info.i + 1))) else found

    def answer(self, ctx: Context, found: Sequence[Entry]) -> dict[str, Tensor]:
        """The forecast features, in the order of the lanes."""
        s, first = self._place(ctx), found[0]
        for entry in found:
            entry.answered += 1
        if len(found) == 1:
            return {name: self.predictor.at(fit, s) for name, fit in first.fits.items()}
        answers = {}
        for name, fit in first.fits.items():
            rows, *rest = fit.terms[0].shape
            answers[name] = fit.terms[0].new_empty((len(found) * rows, *rest), dtype=fit.dtype)
            for entry, part in zip(found, answers[name].chunk(len(found)), strict=True):
                self.predictor.at(entry.fits[name], s, part)
        return answers

    def learn(self, ctx: Context, kind: str, like: Features, value: Features) -> None:
        """Keep what was computed."""
        s, i, n = self._place(ctx), ctx.info.i, len(ctx.lanes)
        parts = {name: x.detach().chunk(n) for name, x in value.items()}
        for lane, key in enumerate(keys(ctx, kind, self.tag)):
            entry = ctx.store[key] = renewed(ctx.store.get(key), ctx, like)
            for name, part in parts.items():
                old = entry.fits.get(name)
                # One branch tells how far off answers were, and only where there were any: small sums cost time too.
                if old is not None and lane == 0 and ctx.info.index > entry.steps[-1] + 1:
                    entry.misses.append(distance(self.predictor.at(old.row(), _row(s)), part[lane][:1]))
                entry.fits[name] = self.predictor.grow(old if i >= self.slopes_from else None, part[lane], s)
            entry.steps.append(ctx.info.index)

    def report(self, store: Store, sampler: Sampler | None) -> dict[str, Any]:
        """See `gencore.interceptors.memory.report`."""
        return report(store, self.tag, sampler)

    def _place(self, ctx: Context) -> Place:
        if self.abscissa == "step":
            return ctx.info.i
        if ctx.t is None or ctx.t.numel() != len(ctx.t):
            raise InputError("abscissa", "time, where samples have several", "step", "or one time a sample")
        return ctx.t.flatten().to(torch.float64)


def _row(s: Place) -> Place:
    return s if isinstance(s, int) else s[:1]
