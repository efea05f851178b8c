"""Networks: `forward` is all a backbone must have; a trunk also shows its blocks, so that others may act on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from gencore.condition import Conditions, Port
from gencore.context import Context
from gencore.stream import Hidden, Mod


@dataclass(slots=True)
class Output:
    """What a network call returns.

    Args:
        pred: (B, C * channels, ...) as the backbone's `prediction` says.
        aux: named auxiliary tensors (router tables, masks); not losses.
        taps: streams after the blocks asked for by `Context.tap_at`.
    """

    pred: Tensor
    aux: dict[str, Tensor] = field(default_factory=dict)
    taps: dict[int, Hidden] = field(default_factory=dict)


class Reading(Protocol):
    """What a network's output means: `gencore.denoised.Prediction`, or of tokens
    `gencore.categorical.TokenPrediction`."""

    @property
    def kind(self) -> Any: ...

    def split(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """The part of an output that guidance combines, and the rest."""
        ...

    def read(self, output: Tensor, x_t: Tensor, process: Any, t: Tensor) -> Any:
        """The output for state `x_t` at times `t` as a prediction."""
        ...


class Backbone(nn.Module, ABC):
    """A network that predicts from a noisy state.

    Attributes:
        prediction: what its output means.
        ports: the conditions it accepts, by name.
        time_axes: latent axes along which it accepts a time of its own; () for one time a sample.
    """

    prediction: Reading
    ports: Mapping[str, Port]
    time_axes: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
        """Predict.

        Args:
            x_t: (B, C, ...) noisy state.
            t: what the process's `model_time` gives, (B,) or broadcasting against `x_t`.
            cond: one value for every port.
            ctx: the call's context.
        """

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """JSON arguments that build an equal network."""


class Block(nn.Module, ABC):
    """A residual block over streams."""

    @abstractmethod
    def forward(self, h: Hidden, mod: Mod, ctx: Context) -> Hidden: ...


class Trunk(Backbone):
    """A backbone that is ``embed -> blocks -> head``."""

    blocks: nn.ModuleList

    @abstractmethod
    def embed(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> tuple[Hidden, Mod]:
        """Streams and modulation from the state, its time and the conditions."""

    @abstractmethod
    def head(self, h: Hidden, mod: Mod, ctx: Context) -> Tensor:
        """The prediction from the last streams."""

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
        h, mod = self.embed(x_t, t, cond, ctx)
        h = run_blocks(self.blocks, h, mod, ctx)
        return Output(self.head(h, mod, ctx), taps=ctx.taps)


def run_blocks(blocks: Sequence[Block] | nn.ModuleList, h: Hidden, mod: Mod, ctx: Context, start: int = 0,
               stop: int | None = None, name: str = "blocks") -> Hidden:  # fmt: skip
    """The only block loop: ranks own ranges of it, interceptors run, replace or skip ranges of it.

    With an interceptor attached a block's eager `forward` runs, so that its compiled whole (see `nn.Module.compile`)
    is not traced again with the interceptor inside.

    Args:
        name: of the stack, where a network has several: the sites of block i are ``{name}.{i}.{kind}``.
    """
    stop = len(blocks) if stop is None else stop
    if ctx.stop_after is not None:
        stop = min(stop, ctx.stop_after + 1)
    if ctx.interceptor is None:
        return _loop(blocks, h, mod, ctx, start, stop)

    def run(h: Hidden, start: int, stop: int) -> Hidden:
        return _loop(blocks, h, mod, ctx, start, stop, name)

    ctx.path, ctx.depth = f"{name}.", len(blocks)
    h = ctx.interceptor.span(ctx, run, h, start, max(start, stop))
    ctx.path = ""
    return h


def _loop(blocks: Sequence[Block] | nn.ModuleList, h: Hidden, mod: Mod, ctx: Context, start: int, stop: int,
          name: str = "") -> Hidden:  # fmt: skip
    for i in range(start, stop):
        if i in ctx.skip:
            continue
        if ctx.interceptor is None:
            h = blocks[i](h, mod, ctx)
        else:
            ctx.path = f"{name}.{i}."
            h = blocks[i].forward(h, mod, ctx)
            ctx.path = f"{name}."
        if i in ctx.tap_at:
            ctx.taps[i] = h
    return h
