"""Strips drawn on electrocardiograph paper: 25 mm a second, 10 mm a millivolt, a line every 1 and 5 mm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from gencore_ecg.beats import RATE

MM, FINE = 5, 3
"""Pixels a millimetre, and how much finer it is drawn before it is scaled down."""
LOW, HIGH = -1.5, 2.5
"""The millivolts a strip shows; what lies outside is clipped."""
_PAPER, _THIN, _THICK, _INK = (255, 250, 248), (250, 222, 218), (238, 170, 162), (20, 24, 48)


def draw(strips: Sequence[np.ndarray], *, columns: int | None = None, given: np.ndarray | None = None) -> Image.Image:
    """Strips (N,) in mV at 128 Hz row by row, RGB.

    Args:
        columns: strips in a row; by default as many as fit into a square-like sheet.
        given: (N,) bool, True where the strips were given: drawn on a darker ground.
    """
    columns = columns or max(1, round(len(strips) ** 0.5 / 1.2))
    width, height = round(len(strips[0]) / RATE * 25) * MM, round((HIGH - LOW) * 10) * MM
    rows, gap = -(-len(strips) // columns), 2 * MM
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for i, strip in enumerate(strips):
        sheet.paste(_strip(strip, width, height, given), (i % columns * (width + gap), i // columns * (height + gap)))
    return sheet


def _strip(strip: np.ndarray, width: int, height: int, given: np.ndarray | None) -> Image.Image:
    step = MM * FINE
    image = Image.new("RGB", (width * FINE, height * FINE), _PAPER)
    pen = ImageDraw.Draw(image)
    across = image.width / len(strip)
    for i in np.flatnonzero(given) if given is not None else ():
        pen.rectangle([i * across, 0, (i + 1) * across, image.height], fill=(246, 236, 216))
    for thick in (False, True):
        lines = range(0, max(image.size) + 1, step * 5 if thick else step)
        for at in lines:
            pen.line([at, 0, at, image.height], fill=_THICK if thick else _THIN, width=2)
            pen.line([0, at, image.width, at], fill=_THICK if thick else _THIN, width=2)
    level = (HIGH - np.clip(strip, LOW, HIGH)) * 10 * step
    points = [((i + 0.5) * across, float(y)) for i, y in enumerate(level)]
    pen.line(points, fill=_INK, width=5, joint="curve")
    return image.resize((width, height), Image.Resampling.LANCZOS)
