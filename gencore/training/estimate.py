"""What a run will need, measured on a few items before it starts."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from gencore.data import Data
from gencore.errors import InputError
from gencore.noise import Keyed
from gencore.training.module import TRAINING_SEEDS, batch_loss
from gencore.training.preset import Training


def estimate(training: Training, data: Data, *, accumulate: int = 1, ranks: int = 1, items: int = 8) -> dict[str, Any]:
    """Size, memory and time of a run; the network keeps its weights.

    Args:
        items: measured at once; time and activations are scaled up from them.

    Returns:
        ``parameters``, ``memory_gb`` of one process (weights, gradients, Adam and average, and what the backward pass
        keeps of one micro-batch), ``seconds_a_step``, ``hours``, and ``sample``: shape and range of one augmented item.

    Raises:
        InputError: a batch that ranks and micro-batches do not divide.
    """
    if training.batch % (ranks * accumulate):
        raise InputError("batch", f"{training.batch} over {ranks} ranks x {accumulate} micro-batches", "a multiple")
    net, share = training.pipeline.backbone, training.batch // ranks
    count = min(items, share // accumulate)
    batch = default_collate([dict(data[i % len(data)]) for i in range(count)])
    noise = Keyed(range(TRAINING_SEEDS, TRAINING_SEEDS + count), prefix=("estimate",))
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    net.train()
    for _ in range(2):
        kept.clear()
        started = perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = batch_loss(training, batch, noise).total
        loss.backward()
        seconds = perf_counter() - started
    net.zero_grad(set_to_none=True)
    net.eval()
    parameters = sum(p.numel() for p in net.parameters())
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    activations = sum(size for place, size in kept.items() if place not in own) * share / (accumulate * count)
    sample = batch["data"][:1] if training.augment is None else training.augment(batch["data"], noise)[:1]
    step = seconds * share / count
    return {
        "parameters": parameters,
        "memory_gb": round((parameters * 20 + activations) / 1e9, 3),
        "seconds_a_step": round(step, 4),
        "hours": round(step * training.steps / 3600, 3),
        "sample": f"{tuple(sample.shape[1:])} in {sample.min():.2f}..{sample.max():.2f}",
    }
