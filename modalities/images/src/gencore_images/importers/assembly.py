"""From a class-conditional network to a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gencore.conditioners.label import Labels
from gencore.errors import InputError
from gencore.pipeline import Defaults, Pipeline
from gencore.process import GaussianProcess
from gencore.tokenizer import Tokenizer
from gencore_images.importers.official_dit import Read
from gencore_images.latents import Latents

WITHOUT_VAE = "no autoencoder given: this model makes latents, no pictures (--vae FOLDER adds one)"


def assemble(read: Read, process: GaussianProcess, *, sampler: str, steps: int, channels: int, vae: str | Path | None,
             card: Mapping[str, Any]) -> Pipeline:  # fmt: skip
    """The pipeline of `read`; guidance 4 on the first `channels` channels is its default where it has a null row.

    Args:
        vae: diffusers folder of the autoencoder its latents come from, or None for a model of latents.

    Raises:
        CheckpointError: the folder holds none.
        InputError: its latents have other channels.
    """
    state_channels = read.net.config()["channels"]
    tokenizer: Tokenizer = Latents(state_channels, read.size, multiple=read.net.patch[0])
    if vae is not None:
        from gencore_images.vae import SDVAE

        tokenizer = SDVAE.from_folder(vae, read.size)
        fold = tokenizer.facts.multiple
        tokenizer.size = (read.size[0] * fold, read.size[1] * fold)
        if (given := tokenizer.spec().size("c")) != state_channels:
            raise InputError("vae", f"{given}-channel latents", f"{state_channels} channels, as the network takes")
    guidance = f"cfg:scale=4.0,channels={channels}" if read.null else None
    return Pipeline(
        modality="images", tokenizer=tokenizer, conditioner=Labels(read.classes, null=read.null), backbone=read.net,
        process=process, defaults=Defaults(sampler, steps, guidance), card=card,
    )  # fmt: skip
