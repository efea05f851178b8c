"""Going on beyond a network's context (arXiv:2406.07524, section 4.2): windows that slide over a longer sequence.

    [ window 1             ]
              [ window 2             ]        each begins with the last `context - stride` positions of the one before

The network sees one window at a time, which another sampler fills; what is open in it stays and tells how to go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gencore import components
from gencore.errors import InputError
from gencore.noise import Kind, Noise
from gencore.process import AbsorbingProcess
from gencore.sampler import Sampler, State, Steps
from gencore.samplers.masked import MaskedAncestral


class _OfWindow:
    """Draws of one window."""

    def __init__(self, noise: Noise, window: int) -> None:
        self._noise, self._window, self.count = noise, window, noise.count

    def draw(self, kind: Kind, key: tuple[str | int, ...], shape: tuple[int, ...]) -> Tensor:
        return self._noise.draw(kind, ("window", self._window, *key), shape)


class _Whole(NamedTuple):
    """A window's expectation amid the rest of the sequence as it is, for previews."""

    x0: Tensor


@dataclass(frozen=True)
class Sliding(Sampler):
    """Windows from left to right over latents of one axis.  The number of steps is that of each window.

    Args:
        inner: how a window is filled: a discrete sampler, or its name.
        context: positions of a window; a shorter sequence is one window, sampled as `inner` alone would.
        stride: new positions a window.

    Raises:
        InputError: an inner sampler of another kind, or a stride that is not 1..context.
    """

    inner: Sampler = field(default_factory=MaskedAncestral)
    context: int = 256
    stride: int = 128
    order = 0
    kind = "discrete"
    draws = "exponential"

    def __post_init__(self) -> None:
        if isinstance(self.inner, str):
            object.__setattr__(self, "inner", components.build("sampler", {"type": self.inner}))
        if self.inner.kind != "discrete" or isinstance(self.inner, Sliding):
            raise InputError("inner", type(self.inner).__name__, "a discrete sampler that does not slide itself")
        if not 1 <= self.stride <= self.context:
            raise InputError("stride", self.stride, f"1..{self.context}, the context")

    def times(self, process: AbsorbingProcess, kind: Any, steps: int) -> Tensor:
        return self.inner.times(process, kind, steps)

    def init(self, x: Tensor, times: Tensor, process: AbsorbingProcess) -> State:
        if times.ndim > 1 or x.ndim != 2:
            raise InputError("times" if times.ndim > 1 else "latent", f"shape {tuple(x.shape)}",
                             "a sequence (B, L), with one time a step")  # fmt: skip
        first = self.inner.init(x[:, : self.context], times, process)
        windows = 1 + max(0, -(-(x.shape[1] - self.context) // self.stride))
        grid = torch.cat([first.times[:-1].repeat(windows), first.times[-1:]])
        return State(x, 0, grid, process, (times, ()), trajectories=windows)

    def step(self, state: State, noise: Noise) -> Steps:
        times, memory = state.memory
        start = self.inner.init(state.x[:, : self.context], times, state.process)
        window, i = divmod(state.i, start.steps)
        low = min(window * self.stride, max(0, state.x.shape[1] - self.context))
        part = slice(low, low + self.context)

        def whole(cells: Tensor) -> Tensor:
            return torch.cat([state.x[:, : part.start], cells, state.x[:, part.stop :]], dim=1)

        inner = self.inner.init(state.x[:, part], times, state.process)
        if i > 0:
            inner = replace(inner, i=i, memory=memory)
        done = yield from self.inner.step(inner, noise if window == 0 else _OfWindow(noise, window))
        kept = _Whole(whole(done.last.x0))
        return replace(state, x=whole(done.x), i=state.i + 1, last=kept, memory=(times, done.memory))

    def config(self) -> dict[str, Any]:
        return {"inner": components.describe("sampler", self.inner), "context": self.context, "stride": self.stride}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Sliding:
        inner = config.get("inner")
        built = components.build("sampler", inner) if isinstance(inner, Mapping) else inner
        return cls(**{**config, **({} if inner is None else {"inner": built})})
