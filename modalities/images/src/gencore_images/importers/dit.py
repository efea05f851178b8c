"""DiT checkpoints (arXiv:2212.09748), as published and as its training script writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gencore.denoised import Prediction
from gencore.pipeline import Pipeline
from gencore.processes.tables import TableProcess
from gencore.weights.importer import imported, recognised_by
from gencore_images.importers.assembly import WITHOUT_VAE, assemble
from gencore_images.importers.official_dit import KEYS, read_official

LICENCE = "that of the imported file; the weights published with DiT are CC BY-NC 4.0"


@recognised_by(KEYS)
def import_dit(
    path: str | Path,
    *,
    heads: int | None = None,
    classes: int | None = None,
    predicts: Literal["epsilon", "x0"] = "epsilon",
    schedule: str = "linear",
    steps: int = 1000,
    vae: Path | None = None,
) -> Pipeline:
    """The pipeline of an official DiT file, with its published sampling as default: 250 ancestral steps, guidance 4.

    Sizes come from the shapes of the tensors.  What no shape tells is an option; what was assumed stands in
    ``card["imported"]["notes"]``.

    Args:
        path: .pt or .safetensors, a bare state dict or {model, ema, opt, args}.
        heads: attention heads, where the width is not a published one.
        classes: number of classes; by default the file's own args tell, else one less than the label table's rows
            (the last row is the null label).
        predicts: what the network was trained to predict.
        schedule: name of the noise schedule.
        steps: of the noise schedule.
        vae: diffusers folder of the autoencoder; the file holds none, and without it the model makes latents.

    Raises:
        CheckpointError: damaged, unsafe, or of another layout.
        InputError: an option that does not suit the file.
    """
    read = read_official(path, "dit", lambda doubled: Prediction(predicts, "learned_range" if doubled else None),
                         heads=heads, classes=classes)  # fmt: skip
    learned = read.net.prediction.extra is not None
    notes = [
        *read.notes,
        f"read as DiT ({predicts}{' + learned range' if learned else ''}); SiT files look the same",
        *([] if vae else [WITHOUT_VAE]),
    ]
    sampler = "ddpm" if learned else "ddpm:variance=fixed_large"
    return assemble(read, TableProcess.named(schedule, steps), sampler=sampler, steps=min(250, steps), channels=3,
                    vae=vae, card=imported("dit", path, notes, LICENCE))  # fmt: skip
