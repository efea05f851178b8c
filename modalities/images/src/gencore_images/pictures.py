"""Tensors as pictures, several pictures as one sheet, and PNG files with a recipe."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gencore.errors import InputError
from gencore.media import sheet as sheets
from gencore.media.files import atomic_write
from gencore.recipe import embed_png


def to_pictures(data: Tensor) -> list[Image.Image]:
    """(B, C, H, W) in [-1, 1], C = 1 or 3, as 8-bit pictures; values outside are clipped."""
    pixels = ((data.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(p[..., 0] if p.shape[-1] == 1 else p) for p in pixels]


def grid(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one size row by row on one sheet, as square as their number allows."""
    whole = sheets.sheet([np.atleast_3d(np.asarray(picture)) for picture in pictures])
    return Image.fromarray(whole[..., 0] if whole.shape[-1] == 1 else whole)


def cut(whole: np.ndarray, count: int) -> list[np.ndarray]:
    """The `count` pictures of a sheet (H, W) or (H, W, 3) that `grid` made.

    Raises:
        InputError: its sides are not those of such a sheet.
    """
    return [part.reshape(*part.shape[:2], *whole.shape[2:]) for part in sheets.cut(np.atleast_3d(whole), count)]


def read_pixels(source: Any, field: str, mode: str) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 of a path or PIL picture, in PIL mode "L" or "RGB".

    Raises:
        InputError: not a readable picture.
    """
    try:
        picture = source if isinstance(source, Image.Image) else Image.open(source)
        return np.asarray(picture.convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise InputError(field, f"{source} ({type(fault).__name__})", "a readable picture") from fault


def to_data(pixels: np.ndarray) -> Tensor:
    """(H, W) or (H, W, 3) uint8 as (1, C, H, W) float32 in [-1, 1]."""
    data = torch.tensor(pixels).float() / 127.5 - 1
    return data[None, None] if data.ndim == 2 else data.permute(2, 0, 1)[None]


def write_png(picture: Image.Image, path: Path, recipe: dict[str, Any] | None, force: bool) -> None:
    """Write `picture` to `path`, with `recipe` inside unless it is None.

    Raises:
        InputError: the file exists and `force` is false, or its folder or disk refuses.
    """
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    png = buffer.getvalue()
    with atomic_write(path, "wb", force) as file:
        file.write(png if recipe is None else embed_png(png, recipe))
