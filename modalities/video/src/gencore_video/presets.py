"""Training presets: functions ``preset(data, *, steps, batch, seed) -> Training``.

``discs`` is the packaged default.  ``discs-TASK`` is the same network trained for one task alone, and
``discs-framewise`` the same without temporal attention: the two comparisons of arXiv:2305.13311.  ``vdt-s`` and
``vdt-l`` are the published networks on the pixels and sizes of the data.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from gencore.conditioner import Unconditional as NoWords
from gencore.denoised import Prediction
from gencore.errors import InputError
from gencore.mask import MaskKind
from gencore.nn.init import seeded
from gencore.objectives.flow import FlowMatching
from gencore.objectives.known_region import KnownRegion
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.flows import Clock, LinearFlow
from gencore.training.preset import Training
from gencore_video.backbone import SIZES, VDT, Temporal
from gencore_video.masks.complete import Complete
from gencore_video.masks.frames import Backward, ImageToVideo, Interpolate, Predict, RandomFrames, Unconditional
from gencore_video.masks.tasks import video_tasks
from gencore_video.tokenizers.frames import Frames

if TYPE_CHECKING:
    from gencore.data import Data

SPECIALTIES: dict[str, MaskKind] = {
    "unconditional": Unconditional(), "predict": Predict((1, -1)), "backward": Backward((1, -1)),
    "interpolate": Interpolate((2, 5)), "image-to-video": ImageToVideo(None), "random-frames": RandomFrames(),
    "complete": Complete(),
}  # fmt: skip
"""The seven parts of `video_tasks`, each a task of its own."""

CLIP = (16, 32, 32)
_WARMUP, _AVERAGED = 0.05, 0.05
# A disc of 40 equal cells shows through far more noise than a single cell: where it is gets decided above t = 0.8.
_NOISY = 0.8


def discs(data: Data, *, steps: int | None = None, batch: int | None = None, seed: int = 0,
          mask: MaskKind | None = None, temporal: Temporal = "attention") -> Training:  # fmt: skip
    """The packaged default: 16 frames of 32x32, patch 8, linear flow, 3.6 M parameters, all tasks at once.

    The network predicts clean frames: noise fills the 192 values of a patch, which a network of that width cannot carry
    beside all else, while frames lie on a surface of few dimensions (arXiv:2511.13720); the loss is the velocity's.

    Warm-up and weight average span the same share of any number of steps, so that short runs are comparable.

    Args:
        data: simulated discs; other clips are brought to 16 RGB frames of 32x32.
        mask: the task, by default the mixture of all.
        temporal: see `VDT`.
    """
    steps = steps or 12_000
    with seeded(seed):
        net = VDT(3, 8, width=192, depth=4, heads=6, prediction=Prediction("x0"), temporal=temporal)
    process = LinearFlow(Clock(scale=1000.0))
    pipeline = Pipeline(
        modality="video", tokenizer=Frames(3, CLIP, multiple=8), conditioner=NoWords(), backbone=net, process=process,
        defaults=Defaults(sampler="dpmpp", steps=24, known_mode="compose_input"),
    )  # fmt: skip
    return Training(
        pipeline=pipeline, steps=steps, batch=batch or 8, seed=seed,
        objective=KnownRegion(FlowMatching(process, times="logit_normal", weight="velocity", mean=_NOISY),
                              mask or video_tasks()),
        optimizer="muon", lr=1.5e-3, warmup=max(1, round(_WARMUP * steps)), decay="cosine", weight_decay=0.01,
        betas=(0.9, 0.99),
        ema=min(0.9999, 1 - 1 / max(1.0, _AVERAGED * steps)), clip=1.0, precision="bf16",
    )  # fmt: skip


discs_unconditional, discs_predict, discs_backward, discs_interpolate, discs_image_to_video, discs_random_frames, \
    discs_complete = (partial(discs, mask=kind) for kind in SPECIALTIES.values())  # fmt: skip
discs_framewise = partial(discs, temporal="table")


def _published(size: str, data: Any, *, steps: int | None = None, batch: int | None = None, seed: int = 0
               ) -> Training:  # fmt: skip
    """A published network on the pixels of `data`: AdamW 1e-4, average 0.9999, all tasks at once.

    The patch is the smallest of 2, 4, 8, ... that leaves at most 256 tokens a frame, as many as at 256x256 with a VAE.

    Raises:
        InputError: sides that no such patch divides.
    """
    height, width = data.size
    patch = 2
    while height * width > 256 * patch**2:
        patch *= 2
    if height % patch or width % patch:
        raise InputError("size", f"{height}x{width}", f"multiples of {patch}", "--size HxW brings clips to one")
    with seeded(seed):
        settings: dict[str, Any] = {**SIZES[size]}
        net = VDT(data.channels, patch, prediction=Prediction("velocity"), **settings)
    process = LinearFlow(Clock(scale=1000.0))
    pipeline = Pipeline(
        modality="video", tokenizer=Frames(data.channels, (data.frames, height, width), multiple=patch),
        conditioner=NoWords(), backbone=net, process=process,
        defaults=Defaults(sampler="heun", steps=25, known_mode="compose_input"),
    )  # fmt: skip
    return Training(pipeline=pipeline, objective=KnownRegion(FlowMatching(process), video_tasks()),
                    steps=steps or 500_000, batch=batch or 128, seed=seed, lr=1e-4, ema=0.9999)  # fmt: skip


vdt_s, vdt_l = (partial(_published, size) for size in ("s", "l"))
