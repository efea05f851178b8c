"""One LightningModule for any pipeline and objective.

Every draw is keyed by (seed, step, position in the global batch), so a run does not depend on the number of ranks,
and a resumed run needs only weights, average, optimiser and step.
"""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gencore.condition import dropped
from gencore.noise import Keyed
from gencore.objective import Batch
from gencore.training.preset import Training

TRAINING_SEEDS = 1_000_000
"""Training draws use seeds from here on, evaluation seeds below: a sample never meets the noise it was trained with."""


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
        run, pipe = self.training_run, self.training_run.pipeline
        data = batch["data"]
        noise = self._noise(batch_idx, len(data))
        if run.augment is not None:
            data = run.augment(data, noise)
        with torch.no_grad():
            latent = pipe.tokenizer.encode(data, noise)
        conditions = dropped(pipe.conditioner.targets(batch), self.net.ports, run.drop, noise)
        loss = run.objective.loss("main", {"model": self.net}, Batch(latent.value, conditions), noise)
        self.log_dict({f"train/{k}": v for k, v in loss.parts.items()}, batch_size=len(data))
        if not torch.isfinite(loss.total):
            raise FloatingPointError(f"loss is {loss.total.item()} at step {self.global_step}")
        return loss.total

    def on_train_start(self) -> None:
        self._averaged = self.global_step
        self.net.train()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.global_step > self._averaged:
            self.ema.update_parameters(self.net)
            self._averaged = self.global_step

    def configure_optimizers(self) -> Any:
        run = self.training_run
        optimiser = torch.optim.AdamW(self.net.parameters(), lr=run.lr, betas=run.betas, weight_decay=run.weight_decay)

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
