"""TaylorSeer: forecast the outputs of sub-layers instead of computing them (arXiv:2503.06923).

At a computed step each site keeps its output and order finite differences (`gencore.interceptors.polynomial`); at the
others the output is the polynomial's value.  A block still computes its modulation from the current time, so that
x + gate * forecast has a fresh gate.

Schedules, with step i counted from noise: "official" computes ``i < warmup`` and then every `interval`-th step counted
from the last of these, and forms no difference before step ``warmup - 1``; "diffusers" computes ``i < warmup``, then
``warmup + 1`` and every `interval`-th step counted from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import Tensor

from gencore.context import Context, Interceptor, Run
from gencore.errors import InputError, unknown
from gencore.interceptors.cache import Abscissa, Cache
from gencore.interceptors.memory import Store
from gencore.interceptors.polynomial import Basis, Polynomial
from gencore.interceptors.schedules import Every, Listed, items, whole
from gencore.interceptors.sites import Sites
from gencore.sampler import Sampler
from gencore.stream import Hidden


class TaylorSeer(Interceptor):
    """Caches by forecast.

    >>> cache = TaylorSeer(interval=4, order=1)
    >>> [i for i in range(12) if cache.cache.schedule.full(i)]
    [0, 1, 5, 9]

    Args:
        interval: steps from one computed step to the next, 1 or more (1 changes nothing); 4 if no `steps` are given.
        order: of the forecast; 0 repeats the last output.  Orders above 1 rarely help and cost memory.
        warmup: first steps, all computed, 1 or more: 2 for DiT, 3 for FLUX and diffusers.
        schedule: "official" or "diffusers".
        after: from this step on all are computed.
        steps: the computed steps themselves, rising, instead of an interval.
        sites: kinds or names of sub-layers (see `Sites`); None: all sub-layers of blocks.
        abscissa: "step", or "time" for the process's own, which is truer on warped grids.
        basis: "taylor", or "newton", which is exact for polynomials at any spacing.
        lite: forecast only the streams after the last block, and run none: a memory of one site.
        dtype: name of the dtype the memory is kept in, as "bfloat16"; None keeps the features'.

    Raises:
        InputError: a value out of range, or settings that exclude each other.
    """

    def __init__(self, interval: int | None = None, order: int = 1, *, warmup: int = 2,
                 schedule: Literal["official", "diffusers"] = "official", after: int | None = None,
                 steps: int | Sequence[int] | None = None, sites: str | Sequence[str] | None = None,
                 abscissa: Abscissa = "step", basis: Basis = "taylor", lite: bool = False,
                 dtype: str | None = None) -> None:  # fmt: skip
        if schedule not in ("official", "diffusers"):
            raise unknown("schedule", schedule, ("official", "diffusers"))
        if steps is not None and (interval is not None or after is not None or schedule != "official"):
            raise InputError("steps", "a list with an interval, an end or a schedule", "one of them")
        if lite and sites is not None:
            raise InputError("sites", sites, "none with lite, which has one of its own")
        official = schedule == "official"
        interval = 4 if interval is None and steps is None else interval
        self._config: dict[str, Any] = {
            "interval": interval, "order": order, "warmup": whole("warmup", warmup, 1), "schedule": schedule,
            "after": after, "steps": None if steps is None else list(items(steps)),
            "sites": None if sites is None else list(items(sites)), "abscissa": abscissa, "basis": basis,
            "lite": lite, "dtype": dtype,
        }  # fmt: skip
        plan = Listed(items(steps)) if interval is None else Every(
            interval, warmup, warmup - 1 if official else warmup + 1, after)  # fmt: skip
        self.cache = Cache("taylorseer", plan, Polynomial(order, basis, dtype), abscissa=abscissa,
                           slopes_from=warmup - 1 if official else 0)  # fmt: skip
        self.sites, self.lite = Sites(sites), lite

    def around(self, ctx: Context, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        if self.lite or not self.sites.has(ctx, kind, self.cache.tag):
            return fn(x, *rest)
        if (found := self.cache.ready(ctx, kind, {"x": x})) is not None:
            return self.cache.answer(ctx, found)["y"]
        out = fn(x, *rest)
        self.cache.learn(ctx, kind, {"x": x}, {"y": out})
        return out

    def span(self, ctx: Context, run: Run, h: Hidden, start: int, stop: int) -> Hidden:
        if not self.lite:
            return run(h, start, stop)
        like, kind = {name: stream.x for name, stream in h.items()}, f"{start}-{stop}"
        if (found := self.cache.ready(ctx, kind, like)) is not None:
            return h | {name: h[name]._replace(x=x) for name, x in self.cache.answer(ctx, found).items()}
        out = run(h, start, stop)
        self.cache.learn(ctx, kind, like, {name: s.x for name, s in out.items() if s.x is not like.get(name)})
        return out

    def report(self, store: Store, sampler: Sampler | None = None) -> dict[str, Any]:
        return self.cache.report(store, sampler)

    def config(self) -> dict[str, Any]:
        return self._config
