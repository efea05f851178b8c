"""The picture of the README: ``python recipes/make_picture.py``.

Rows: real strips of the held-out minute; generated ones, none picked (seeds 0 to 3); a Gaussian of each class; and
four ways in which the model goes on from the beginning of one real strip, which is on the darker ground.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

import gencore
from gencore_ecg.data import LENGTH, open_data
from gencore_ecg.metrics import gaussian
from gencore_ecg.paper import draw

ASKED = [0, 0, 1, 1]


def main() -> None:
    pipe = gencore.load("ecg")
    train, held_out = open_data(None), open_data(None, held_out=True)
    windows = held_out.windows()
    real = [windows[i] for k in (0, 1) for i in [i for i, label in enumerate(held_out.labels) if label == k][4:6]]
    free = torch.arange(LENGTH) >= LENGTH * 7 // 16
    given = torch.from_numpy(real[1])[None, None]
    rows = [
        draw(real, columns=4),
        draw(pipe.generate(label=ASKED, seed=0).samples, columns=4),
        draw(list(gaussian(train.windows(), train.labels, ASKED, 0)), columns=4),
        draw(pipe.generate(label=ASKED, seed=0, known=given, mask=free).samples, columns=4, given=~np.asarray(free)),
    ]
    gap = 24
    sheet = Image.new("RGB", (rows[0].width, sum(row.height + gap for row in rows) - gap), "white")
    at = 0
    for row in rows:
        sheet.paste(row, (0, at))
        at += row.height + gap
    sheet.quantize(48).save(Path(__file__).resolve().parents[1] / "strips.png", optimize=True)


if __name__ == "__main__":
    main()
