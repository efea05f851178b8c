"""Longer than the network was trained for: window after window, each given the end of the one before.

    window k covers cells k (W - C) .. k (W - C) + W - 1 of one axis, of which the first C are given

A window's noise is keyed by the absolute cell it starts at, so a longer roll-out begins with the shorter one, and the
first window is what a run without roll-out makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.known import Known
from gencore.noise import Kind, Noise
from gencore.run import Step, stream
from gencore.sampler import Sampler
from gencore.spec import LatentSpec


@dataclass(frozen=True)
class Rollout:
    """What to make of windows.

    Args:
        axis: of the latent that grows.
        length: its size in the end.
        context: cells of a window that are given from the one before; 1 to the window's size less 1.
    """

    axis: str
    length: int
    context: int

    def starts(self, window: int) -> range:
        """The first cell of each window of `window` cells.

        >>> list(Rollout("t", length=30, context=4).starts(16))
        [0, 12, 24]

        Raises:
            InputError: a context that leaves nothing to make, or a length below the window's.
        """
        if not 0 < self.context < window:
            raise InputError("context", self.context, f"1..{window - 1} of a window of {window}")
        if self.length < window:
            raise InputError("length", self.length, f"{window} or more, the length of a window")
        return range(0, self.length - self.context, window - self.context)


def rollout(
    plan: Rollout,
    denoiser: Callable[[Noise], Denoiser],
    sampler: Sampler,
    spec: LatentSpec,
    times: Tensor,
    noise: Noise,
    *,
    known: Known | None = None,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Step]:
    """Sample one window after the other; the last step's state holds all of it.

    Args:
        denoiser: makes the denoiser of a window from its noise; all of them may share a store.
        spec: of one window.
        known: given cells of the first window; their mode is that of all windows.
        sampler, times, noise, dtype: as of `gencore.run.stream`.

    Raises:
        InputError: as `Rollout.starts`.
    """
    axis, window = spec.names.index(plan.axis), spec.size(plan.axis)
    starts, whole = plan.starts(window), torch.empty(0)
    for k, start in enumerate(starts):
        source = noise if start == 0 else _From(noise, plan.axis, start)
        for step in stream(denoiser(source), sampler, spec, times, source, known=known, dtype=dtype, trajectory=k):
            index, total = k * step.total + step.index, len(starts) * step.total
            if not step.done:
                yield Step(index, total, step.state, False)
                continue
            x = step.x
            whole = x if start == 0 else torch.cat((whole, x.narrow(axis, plan.context, window - plan.context)), axis)
            if start != starts[-1]:
                known = _carried(x, axis, plan.context, known)
                yield Step(index, total, step.state, False)
                continue
            yield Step(index, total, replace(step.state, x=whole.narrow(axis, 0, plan.length)), True)


def _carried(x: Tensor, axis: int, context: int, before: Known | None) -> Known:
    """The last `context` cells of `x` as the first of the next window."""
    window = x.shape[axis]
    free = torch.arange(window, device=x.device) >= context
    mask = free.reshape(-1, *(1,) * (x.ndim - 1 - axis))
    value = torch.where(mask, torch.zeros((), dtype=x.dtype, device=x.device), x.roll(context - window, axis))
    return Known(value, mask, before.mode if before is not None else "replace_state")


class _From:
    """The noise of the window that starts at cell `start`."""

    def __init__(self, noise: Noise, axis: str, start: int) -> None:
        self._noise, self._place, self.count = noise, (axis, start), noise.count

    def draw(self, kind: Kind, key: tuple[str | int, ...], shape: tuple[int, ...]) -> Tensor:
        return self._noise.draw(kind, (*self._place, *key), shape)
