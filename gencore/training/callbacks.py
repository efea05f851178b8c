"""What happens between optimiser steps: the loss curve, previews, checkpoints, and Ctrl-C."""

from __future__ import annotations

import csv
import io
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.optim import Optimizer

from gencore.errors import InputError
from gencore.media.files import atomic_path, atomic_write
from gencore.training.module import TrainingModule

LAST, MODEL, METRICS, PREVIEWS = "last.ckpt", "model", "metrics.csv", "previews"
COLUMNS = ("step", "loss", "lr")


class AtomicCheckpointIO(TorchCheckpointIO):
    """A checkpoint is whole or absent: written under a temporary name in its folder, then renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with atomic_path(path, force=True) as part:
            try:
                torch.save(checkpoint, part)
            except RuntimeError as fault:
                # The archive writer reports a full disk as an error of its own.
                raise InputError("output", f"{path} (cannot be written)", "a disk with room") from fault


class StepCallback(Callback):
    """Something to do after each optimiser step, whatever the number of micro-batches."""

    _seen = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._seen = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any) -> None:
        if trainer.global_step > self._seen:
            self._seen = trainer.global_step
            assert isinstance(pl_module, TrainingModule)
            self.step(trainer, pl_module, trainer.global_step)

    def step(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        """Step number `step`, from 1, is done."""
        raise NotImplementedError


class Curve(StepCallback):
    """``metrics.csv``: one row a step.  A resumed run drops the rows after its checkpoint and continues the file.

    Args:
        folder: of the run.
        on_step: called on the first rank with each step and its loss.
    """

    def __init__(self, folder: Path, on_step: Callable[[int, float], None] | None = None) -> None:
        self.path, self.on_step, self._rate = folder / METRICS, on_step, 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        text = self.path.read_text() if self.path.exists() else ""
        rows = [row for row in csv.reader(io.StringIO(text)) if row and row[0].isdecimal()]
        rows = [row for row in rows if int(row[0]) <= trainer.global_step]
        with atomic_write(self.path, "w", force=True) as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        self._rate = optimizer.param_groups[0]["lr"]

    def step(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        loss = module.step_loss()
        if not trainer.is_global_zero:
            return
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow((step, repr(loss), repr(self._rate)))
        if self.on_step is not None:
            self.on_step(step, loss)


class Previews(StepCallback):
    """``previews/step-000500.png``: samples of the averaged weights, the same seeds every time.

    Args:
        folder: of the run.
        every: steps.
        samples: in one preview.
        steps: at most this many of the sampler.
    """

    def __init__(self, folder: Path, every: int, samples: int = 16, steps: int = 25) -> None:
        self.folder, self.every, self.samples, self.steps = folder / PREVIEWS, every, samples, steps

    def step(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        if not trainer.is_global_zero or (step % self.every and step != module.training_run.steps):
            return
        pipe = module.averaged()
        try:
            pipe.modality.ready(pipe)
        except InputError:
            # What is no generator by itself, such as an energy, has nothing to show.
            return
        words = pipe.modality.example(pipe, self.samples)
        out = pipe.generate(**words, seed=0, steps=min(self.steps, pipe.defaults.steps))
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"step-{step:06d}{pipe.modality.suffix}"
        out.save(path, force=True)
        for logger in trainer.loggers:
            if path.suffix == ".png" and (add := getattr(getattr(logger, "experiment", None), "add_image", None)):
                import numpy as np
                from PIL import Image

                picture = np.asarray(Image.open(path))
                add("preview", picture, step, dataformats="HW" if picture.ndim == 2 else "HWC")


class Checkpoints(StepCallback):
    """``last.ckpt`` and ``model/`` every so many steps, at the end, and when Ctrl-C or TERM asks to stop.

    The first signal ends the run after the step in progress; the second leaves at once, and what is on disk is whole.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every, self.interrupted = folder, every, False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)

    def _stop(self, number: int, frame: Any) -> None:
        if self.interrupted:
            raise SystemExit(130)
        self.interrupted = True

    def step(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        # All ranks stop at the same step, though a signal reaches them at different ones.
        stop = trainer.strategy.reduce_boolean_decision(self.interrupted, all=False)
        if stop or step % self.every == 0 or step == module.training_run.steps:
            trainer.save_checkpoint(self.folder / LAST)
            if trainer.is_global_zero:
                module.averaged().save_pretrained(self.folder / MODEL, force=True)
        if stop:
            self.interrupted = trainer.should_stop = True

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
