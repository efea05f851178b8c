"""A training preset: a function of a plug-in that returns everything a run needs, typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from gencore.backbone import Backbone
from gencore.noise import Noise
from gencore.objective import Objective

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline

Precision = Literal["32", "bf16"]
Optimizer = Literal["adamw", "muon"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """A run before it starts.

    Args:
        pipeline: untrained (or loaded, for fine-tuning); its backbone is trained.
        objective: what is minimised.
        steps: optimiser steps in all.
        batch: global batch size, over ranks and accumulation.
        optimizer: "adamw", or "muon" for the trunk's matrices (see `gencore.training.muon`).
        lr: its peak learning rate.
        warmup: steps of linear warm-up.
        decay: "constant" after the warm-up, or "linear" / "cosine" down to zero at `steps`.
        weight_decay: of it.
        betas: of AdamW.
        ema: decay of the weights' moving average; the average is what is saved.
        drop: rate at which each condition is replaced by its null, one number or one a condition.
        clip: largest gradient norm, 0 for none.
        seed: of initialisation, order, and every draw.
        precision: "32", or "bf16" autocast.
        augment: changes a batch of data before encoding, with its own draws.
        data: options for the modality's `dataset`.
        roles: frozen networks by the names the objective has for them.
    """

    pipeline: Pipeline
    objective: Objective
    steps: int
    batch: int
    optimizer: Optimizer = "adamw"
    lr: float = 1e-4
    warmup: int = 0
    decay: Literal["constant", "linear", "cosine"] = "constant"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    ema: float = 0.9999
    drop: float | Mapping[str, float] = 0.1
    clip: float = 0.0
    seed: int = 0
    precision: Precision = "32"
    augment: Callable[[Tensor, Noise], Tensor] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[str, Backbone] = field(default_factory=dict)
