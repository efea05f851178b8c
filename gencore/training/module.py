"""One LightningModule for any pipeline and objective.

Every draw is keyed by (seed, step, position in the global batch), so a run does not depend on the number of ranks,
and a resumed run needs only weights, average, optimiser and step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gencore.backbone import Backbone
from gencore.condition import dropped
from gencore.denoiser import NotFinite
from gencore.noise import Keyed, Noise
from gencore.objective import Batch, Loss
from gencore.pipeline import Pipeline
from gencore.training.muon import Muon
from gencore.training.preset import Training

TRAINING_SEEDS = 1_000_000
"""Training draws use seeds from here on, evaluation seeds below: a sample never meets the noise it was trained with."""


def batch_loss(training: Training, batch: Mapping[str, Tensor], noise: Noise) -> Loss:
    """The loss of a collated batch of dataset items: augmented, encoded, conditions dropped, all by `noise`."""
    pipe, data = training.pipeline, batch["data"]
    if training.augment is not None:
        data = training.augment(data, noise)
    with torch.no_grad():
        latent = pipe.tokenizer.encode(data, noise)
    conditions = dropped(pipe.conditioner.targets(batch), pipe.backbone.ports, training.drop, noise)
    roles = {**training.roles, "model": pipe.backbone}
    return training.objective.loss("main", roles, Batch(latent.value, conditions, latent.valid), noise)


class TrainingModule(L.LightningModule):
    """The `Training` as Lightning sees it.

    Args:
        training: the run.
        accumulate: micro-batches per optimiser step and rank.
        compile: compile each block, once, before the first step.
    """

    def __init__(self, training: Training, *, accumulate: int = 1, compile: bool = False) -> None:
        super().__init__()
        self.training_run, self.accumulate = training, accumulate
        self.net = training.pipeline.backbone
        self.ema = AveragedModel(self.net, multi_avg_fn=get_ema_multi_avg_fn(training.ema))
        self.ema.requires_grad_(False)
        # Frozen networks are nobody's parameters: they move with the model, and stay out of its checkpoints.
        for net in training.roles.values():
            net.eval().requires_grad_(False)
        self._losses: list[Tensor] = []
        if compile:
            for block in getattr(self.net, "blocks", [self.net]):
                block.compile()

    def _noise(self, batch_idx: int, count: int) -> Keyed:
        micro = batch_idx % self.accumulate
        first = (self.global_rank * self.accumulate + micro) * count
        seeds = range(TRAINING_SEEDS + first, TRAINING_SEEDS + first + count)
        prefix = ("train", self.training_run.seed, self.global_step)
        return Keyed(seeds, prefix=prefix, device=self.device)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        count = len(batch["data"])
        loss = batch_loss(self.training_run, batch, self._noise(batch_idx, count))
        if not torch.isfinite(loss.total):
            value, step = loss.total.item(), self.global_step
            raise NotFinite(f"loss: {value} at step {step}; try a lower --lr, or --precision 32")
        self._losses.append(loss.total.detach())
        self.log_dict({f"train/{k}": v for k, v in loss.parts.items()}, batch_size=count)
        return loss.total

    def on_train_start(self) -> None:
        self.net.train()
        for net in self.training_run.roles.values():
            net.to(self.device)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step of the weights, then of their average, so that no checkpoint can fall between the two."""
        super().optimizer_step(*args, **kwargs)
        self.ema.update_parameters(self.net)

    def step_loss(self) -> float:
        """The mean loss of the step just finished, over micro-batches and ranks; all ranks ask, once a step."""
        mean = torch.stack(self._losses).mean()
        self._losses.clear()
        return float(self.trainer.strategy.reduce(mean, reduce_op="mean"))

    def averaged(self) -> Pipeline:
        """The pipeline as trained so far, with the averaged weights."""
        pipe = self.training_run.pipeline
        return Pipeline(
            modality=pipe.modality, tokenizer=pipe.tokenizer, conditioner=pipe.conditioner,
            backbone=cast(Backbone, self.ema.module), process=pipe.process, defaults=pipe.defaults, card=pipe.card,
        )  # fmt: skip

    def configure_optimizers(self) -> Any:
        run = self.training_run
        settings: dict[str, Any] = {"lr": run.lr, "betas": run.betas, "weight_decay": run.weight_decay}
        optimiser = (Muon(self.net, **settings) if run.optimizer == "muon" else
                     torch.optim.AdamW(self.net.parameters(), **settings))  # fmt: skip

        def factor(step: int) -> float:
            if step < run.warmup:
                return (step + 1) / run.warmup
            done = (step - run.warmup) / max(1, run.steps - run.warmup)
            match run.decay:
                case "linear":
                    return max(0.0, 1 - done)
                case "cosine":
                    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
            return 1.0

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
