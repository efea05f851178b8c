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
from gencore.media.files import atomic_write
from gencore.recipe import embed_png

GAP = 2
"""Black pixels between the pictures of a sheet."""


def to_pictures(data: Tensor) -> list[Image.Image]:
    """(B, C, H, W) in [-1, 1], C = 1 or 3, as 8-bit pictures; values outside are clipped."""
    pixels = ((data.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(p[..., 0] if p.shape[-1] == 1 else p) for p in pixels]


def grid(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one size row by row on one sheet, as square as their number allows."""
    columns, rows = _layout(len(pictures))
    w, h = pictures[0].size
    sheet = Image.new(pictures[0].mode, (columns * (w + GAP) - GAP, rows * (h + GAP) - GAP))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * (w + GAP), i // columns * (h + GAP)))
    return sheet


def cut(sheet: np.ndarray, count: int) -> list[np.ndarray]:
    """The `count` pictures of a sheet (H, W, ...) that `grid` made.

    Raises:
        InputError: its sides are not those of such a sheet.
    """
    columns, rows = _layout(count)
    (h, rest_h), (w, rest_w) = divmod(sheet.shape[0] + GAP, rows), divmod(sheet.shape[1] + GAP, columns)
    if rest_h or rest_w:
        raise InputError("image", f"{sheet.shape[1]}x{sheet.shape[0]}", f"a sheet of {columns}x{rows} equal pictures")
    places = [(i // columns * h, i % columns * w) for i in range(count)]
    return [sheet[top : top + h - GAP, left : left + w - GAP] for top, left in places]


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


def _layout(count: int) -> tuple[int, int]:
    columns = int(np.ceil(count**0.5))
    return columns, -(-count // columns)
