"""Are unconditional samples new, and do they spread as real clips do?

Features: ``clip-8x8`` is a clip averaged over 8x8 areas, ``frame`` the pixels of its middle frame, ``paths`` the
tracked positions of all discs.  A sample is a copy when it is nearer to some training clip than 99 of 100 held-out
clips are.  Frechet distances carry the name of their feature and compare only at equal numbers of clips.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from gencore.metrics.distances import Array, frechet_distance, nearest_distances
from gencore_video.figures import Truth
from gencore_video.physics.render import track

_PART = 64


def copies(samples: Tensor, real: Truth, train: Truth) -> dict[str, Any]:
    """Shares of copies, and Frechet distances to the training clips, of `samples` and of as many `real` held-out clips.

    Returns:
        for each feature ``copied_F`` (a share in [0, 1]) and ``distance_F`` of ``model`` and ``real``: the mean
        distance to the nearest training clip; for discs ``frechet_paths`` of both.
    """
    features = {"clip-8x8": _coarse, "frame": _frame}
    if real.positions is not None:
        features["paths"] = _paths
    report: dict[str, Any] = {"training_clips": len(train.clips)}
    for name, extract in features.items():
        # In parts, so that no second copy of all training clips is held in double precision.
        known, model, held = (np.concatenate([extract(part) for part in clips.split(_PART)])
                              for clips in (train.clips, samples, real.clips))  # fmt: skip
        near_model, near_real = (nearest_distances(x, known) for x in (model, held))
        report[f"copied_{name}"] = float((near_model < np.percentile(near_real, 1)).mean())
        report[f"distance_{name}"] = {"model": float(near_model.mean()), "real": float(near_real.mean())}
        if name == "paths" and len(samples) >= 2:
            report["frechet_paths"] = {"model": frechet_distance(model, known), "real": frechet_distance(held, known)}
    return report


def _coarse(clips: Tensor) -> Array:
    areas = [max(1, n // 8) for n in clips.shape[-2:]]
    return F.avg_pool3d(clips.double(), (1, *areas)).flatten(1).numpy()


def _frame(clips: Tensor) -> Array:
    return clips[:, :, clips.shape[2] // 2].double().flatten(1).numpy()


def _paths(clips: Tensor) -> Array:
    return track(clips).positions.flatten(1).numpy()
