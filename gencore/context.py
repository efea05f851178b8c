"""The per-call context: where in the run a network call stands, and who listens to its sub-layers.

Every sub-layer of every block runs through `Context.site`.  With nothing attached that is a plain call, and a graph
compiled around it stays whole; with an interceptor attached, that one decides whether the sub-layer runs at all.
State lives in `store`, which belongs to the run: two interleaved samplings of one network never share it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from gencore.errors import InputError
from gencore.stream import Hidden

if TYPE_CHECKING:
    from gencore.attend import KV
    from gencore.sampler import Sampler

Run = Callable[[Hidden, int, int], Hidden]
"""Runs a range of blocks, ``run(h, start, stop)``."""


class StepInfo(NamedTuple):
    """Where a network call stands in its run.

    Args:
        i: step within the trajectory, counted from 0.
        n: steps of the trajectory; 0 when a solver chooses its own.
        stage: of the solver, within the step.
        trajectory: which of the run's walks from noise to data this is: windows and blocks have one each
            (`gencore.sampler.State.trajectories`).  What is remembered of one says nothing about the next.
    """

    i: int = 0
    n: int = 0
    stage: str = ""
    trajectory: int = 0

    @property
    def index(self) -> int:
        """The step counted over the whole run.

        >>> StepInfo(2, 10, trajectory=3).index
        32
        """
        return self.trajectory * self.n + self.i


class Interceptor:
    """Base of whatever caches, replaces, predicts, subsets or records sub-layer calls.  Overrides what it needs.

    State goes into ``ctx.store`` under ``ctx.key(kind, branch)``, one entry per guidance branch even when branches
    share a batch (`Context.lanes` names the branch of each equal share of the rows).
    """

    def around(self, ctx: Context, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        """The result of sub-layer `fn(x, *rest)`, by calling it or otherwise."""
        return fn(x, *rest)

    def span(self, ctx: Context, run: Run, h: Hidden, start: int, stop: int) -> Hidden:
        """The streams after blocks `start` to `stop` (exclusive), by ``run(h, a, b)`` on ranges of them or otherwise.

        ``ctx.depth`` blocks make the whole stack; ``ctx.path`` names it.
        """
        return run(h, start, stop)

    def kv(self, kind: str, kv: KV, ctx: Context) -> KV:
        """Keys and values of an attention call, to record, replace, append to or overwrite."""
        return kv

    def report(self, store: Mapping[tuple[str, ...], Any], sampler: Sampler | None = None) -> dict[str, Any]:
        """What it did in the run that left `store`, as JSON; warns where `sampler` broke what it assumes."""
        return {}

    def config(self) -> dict[str, Any]:
        """JSON arguments that build an equal interceptor."""
        return {}


class Chain(Interceptor):
    """Several interceptors as one; the first is the outermost.

    Raises:
        InputError: one object twice, whose two places would share one memory.
    """

    def __init__(self, parts: Sequence[Interceptor]) -> None:
        if len(set(map(id, parts))) < len(parts):
            raise InputError("interceptors", "one object twice", "each once")
        self.parts = tuple(parts)

    def around(self, ctx: Context, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        for part in reversed(self.parts):
            fn = _wrapped(part, ctx, kind, fn)
        return fn(x, *rest)

    def span(self, ctx: Context, run: Run, h: Hidden, start: int, stop: int) -> Hidden:
        return reduce(lambda inner, part: _spanned(part, ctx, inner), reversed(self.parts), run)(h, start, stop)

    def kv(self, kind: str, kv: KV, ctx: Context) -> KV:
        for part in self.parts:
            kv = part.kv(kind, kv, ctx)
        return kv


def _wrapped(part: Interceptor, ctx: Context, kind: str, fn: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, *rest: part.around(ctx, kind, fn, x, *rest)


def _spanned(part: Interceptor, ctx: Context, run: Run) -> Run:
    return lambda h, start, stop: part.span(ctx, run, h, start, stop)


class Context:
    """Handed to every block of one network call.

    Args:
        info: the step this call belongs to.
        t: the process's times of the query, (B,) for each lane or broadcasting against its state; None outside a run.
        interceptor: who listens, or None.
        lanes: guidance branch of each equal share of the batch, in row order.
        request: names the run when several share a network.
        store: the run's state for interceptors.
        tap_at: block indices after which `taps` keeps the streams.
        stop_after: last block to run, for feature extraction.
        skip: block indices to leave out.
        attention: name of the attention back end, empty for the default.
    """

    __slots__ = (
        "attention",
        "depth",
        "info",
        "interceptor",
        "lanes",
        "path",
        "request",
        "skip",
        "stop_after",
        "store",
        "t",
        "tap_at",
        "taps",
    )

    def __init__(
        self,
        info: StepInfo | None = None,
        *,
        t: Tensor | None = None,
        interceptor: Interceptor | None = None,
        lanes: tuple[str, ...] = ("cond",),
        request: str = "",
        store: dict[tuple[str, ...], Any] | None = None,
        tap_at: frozenset[int] = frozenset(),
        stop_after: int | None = None,
        skip: frozenset[int] = frozenset(),
        attention: str = "",
    ) -> None:
        self.info, self.t = StepInfo() if info is None else info, t
        self.interceptor, self.lanes, self.request = interceptor, lanes, request
        self.store = {} if store is None else store
        self.tap_at, self.stop_after, self.skip, self.attention = tap_at, stop_after, skip, attention
        self.path, self.depth = "", 0
        self.taps: dict[int, Hidden] = {}

    def site(self, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        """Run sub-layer `fn(x, *rest)`; `kind` is one of embed, attn, cross, mlp, block, head."""
        if self.interceptor is None:
            return fn(x, *rest)
        return self.interceptor.around(self, kind, fn, x, *rest)

    def key(self, kind: str, branch: str) -> tuple[str, ...]:
        """Where an interceptor keeps its state for this sub-layer and guidance branch."""
        return (self.request, branch, self.info.stage, f"{self.path}{kind}")
