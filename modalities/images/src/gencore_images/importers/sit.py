"""SiT checkpoints (arXiv:2401.08740): DiT's layout, another objective."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gencore.denoised import Prediction, PredictionKind
from gencore.pipeline import Pipeline
from gencore.process import GaussianProcess
from gencore.processes.flows import Clock, LinearFlow, TrigFlow, VariancePreserving
from gencore.weights.importer import imported, recognised_by
from gencore_images.importers.assembly import WITHOUT_VAE, assemble
from gencore_images.importers.official_dit import KEYS, read_official

LICENCE = "that of the imported file; the weights published with SiT are MIT"
KINDS: dict[str, PredictionKind] = {"velocity": "velocity", "noise": "epsilon", "score": "score"}


def path_of(name: str) -> GaussianProcess:
    """SiT's Linear, GVP or VP path; its networks see s = 1 - t, from noise to data."""
    kinds = {"linear": LinearFlow, "gvp": TrigFlow, "vp": VariancePreserving}
    return kinds[name.lower()](Clock(reverse=True))


@recognised_by(KEYS)
def import_sit(
    path: str | Path,
    *,
    heads: int | None = None,
    classes: int | None = None,
    predicts: Literal["velocity", "noise", "score"] = "velocity",
    trained_on: Literal["linear", "gvp", "vp"] = "linear",
    vae: Path | None = None,
) -> Pipeline:
    """The pipeline of an official SiT file, with its published sampling as default: dopri5, guidance 4.

    The key set of a file does not tell a SiT from a DiT, nor the path it was trained on; what was assumed stands in
    ``card["imported"]["notes"]``.  Where the network has twice the channels of its input, the second half carries
    nothing.

    Args:
        path: .pt or .safetensors, a bare state dict or {model, ema, opt, args}.
        heads: attention heads, where the width is not a published one.
        classes: number of classes; by default the file's own args tell, else one less than the label table's rows
            (the last row is the null label).
        predicts: what the network was trained to predict.
        trained_on: the interpolant's path.
        vae: diffusers folder of the autoencoder; the file holds none, and without it the model makes latents.

    Raises:
        CheckpointError: damaged, unsafe, or of another layout.
        InputError: an option that does not suit the file.
    """
    kind = KINDS[predicts]
    read = read_official(path, "sit", lambda doubled: Prediction(kind, "drop" if doubled else None, reverse=True),
                         heads=heads, classes=classes)  # fmt: skip
    notes = [
        *read.notes,
        f"read as SiT ({predicts} on the {trained_on} path); DiT files look the same",
        *([] if vae else [WITHOUT_VAE]),
    ]
    return assemble(read, path_of(trained_on), sampler="dopri5", steps=50, channels=3, vae=vae,
                    card=imported("sit", path, notes, LICENCE))  # fmt: skip
