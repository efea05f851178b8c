"""A contact sheet: the frames of clips as one picture, a row a clip."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from gencore.media.sheet import sheet
from gencore.recipe import embed_png

COLUMNS = 16


def contact_sheet(clips: Sequence[np.ndarray], columns: int = COLUMNS) -> np.ndarray:
    """(H', W', 3) uint8 of clips (T, H, W, 1 or 3): a row each, of at most `columns` frames evenly apart.

    The first and the last frame are always there.

    >>> contact_sheet([np.zeros((40, 8, 8, 3), np.uint8)] * 2).shape
    (18, 158, 3)
    """
    count = min(columns, len(clips[0]))
    shown = np.linspace(0, len(clips[0]) - 1, count).round().astype(int)
    picture = sheet([clip[i] for clip in clips for i in shown], count)
    return picture.repeat(3, -1) if picture.shape[-1] == 1 else picture


def encode_picture(pixels: np.ndarray, recipe: dict[str, Any] | None) -> bytes:
    """(H, W, 3) uint8 as PNG, with `recipe` inside unless it is None.

    Raises:
        InputError: `recipe` is not plain JSON.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue() if recipe is None else embed_png(buffer.getvalue(), recipe)
