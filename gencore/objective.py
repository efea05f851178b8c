"""What training minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from gencore.backbone import Backbone
from gencore.condition import Conditions
from gencore.noise import Noise


class Phase(NamedTuple):
    """One optimiser's turn: which roles it trains, and every how many steps it runs."""

    name: str = "main"
    trains: tuple[str, ...] = ("model",)
    every: int = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of latents and their conditions.

    Args:
        x0: (B, C, ...) clean latents.
        conditions: one value per port of the backbone.
        valid: bool, like `x0` without its channels: cells that hold data, or None where all do.
    """

    x0: Tensor
    conditions: Conditions = field(default_factory=dict)
    valid: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """A scalar to minimise and named scalars to log."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(ABC):
    """A loss over roles.  A plain objective has one phase and the single role "model"; others find the frozen
    networks they need among `Training.roles`."""

    phases: tuple[Phase, ...] = (Phase(),)

    @abstractmethod
    def loss(self, phase: str, roles: Mapping[str, Backbone], batch: Batch, noise: Noise) -> Loss:
        """The loss of `phase` on `batch`; every draw comes from `noise`."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], process: Any) -> Objective:
        """The objective `config` described, for a model of this process."""
        return cls(process, **config)  # type: ignore[call-arg]

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """JSON arguments that build an equal objective, the process excepted."""


def per_sample_mean(x: Tensor) -> Tensor:
    """Mean over every axis but the batch, (B, ...) -> (B,)."""
    return x.flatten(1).mean(1)
