"""Block after block from left to right, each by another sampler (arXiv:2406.07524, section 4.2; 2502.09992).

The network always sees the whole sequence; tokens of later blocks are masks.  Blocks of one token under a causal
network, whose logits at a position depend on the tokens before it, are autoregressive sampling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from gencore import components
from gencore.errors import InputError
from gencore.noise import Kind, Noise
from gencore.process import AbsorbingProcess
from gencore.sampler import Sampler, State, Steps
from gencore.samplers.masked import MaskedAncestral


class _OfBlock:
    """Draws of one block."""

    def __init__(self, noise: Noise, block: int) -> None:
        self._noise, self._block, self.count = noise, block, noise.count

    def draw(self, kind: Kind, key: tuple[str | int, ...], shape: tuple[int, ...]) -> Tensor:
        return self._noise.draw(kind, ("block", self._block, *key), shape)


@dataclass(frozen=True)
class Blockwise(Sampler):
    """Semi-autoregressive sampling.  Positions count in raster order; the number of steps is that of each block.

    Args:
        inner: how a block is sampled: a discrete sampler, or its name.
        size: positions a block; the last may be shorter.

    Raises:
        InputError: an inner sampler of another kind, or a size below 1.
    """

    inner: Sampler = field(default_factory=lambda: MaskedAncestral("draw"))
    size: int = 32
    order: int = field(init=False)
    kind = "discrete"
    draws = "exponential"

    def __post_init__(self) -> None:
        if isinstance(self.inner, str):
            object.__setattr__(self, "inner", components.build("sampler", {"type": self.inner}))
        if self.inner.kind != "discrete" or isinstance(self.inner, Blockwise):
            raise InputError("inner", type(self.inner).__name__, "a discrete sampler that is not block-wise itself")
        if self.size < 1:
            raise InputError("size", self.size, "1 or more")
        object.__setattr__(self, "order", self.inner.order)

    def times(self, process: AbsorbingProcess, kind: Any, steps: int) -> Tensor:
        return self.inner.times(process, kind, steps)

    def init(self, x: Tensor, times: Tensor, process: AbsorbingProcess) -> State:
        if times.ndim > 1:
            raise InputError("times", "a time for each cell", "one time a step: blocks have their own")
        blocks = -(-x[0].numel() // self.size)
        grid = torch.cat([times[:-1].repeat(blocks), times[-1:]])
        return State(x, 0, grid, process, (times, ()), trajectories=blocks)

    def step(self, state: State, noise: Noise) -> Steps:
        times, memory = state.memory
        block, i = divmod(state.i, len(times) - 1)
        part = slice(block * self.size, (block + 1) * self.size)
        flat = state.x.flatten(1)

        def whole(cells: Tensor) -> Tensor:
            return torch.cat([flat[:, : part.start], cells, flat[:, part.stop :]], dim=1).reshape(state.x.shape)

        inner = self.inner.init(flat[:, part], times, state.process)
        if i > 0:
            inner = replace(inner, i=i, memory=memory)
        walk, last = self.inner.step(inner, _OfBlock(noise, block)), state.last
        try:
            query = next(walk)
            while True:
                last = yield query._replace(x=whole(query.x))
                query = walk.send(last.cells(part))
        except StopIteration as stop:
            done: State = stop.value
            return replace(state, x=whole(done.x), i=state.i + 1, last=last, memory=(times, done.memory))

    def config(self) -> dict[str, Any]:
        return {"inner": components.describe("sampler", self.inner), "size": self.size}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Blockwise:
        inner = config.get("inner")
        built = components.build("sampler", inner) if isinstance(inner, Mapping) else inner
        return cls(**{**config, **({} if inner is None else {"inner": built})})
