"""Networks: `forward` is all a backbone must have; a trunk also shows its blocks, so that others may act on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from gencore.condition import Conditions, Port
from gencore.context import Context
from gencore.denoised import Prediction
from gencore.stream import Hidden, Mod


@dataclass(slots=True)
class Output:
    """What a network call returns.

    Args:
        pred: (B, C * channels, ...) as the backbone's `Prediction` says.
        aux: named auxiliary tensors (router tables, masks); not losses.
        taps: streams after the blocks asked for by `Context.tap_at`.
    """

    pred: Tensor
    aux: dict[str, Tensor] = field(default_factory=dict)
    taps: dict[int, Hidden] = field(default_factory=dict)


class Backbone(nn.Module, ABC):
    """A network that predicts from a noisy state.

    Attributes:
        prediction: what its output means.
        ports: the conditions it accepts, by name.
        time_axes: latent axes along which it accepts a time of its own; () for one time a sample.
    """

    prediction: Prediction
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
               stop: int | None = None) -> Hidden:  # fmt: skip
    """The only block loop: ranks own ranges of it, interceptors claim ranges of it.

    With an interceptor attached a block's eager `forward` runs, so that its compiled whole (see `nn.Module.compile`)
    is not traced again with the interceptor inside.
    """
    stop = len(blocks) if stop is None else stop
    if ctx.stop_after is not None:
        stop = min(stop, ctx.stop_after + 1)
    i = start
    while i < stop:
        if i in ctx.skip:
            i += 1
            continue
        block = blocks[i]
        if ctx.interceptor is None:
            h = block(h, mod, ctx)
        else:
            ctx.path = f"blocks.{i}."
            claimed = ctx.interceptor.claim(i, h, ctx)
            if claimed is not None:
                i, h = claimed
                continue
            h = block.forward(h, mod, ctx)
        if i in ctx.tap_at:
            ctx.taps[i] = h
        i += 1
    ctx.path = ""
    return h
