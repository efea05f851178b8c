"""Running a `Training`: Lightning's Trainer, checkpoints that resume bit-exactly, Ctrl-C that loses nothing."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, Dataset

from gencore.errors import InputError
from gencore.training.batches import StepBatches
from gencore.training.callbacks import LAST, AtomicCheckpointIO, Checkpoints, Curve, Previews
from gencore.training.module import TrainingModule
from gencore.training.preset import Training


class Outcome(NamedTuple):
    """How a run ended: after which step, and whether a signal ended it before the last one."""

    step: int
    interrupted: bool


def data_loader(training: Training, data: Dataset[Any], *, start: int, rank: int, ranks: int, accumulate: int,
                workers: int) -> DataLoader[Any]:  # fmt: skip
    """The batches of one rank from step `start` on, split into micro-batches."""
    if training.batch % (ranks * accumulate):
        raise InputError("batch", f"{training.batch} over {ranks} ranks x {accumulate} micro-batches", "a multiple")
    batches = StepBatches(len(cast(Sized, data)), training.batch, seed=training.seed, start=start, stop=training.steps,
                          rank=rank, ranks=ranks)  # fmt: skip
    # Without a generator the loader draws from the global one.
    generator = torch.Generator().manual_seed(training.seed)
    return DataLoader(data, batch_sampler=_Micro(batches, accumulate), num_workers=workers, generator=generator)


class _Micro:
    """Each batch as `parts` equal consecutive ones."""

    def __init__(self, batches: StepBatches, parts: int) -> None:
        self.batches, self.parts = batches, parts

    def __len__(self) -> int:
        # Lightning counts a resumed run's batches from the first step of all.
        return self.batches.stop * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            size = len(batch) // self.parts
            for i in range(self.parts):
                yield batch[i * size : (i + 1) * size]


def fit(
    training: Training,
    data: Dataset[Any],
    folder: Path,
    *,
    every: int = 500,
    accumulate: int = 1,
    compile: bool = False,
    device: str = "auto",
    ranks: int = 1,
    workers: int = 0,
    loggers: Any = False,
    callbacks: tuple[Callback, ...] = (),
    on_step: Callable[[int, float], None] | None = None,
) -> Outcome:
    """Train until `training.steps` or an interrupt, from ``folder/last.ckpt`` if there is one.

    Written into `folder`: ``metrics.csv`` (step, loss, learning rate), and every `every` steps, at the end and on an
    interrupt ``last.ckpt``, ``model/`` (the averaged weights, ready to load) and ``previews/``.

    Args:
        data: map-style dataset of dicts with ``data`` and the conditioner's targets.
        folder: of the run; it exists.
        accumulate: micro-batches per step and rank.
        device: "auto" or "cpu".
        ranks: processes; each takes its share of the batch, and the losses are those of one process.
        loggers: further Lightning loggers.
        on_step: called with each finished step and its loss.

    Raises:
        InputError: a batch that ranks and micro-batches do not divide, or a disk that refuses.
        NotFinite: the loss is NaN or infinite.
    """
    module = TrainingModule(training, accumulate=accumulate, compile=compile)
    checkpoints, last = Checkpoints(folder, every), folder / LAST
    with _silent():
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
            # What fails while showing costs no training: the checkpoint of the step is on disk by then.
            callbacks=[Curve(folder, on_step), *callbacks, checkpoints, Previews(folder, every)],
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            log_every_n_steps=10,
        )

        class _Data(L.LightningDataModule):
            def train_dataloader(self) -> DataLoader[Any]:
                return data_loader(training, data, start=trainer.global_step, rank=trainer.global_rank,
                                   ranks=trainer.world_size, accumulate=accumulate, workers=workers)  # fmt: skip

        try:
            trainer.fit(module, datamodule=_Data(), ckpt_path=last if last.exists() else None, weights_only=True)
        except SystemExit as leave:
            # Lightning turns a Ctrl-C before the first step into exit status 1.
            raise (KeyboardInterrupt() if leave.code == 1 else leave) from None
    return Outcome(trainer.global_step, checkpoints.interrupted and trainer.global_step < training.steps)


@contextmanager
def _silent() -> Iterator[None]:
    """Lightning's advice and notices off: a library says nothing unasked."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
