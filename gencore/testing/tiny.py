"""A pipeline small enough for tests: random weights, 8x8 grey cells, ten labels."""

from __future__ import annotations

import torch
from torch import nn

from gencore import plugins
from gencore.backbones.dit import DiT
from gencore.conditioners.label import Labels
from gencore.data import Data
from gencore.denoised import Prediction
from gencore.nn.init import seeded
from gencore.objectives.flow import FlowMatching
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.flows import Clock, LinearFlow
from gencore.training.preset import Training

TOKENIZER = "pixels"
PROCESS = LinearFlow(Clock(scale=1000.0))


def tiny_pipeline(seed: int = 0, *, labels: int = 10, width: int = 32) -> Pipeline:
    """A diffusion transformer of two blocks on (1, 8, 8) data in [-1, 1], of the plug-in with pixel data.

    No weight is zero, so that labels, times and every block act on the result.

    Args:
        seed: of the weights.
        labels: number of classes, besides the null label.
        width: of the network, a multiple of 4.

    Raises:
        InputError: no plug-in provides the tokenizer "pixels".
    """
    pixels = plugins.resolve("tokenizer", TOKENIZER)
    ports = {"label": {"kind": "label", "classes": labels, "null": True}}
    with seeded(seed):
        net = DiT(1, (2, 2), width=width, depth=2, heads=2, ports=ports, prediction=Prediction("velocity"))
        for tensor in net.parameters():
            if not bool(tensor.any()):
                nn.init.normal_(tensor, std=0.1)
    return Pipeline(
        modality=plugins.provided("tokenizer")[TOKENIZER].name, tokenizer=pixels(1, (8, 8), multiple=2),
        conditioner=Labels(labels), backbone=net, process=PROCESS,
        defaults=Defaults(sampler="dpmpp", steps=4),
    )  # fmt: skip


def tiny_training(data: Data, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """The preset that trains `tiny_pipeline`: 20 steps of 8 items unless told otherwise."""
    return Training(
        pipeline=tiny_pipeline(seed), objective=FlowMatching(PROCESS), steps=steps or 20, batch=batch or 8, seed=seed,
        lr=1e-3, warmup=4, decay="cosine", weight_decay=0.01, ema=0.9, drop=0.2, clip=1.0,
    )  # fmt: skip


def tiny_items(count: int = 24, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (count, 8, 8) uint8 and labels (count,) int64 in 0..9, alike within a class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    noise = torch.randint(0, 40, (count, 8, 8), generator=generator)
    return (labels[:, None, None] * 20 + noise).to(torch.uint8), labels
