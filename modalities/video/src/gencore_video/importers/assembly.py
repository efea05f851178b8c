"""From an imported network to a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gencore import plugins
from gencore.errors import InputError, MissingDependency
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.tables import TableProcess
from gencore.tokenizer import Tokenizer
from gencore_video.backbone import VDT
from gencore_video.conditioner import ConstantLabel
from gencore_video.tokenizers.latents import ClipLatents
from gencore_video.tokenizers.per_frame import PerFrame

WITHOUT_VAE = "no autoencoder given: this model makes latents, no videos (--vae FOLDER adds one)"


def assemble(net: VDT, size: tuple[int, int, int], *, card: Mapping[str, Any], label: int = 0,
             vae: str | Path | None = None) -> Pipeline:  # fmt: skip
    """The pipeline of `net` on clips of latents of `size` (T, H, W), sampled as published, given cells composed.

    Args:
        label: what every clip is given.
        vae: diffusers folder of the image autoencoder its latents come from, or None for a model of latents.

    Raises:
        CheckpointError: the folder holds none.
        MissingDependency: gencore-images is absent.
        InputError: its latents have other channels.
    """
    channels = net.config()["channels"]
    tokenizer: Tokenizer = ClipLatents(channels, size, multiple=net.patch[1])
    card = dict(card)
    if vae is None:
        imported = card["imported"]
        card["imported"] = {**imported, "notes": [*imported["notes"], WITHOUT_VAE]}
    else:
        tokenizer = _autoencoder(vae, size)
        if (given := tokenizer.spec().size("c")) != channels:
            raise InputError("vae", f"{given}-channel latents", f"{channels} channels, as the network takes")
    sampler = "ddpm" if net.prediction.extra else "ddpm:variance=fixed_large"
    return Pipeline(
        modality="video", tokenizer=tokenizer, conditioner=ConstantLabel(label), backbone=net,
        process=TableProcess.named("linear", 1000), defaults=Defaults(sampler, 250, known_mode="compose_input"),
        card=card,
    )  # fmt: skip


def _autoencoder(folder: str | Path, size: tuple[int, int, int]) -> PerFrame:
    """The image autoencoder of a diffusers folder, frame by frame, for latents of `size`."""
    if "sd-vae" not in plugins.provided("tokenizer"):
        raise MissingDependency("gencore_images", "the image autoencoder", "gencore-video[vae]")
    image = plugins.resolve("tokenizer", "sd-vae").from_folder(folder, size[1:])
    fold = image.facts.multiple
    image.size = (size[1] * fold, size[2] * fold)
    return PerFrame(image, size[0])
