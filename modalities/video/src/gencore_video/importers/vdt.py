"""VDT checkpoints (arXiv:2305.13311), video and image mode."""

from __future__ import annotations

from pathlib import Path

from gencore.pipeline import Pipeline
from gencore.weights.dit_layout import load_official, read_official, size_name
from gencore.weights.importer import imported, recognised_by
from gencore_video.backbone import SIZES
from gencore_video.importers.assembly import assemble
from gencore_video.importers.layout import KEYS, build, frames_of

LICENCE = "that of the imported file; the weights published with VDT are CC BY-NC 4.0"


@recognised_by(KEYS)
def import_vdt(path: str | Path, *, heads: int | None = None, vae: Path | None = None) -> Pipeline:
    """The pipeline of an official VDT file, with its published sampling as default: ancestral, given cells composed.

    Sizes come from the shapes of the tensors, the number of frames included.  Every tensor finds its place or the
    import fails, where the published loader drops what does not fit.  What was assumed stands in
    ``card["imported"]["notes"]``.

    Args:
        path: .pt or .safetensors, a bare state dict or {model, ema, ...}.
        heads: attention heads, where the width is not a published one.
        vae: diffusers folder of the autoencoder; the file holds none, and without it the model makes latents.

    Raises:
        CheckpointError: damaged, unsafe, or of another layout.
        InputError: heads that do not suit the file.
    """
    file = read_official(path, KEYS, "vdt", "an official VDT file")
    frames = frames_of(file)
    net = build(file, file.heads(SIZES, heads), "none" if frames is None else "attention")
    load_official(net, file, KEYS)
    tables = 1 if frames is None else 2
    notes = [
        f"{len(file.state) - tables} tensors mapped, 0 left over; {file.chosen} chosen; "
        f"size {size_name(SIZES, net.config(), file.patch)} inferred",
        f"position table rebuilt: equal to the file's for {file.side}x{file.side} tokens",
        "image mode: no temporal tensors in the file, so frames do not see each other" if frames is None
        else f"table of the frames rebuilt: equal to the file's for {frames} frames; other lengths work",
        f"label table of {file.rows} rows kept; every sample is given row 0, as published",
        "read as epsilon" + (" + learned range" if file.outputs == 2 else "") + ", 1000 linear steps",
    ]  # fmt: skip
    side = file.side * file.patch
    return assemble(net, (frames or 1, side, side), card=imported("vdt", path, notes, LICENCE), vae=vae)
