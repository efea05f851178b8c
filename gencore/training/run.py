"""Running a `Training`: Lightning's Trainer, checkpoints that resume bit-exactly, Ctrl-C that loses nothing."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.utils.data import DataLoader, Dataset

from gencore.errors import InputError
from gencore.training.batches import StepBatches
from gencore.training.module import TrainingModule
from gencore.training.preset import Training

LAST = "last.ckpt"


class StopOnInterrupt(Callback):
    """The first Ctrl-C (or TERM) ends the run after the step in progress; the second leaves at once."""

    def __init__(self) -> None:
        self.interrupted = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def stop(number: int, frame: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = trainer.should_stop = True

        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, stop)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def data_loader(training: Training, data: Dataset[Any], *, start: int, rank: int, ranks: int, accumulate: int,
                workers: int) -> DataLoader[Any]:  # fmt: skip
    """The batches of one rank from step `start` on, split into micro-batches."""
    if training.batch % (ranks * accumulate):
        raise InputError("batch", f"{training.batch} over {ranks} ranks x {accumulate} micro-batches", "a multiple")
    batches = StepBatches(len(data), training.batch, seed=training.seed, start=start, stop=training.steps, rank=rank,
                          ranks=ranks)  # type: ignore[arg-type]  # fmt: skip
    return DataLoader(data, batch_sampler=_Micro(batches, accumulate), num_workers=workers, persistent_workers=workers > 0)


class _Micro:
    """Each batch as `parts` equal consecutive ones."""

    def __init__(self, batches: StepBatches, parts: int) -> None:
        self.batches, self.parts = batches, parts

    def __len__(self) -> int:
        return len(self.batches) * self.parts

    def __iter__(self) -> Any:
        for batch in self.batches:
            size = len(batch) // self.parts
            for i in range(self.parts):
                yield batch[i * size : (i + 1) * size]


def fit(training: Training, data: Dataset[Any], folder: Path, *, every: int = 500, accumulate: int = 1,
        compile: bool = False, device: str = "auto", ranks: int = 1, workers: int = 0, loggers: Any = False,
        callbacks: tuple[Callback, ...] = (), on_step: Callable[[int], None] | None = None) -> bool:  # fmt: skip
    """Train until `training.steps` or an interrupt, from ``folder/last.ckpt`` if there is one.

    Args:
        data: map-style dataset of dicts with ``data`` and the conditioner's targets.
        folder: of the run; ``last.ckpt`` is written every `every` steps, at the end and on an interrupt.
        accumulate: micro-batches per step and rank.

    Returns:
        True when all steps are done, False when interrupted.
    """
    module = TrainingModule(training, accumulate=accumulate, compile=compile)
    stopper = StopOnInterrupt()
    saver = ModelCheckpoint(folder, filename="last", every_n_train_steps=every, save_top_k=1, enable_version_counter=False)
    trainer = L.Trainer(
        default_root_dir=folder,
        accelerator="cpu" if device == "cpu" else "auto",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        max_steps=training.steps,
        precision="bf16-mixed" if training.precision == "bf16" else "32-true",
        accumulate_grad_batches=accumulate,
        gradient_clip_val=training.clip or None,
        logger=loggers,
        callbacks=[saver, stopper, *callbacks],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        log_every_n_steps=10,
    )
    last = folder / LAST

    class _Data(L.LightningDataModule):
        def train_dataloader(self) -> DataLoader[Any]:
            return data_loader(training, data, start=trainer.global_step, rank=trainer.global_rank,
                               ranks=trainer.world_size, accumulate=accumulate, workers=workers)  # fmt: skip

    trainer.fit(module, datamodule=_Data(), ckpt_path=last if last.exists() else None, weights_only=True)
    trainer.save_checkpoint(last)
    print("done" if trainer.global_step >= training.steps else "stopped", trainer.global_step, file=sys.stderr)
    return not stopper.interrupted
