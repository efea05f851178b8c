"""Training presets: functions ``preset(data, *, steps, batch, seed) -> Training``.

``dit-s`` .. ``dit-xl`` and ``sit-s`` .. ``sit-xl`` are the published networks and settings (arXiv:2212.09748, table 1;
arXiv:2401.08740) on the pixels, sizes and classes of the data.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.conditioner import Conditioner, Unconditional
from gencore.conditioners.label import Labels
from gencore.denoised import Prediction
from gencore.errors import InputError
from gencore.nn.init import seeded
from gencore.noise import Noise
from gencore.objectives.denoising import Denoising
from gencore.objectives.flow import FlowMatching
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.flows import Clock, LinearFlow
from gencore.processes.tables import TableProcess
from gencore.training.preset import Training
from gencore_images.pixels import Pixels

if TYPE_CHECKING:
    from gencore_images.items import Items

SIZES: dict[str, dict[str, Any]] = {
    "s": {"width": 384, "depth": 12, "heads": 6},
    "b": {"width": 768, "depth": 12, "heads": 12},
    "l": {"width": 1024, "depth": 24, "heads": 16},
    "xl": {"width": 1152, "depth": 28, "heads": 16},
}


def flip(data: Tensor, noise: Noise) -> Tensor:
    """Each (B, C, H, W) image mirrored left to right with probability 1/2."""
    mirror = noise.draw("uniform", ("flip",), ()).to(data.device) < 0.5
    return torch.where(mirror[:, None, None, None], data.flip(-1), data)


def _labels(names: tuple[str, ...]) -> tuple[dict[str, dict[str, Any]], Conditioner]:
    if not names:
        return {}, Unconditional()
    classes = len(names)
    numbered = names == tuple(map(str, range(classes)))
    ports = {"label": {"kind": "label", "classes": classes, "null": True}}
    return ports, Labels(classes, None if numbered else names)


def digits(data: Items, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """The packaged default: handwritten digits, 28x28 grey, patch 4, linear flow, 3.5 M parameters.

    Data: the 60,000 training images of MNIST as an IDX folder; other pictures are brought to 28x28 grey.
    """
    ports, conditioner = _labels(tuple("0123456789"))
    with seeded(seed):
        net = DiT(1, (4, 4), width=192, depth=5, heads=6, ports=ports, prediction=Prediction("velocity"))
    process = LinearFlow(Clock(scale=1000.0))
    pipeline = Pipeline(modality="images", tokenizer=Pixels(1, (28, 28), multiple=4), conditioner=conditioner,
                        backbone=net, process=process)  # fmt: skip
    return Training(
        pipeline=pipeline, objective=FlowMatching(process, times="logit_normal"), steps=steps or 4_500,
        batch=batch or 128, seed=seed, lr=1e-3, warmup=300, decay="cosine", weight_decay=0.01, betas=(0.9, 0.99),
        ema=0.999, drop=0.1, clip=1.0, precision="bf16",
    )  # fmt: skip


def _published(family: Literal["dit", "sit"], size: str, data: Items, *, steps: int | None = None,
               batch: int | None = None, seed: int = 0) -> Training:  # fmt: skip
    """A published network on the pixels of `data`: AdamW 1e-4, batch 256, average 0.9999, mirrored at random.

    The patch is the smallest of 2, 4, 8, ... that leaves at most 256 tokens, as many as at 256x256 with a VAE.

    Raises:
        InputError: sides that no such patch divides.
    """
    patch = _patch(data.size)
    ports, conditioner = _labels(data.classes)
    if family == "dit":
        process = TableProcess.named("linear", 1000)
        prediction, objective = Prediction("epsilon", extra="learned_range"), Denoising(process)
        defaults = Defaults(sampler="ddpm", steps=250)
    else:
        process = LinearFlow(Clock(reverse=True))
        prediction, objective = Prediction("velocity", reverse=True), FlowMatching(process)
        defaults = Defaults(sampler="heun", steps=50)
    with seeded(seed):
        net = DiT(data.channels, (patch, patch), ports=ports, prediction=prediction, **SIZES[size])
    pipeline = Pipeline(
        modality="images", tokenizer=Pixels(data.channels, data.size, multiple=patch), conditioner=conditioner,
        backbone=net, process=process, defaults=defaults,
    )  # fmt: skip
    return Training(
        pipeline=pipeline, objective=objective, steps=steps or 400_000, batch=batch or 256, seed=seed, lr=1e-4,
        ema=0.9999, drop=0.1 if data.classes else 0.0, augment=flip,
    )  # fmt: skip


def _patch(size: tuple[int, int], tokens: int = 256) -> int:
    patch = 2
    while (size[0] // patch) * (size[1] // patch) > tokens:
        patch *= 2
    if size[0] % patch or size[1] % patch:
        near = "x".join(str(max(patch, round(n / patch) * patch)) for n in size)
        raise InputError("size", f"{size[0]}x{size[1]}", f"multiples of {patch} at this size", f"--size {near}")
    return patch


dit_s, dit_b, dit_l, dit_xl = (partial(_published, "dit", size) for size in SIZES)
sit_s, sit_b, sit_l, sit_xl = (partial(_published, "sit", size) for size in SIZES)
