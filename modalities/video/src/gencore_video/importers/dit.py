"""DiT image checkpoints (arXiv:2212.09748) as the spatial part of a VDT: where its published training starts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import torch

from gencore.errors import CheckpointError, InputError
from gencore.pipeline import Pipeline
from gencore.weights.dit_layout import REBUILT, RULES, load_official, read_official, size_name
from gencore.weights.importer import imported, recognised_by
from gencore.weights.keymap import Keymap
from gencore_video.backbone import SIZES, VDT, TemporalAttention, VDTBlock
from gencore_video.importers.assembly import assemble
from gencore_video.importers.layout import build

LICENCE = "that of the imported file; the weights published with DiT are CC BY-NC 4.0"
_WIDTHS = {**SIZES, "b": {"width": 768, "depth": 12, "heads": 12}, "dit-l": {"width": 1024, "depth": 24, "heads": 16}}
Start = Literal["xavier", "zero"]
IMAGE_KEYS = Keymap(RULES, ignore=REBUILT)


@recognised_by(IMAGE_KEYS)
def import_vdt_from_dit(
    path: str | Path,
    *,
    frames: int = 16,
    temporal: Start = "xavier",
    label: int = 0,
    seed: int = 0,
    heads: int | None = None,
    vae: Path | None = None,
) -> Pipeline:
    """A video network to be trained on, from an official DiT image file.

    Every tensor of the file finds its place in the spatial part; the temporal part, which no image file has, is new,
    and ``card["imported"]["notes"]`` names its tensors.

    Args:
        path: .pt or .safetensors, a bare state dict or {model, ema, opt, args}.
        frames: number of frames T of the clips.
        temporal: "xavier" starts the temporal part as the published code does, so that frames mix from the start;
            "zero" starts it as no part at all, so that every frame is computed as an image with a place in time.
        label: row of the label table that every clip is given; the last row means "no class".
        seed: of the temporal part.
        heads: attention heads, where the width is not a published one.
        vae: diffusers folder of the autoencoder; the file holds none, and without it the model makes latents.

    Raises:
        CheckpointError: damaged, unsafe, or of another layout.
        InputError: an option that does not suit the file.
    """
    if frames < 1:
        raise InputError("frames", frames, "1 or more")
    file = read_official(path, IMAGE_KEYS, "vdt-from-dit", "an official DiT file")
    if not 0 <= label < file.rows:
        raise InputError("label", label, f"0..{file.rows - 1}, a row of the file's label table")
    net = build(file, file.heads(_WIDTHS, heads), "attention", seed=seed)
    image = build(file, file.heads(_WIDTHS, heads), "none")
    load_official(image, file, IMAGE_KEYS)
    missing = spatial_part(net, image, start=temporal)
    names = sorted({name.partition(".temporal.")[2] for name in missing})
    notes = [
        f"{len(file.state) - 1} tensors mapped to the spatial part, 0 left over; {file.chosen} chosen; "
        f"size {size_name(_WIDTHS, net.config(), file.patch)} inferred",
        f"position table rebuilt: equal to the file's for {file.side}x{file.side} tokens",
        f"{len(missing)} tensors not in the file, new ({temporal}): blocks.0-{file.depth - 1}.temporal."
        f"{{{', '.join(names)}}}",
        f"new: a fixed table of {frames} frames, which an image network never saw; train before use",
        f"label table of {file.rows} rows kept; every sample is given row {label}",
    ]  # fmt: skip
    side = file.side * file.patch
    return assemble(net, (frames, side, side), card=imported("vdt-from-dit", path, notes, LICENCE), label=label,
                    vae=vae)  # fmt: skip


@torch.no_grad()
def spatial_part(net: VDT, image: VDT, *, start: Start = "xavier") -> list[str]:
    """Load the image network `image` into the spatial part of `net`; the names of `net` that it does not have.

    Args:
        start: "zero" makes the temporal part of `net` add nothing yet; "xavier" leaves it as it is.

    Raises:
        CheckpointError: networks of different sizes.
    """
    given = image.state_dict()
    wanted = net.state_dict()
    missing = [name for name in wanted if name not in given]
    if any(".temporal." not in name for name in missing) or any(wanted[k].shape != v.shape for k, v in given.items()):
        raise CheckpointError("checkpoint", "a network of another size", "the sizes of the video network")
    net.load_state_dict({**wanted, **given})
    if start == "zero":
        for block in net.blocks:
            fc = cast(TemporalAttention, cast(VDTBlock, block).temporal).fc
            fc.weight.zero_()
            fc.bias.zero_()
    return missing
