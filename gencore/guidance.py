"""Guidance: which conditional branches a step needs, and how their predictions combine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gencore.context import StepInfo
from gencore.errors import InputError
from gencore.spec import broadcast_time


class Branch(NamedTuple):
    """One conditional variant of a network call.

    Args:
        name: also the cache key of interceptors.
        drop: conditions replaced by their nulls; None drops all.
        skip: blocks left out.
    """

    name: str
    drop: Sequence[str] | None = ()
    skip: frozenset[int] = frozenset()


COND, UNCOND = Branch("cond"), Branch("uncond", drop=None)


class Guidance(ABC):
    """Asked once for every network query."""

    @abstractmethod
    def branches(self, t: Tensor, info: StepInfo) -> tuple[Branch, ...]:
        """The branches to evaluate for a query at times `t`; they share one batch, in this order."""

    @abstractmethod
    def combine(self, predictions: Mapping[str, Tensor], t: Tensor, info: StepInfo) -> Tensor:
        """The prediction (B, C, ...) from those of all branches, by name, for the query's times `t`."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """JSON arguments that build an equal guidance."""


class ClassifierFree(Guidance):
    """u + s (c - u) (arXiv:2207.12598), on some channels and within some times if wanted (arXiv:2404.07724).

    Args:
        scale: s; 1 is a single conditional call, 0 a single unconditional one.
        channels: guide only the first this many channels; the others stay conditional (DiT's files: 3).
        interval: (low, high) times within which guidance acts; outside it the call is conditional.

    >>> ClassifierFree(1.0).branches(torch.zeros(1), StepInfo())[0].name
    'cond'
    """

    def __init__(self, scale: float, *, channels: int | None = None, interval: Sequence[float] = (0.0, 1.0)) -> None:
        low, high = interval
        if not 0 <= low <= high <= 1:
            raise InputError("guidance interval", f"({low}, {high})", "two rising times in [0, 1]")
        self.scale, self.channels, self.interval = float(scale), channels, (float(low), float(high))

    def _inside(self, t: Tensor) -> Tensor:
        return (self.interval[0] <= t) & (t <= self.interval[1])

    def branches(self, t: Tensor, info: StepInfo) -> tuple[Branch, ...]:
        inside = self._inside(t)
        if self.scale == 1 or not bool(inside.any()):
            return (COND,)
        return (UNCOND,) if self.scale == 0 and self.channels is None and bool(inside.all()) else (COND, UNCOND)

    def combine(self, predictions: Mapping[str, Tensor], t: Tensor, info: StepInfo) -> Tensor:
        if len(predictions) == 1:
            return next(iter(predictions.values()))
        c, u = predictions["cond"], predictions["uncond"]
        inside = self._inside(t)
        guided = torch.lerp(u, c, self.scale)
        if not bool(inside.all()):
            # Samples of a batch may stand at different times; each is guided as it would be alone.
            guided = torch.where(broadcast_time(inside, c), guided, c)
        if self.channels is None:
            return guided
        return torch.cat([guided[:, : self.channels], c[:, self.channels :]], dim=1)

    def config(self) -> dict[str, Any]:
        return {"scale": self.scale, "channels": self.channels, "interval": list(self.interval)}
