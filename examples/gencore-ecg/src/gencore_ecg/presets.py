"""Training presets: functions ``preset(data, *, steps, batch, seed) -> Training``."""

from __future__ import annotations

from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.conditioners.label import Labels
from gencore.denoised import Prediction
from gencore.nn.init import seeded
from gencore.noise import Noise
from gencore.objectives.flow import FlowMatching
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.flows import Clock, LinearFlow
from gencore.training.preset import Training
from gencore_ecg.data import LENGTH, Windows
from gencore_ecg.tokenizer import Millivolts

PATCH = 8


def beats(data: Windows, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """The packaged default: two seconds, 0.6 M parameters, linear flow; 3000 steps of 64 windows.

    About five minutes on one core.
    """
    classes = len(data.classes)
    ports = {"label": {"kind": "label", "classes": classes, "null": True}}
    with seeded(seed):
        net = DiT(1, (PATCH,), width=80, depth=5, heads=5, ports=ports, prediction=Prediction("velocity"))
    return _training(net, data, steps or 3000, batch or 64, seed)


def tiny(data: Windows, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """The same on a network of two blocks, to try things out."""
    ports = {"label": {"kind": "label", "classes": len(data.classes), "null": True}}
    with seeded(seed):
        net = DiT(1, (PATCH,), width=32, depth=2, heads=2, ports=ports, prediction=Prediction("velocity"))
    return _training(net, data, steps or 200, batch or 32, seed)


def gain(data: Tensor, noise: Noise) -> Tensor:
    """Each (B, 1, N) signal up to 10 % louder or softer, as electrodes sit better or worse."""
    factor = 0.9 + 0.2 * noise.draw("uniform", ("gain",), ()).to(data)
    return data * factor[:, None, None]


def _training(net: DiT, data: Windows, steps: int, batch: int, seed: int) -> Training:
    process = LinearFlow(Clock(scale=1000.0))
    pipeline = Pipeline(
        modality="ecg",
        tokenizer=Millivolts(LENGTH, multiple=PATCH),
        conditioner=Labels(len(data.classes), data.classes),
        backbone=net,
        process=process,
        defaults=Defaults(sampler="dpmpp", steps=25),
        card={"title": "two seconds of one person's electrocardiogram", "licence": "weights Apache-2.0"},
    )  # fmt: skip
    return Training(
        pipeline=pipeline, objective=FlowMatching(process, times="logit_normal"), steps=steps, batch=batch, seed=seed,
        lr=2e-3, warmup=min(100, steps // 4), decay="cosine", weight_decay=0.01, betas=(0.9, 0.99),
        ema=0.998 if steps >= 1000 else 0.98, drop=0.1, clip=1.0, augment=gain,
    )  # fmt: skip
