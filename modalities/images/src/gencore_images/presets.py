"""Training presets, and the published sizes (arXiv:2212.09748, table 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.conditioner import Conditioner, Unconditional
from gencore.conditioners.label import Labels
from gencore.denoised import Prediction
from gencore.nn.init import seeded
from gencore.noise import Noise
from gencore.objectives.flow import FlowMatching
from gencore.pipeline import Pipeline
from gencore.processes.flows import Clock, LinearFlow
from gencore.training.preset import Training
from gencore_images.pixels import Pixels

SIZES = {
    "s": {"width": 384, "depth": 12, "heads": 6},
    "b": {"width": 768, "depth": 12, "heads": 12},
    "l": {"width": 1024, "depth": 24, "heads": 16},
    "xl": {"width": 1152, "depth": 28, "heads": 16},
}


def flip(data: Tensor, noise: Noise) -> Tensor:
    """Each (B, C, H, W) image mirrored left to right with probability 1/2."""
    mirror = noise.draw("uniform", ("flip",), ()).to(data.device) < 0.5
    return torch.where(mirror[:, None, None, None], data.flip(-1), data)


def _labels(classes: int | None) -> tuple[dict[str, dict[str, Any]], Conditioner]:
    if classes is None:
        return {}, Unconditional()
    return {"label": {"kind": "label", "classes": classes, "null": True}}, Labels(classes)


def digits(steps: int = 4_500, batch: int = 128, seed: int = 0) -> Training:
    """The packaged default: handwritten digits, 28x28 grey, patch 4, linear flow, 3.5 M parameters.

    Data: the 60,000 training images of MNIST as an IDX folder.
    """
    ports, conditioner = _labels(10)
    with seeded(seed):
        net = DiT(1, (4, 4), width=192, depth=5, heads=6, ports=ports, prediction=Prediction("velocity"))
    process = LinearFlow(Clock(scale=1000.0))
    pipeline = Pipeline(modality="images", tokenizer=Pixels(1, (28, 28), multiple=4), conditioner=conditioner,
                        backbone=net, process=process)  # fmt: skip
    return Training(
        pipeline=pipeline, objective=FlowMatching(process, times="logit_normal"), steps=steps, batch=batch, seed=seed,
        lr=1e-3, warmup=300, decay="cosine", weight_decay=0.01, betas=(0.9, 0.99), ema=0.999, drop=0.1, clip=1.0,
        precision="bf16",
    )  # fmt: skip
