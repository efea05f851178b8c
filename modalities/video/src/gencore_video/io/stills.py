"""Pictures as frames: one picture, or a folder of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gencore.errors import InputError

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


def read_picture(source: Any, field: str, mode: str = "RGB") -> np.ndarray:
    """(H, W, 3) uint8, or (H, W) in mode "L", of a path or PIL picture.

    Raises:
        InputError: not a readable picture.
    """
    try:
        picture = source if isinstance(source, Image.Image) else Image.open(source)
        return np.asarray(picture.convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise InputError(field, f"{source} ({type(fault).__name__})", "a readable picture") from fault


def read_folder(folder: Path, field: str) -> np.ndarray:
    """(T, H, W, 3) uint8: the pictures of `folder`, by the numbers in their names.

    Raises:
        InputError: no pictures, an unreadable one, or pictures of several sizes.
    """
    files = [file for file in folder.iterdir() if file.suffix.lower() in PICTURES and not file.name.startswith(".")]
    if not files:
        raise InputError(field, f"{folder} (no pictures)", f"a folder of frames: {', '.join(sorted(PICTURES))}")
    frames = [read_picture(file, field) for file in sorted(files, key=natural)]
    odd = next((frame for frame in frames if frame.shape != frames[0].shape), None)
    if odd is not None:
        sizes = " and ".join(f"{frame.shape[1]}x{frame.shape[0]}" for frame in (frames[0], odd))
        raise InputError(field, f"{folder} with pictures of {sizes}", "frames of one size")
    return np.stack(frames)


def natural(path: Path) -> tuple[list[str | int], str]:
    """A key that sorts frame-9 before frame-10.

    >>> [p.name for p in sorted(map(Path, ["f10.png", "f9.png"]), key=natural)]
    ['f9.png', 'f10.png']
    """
    parts = re.split(r"([0-9]+)", path.name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name
