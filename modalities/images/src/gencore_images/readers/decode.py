"""Encoded pictures (PNG, JPEG, WebP ...) to arrays."""

from __future__ import annotations

import struct
import warnings
from io import BytesIO
from typing import IO

import numpy as np

from gencore_images.readers.source import Unreadable

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
MAX_PIXELS = 2**28


def decode(file: IO[bytes] | bytes) -> np.ndarray:
    """(H, W, C) uint8, C = 1 for grey pictures and 3 for all others, turned upright as the camera noted.

    Transparent pixels are laid on white; of an animation the first frame counts; 16-bit grey keeps its upper 8 bits.

    Raises:
        Unreadable: damaged, truncated, no picture, or more than 2^28 pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns far below MAX_PIXELS; the limit is ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(BytesIO(file) if isinstance(file, bytes) else file)
            if image.width * image.height > MAX_PIXELS:
                raise Unreadable(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS}")
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):
                return (np.asarray(image) >> 8).astype(np.uint8)[..., None]
            if image.mode in ("I", "F"):
                raise Unreadable("32-bit pixels")
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            grey = image.mode in ("L", "1")
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except UnidentifiedImageError:
        raise Unreadable("no picture") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as fault:
        raise Unreadable(str(fault).partition("\n")[0] or type(fault).__name__) from None
    return pixels[..., None] if grey else pixels
