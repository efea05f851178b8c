"""From the paths of discs to anti-aliased frames and back: disc k is drawn in colour channel k alone.

    brightness of a pixel = clip(r - |p - x| + 1/2, 0, 1),   x_hat = sum w p / sum w,   w = max(brightness - 1/4, 0)

with p a pixel's centre, (column + 1/2, row + 1/2).  Discs do not overlap, so channels add without loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gencore_video.physics.motion import Motion

_FLOOR, _FOUND = 0.25, 0.25


def render(motion: Motion, size: Sequence[int]) -> NDArray[np.uint8]:
    """Frames (N, T, H, W) uint8 of size (H, W): one channel a disc, black ground.

    >>> import numpy as np
    >>> render(Motion(np.full((1, 1, 2), 0.5), np.array([0.25])), (4, 4))[0, 0].tolist()[1]
    [0, 202, 202, 0]
    """
    height, width = size
    side = min(height, width)
    x, y = (motion.positions[..., i].T[:, :, None] * side for i in (0, 1))
    dx, dy = x - (np.arange(width) + 0.5), y - (np.arange(height) + 0.5)
    distance = np.sqrt((dy * dy)[..., None] + (dx * dx)[..., None, :])
    cover = np.clip((motion.radii * side)[:, None, None, None] - distance + 0.5, 0, 1)
    return np.rint(cover * 255).astype(np.uint8)


class Track(NamedTuple):
    """Where discs are seen.

    Args:
        positions: (B, T, N, 2) float64 pixels, (x, y); the middle of the frame for a disc that is not seen.
        seen: (B, T, N) bool.
    """

    positions: Tensor
    seen: Tensor


def track(clips: Tensor) -> Track:
    """The discs' sub-pixel centres in clips (B, N, T, H, W) in [-1, 1], one disc a channel.

    A disc counts as seen when its channel holds a quarter of the light of the smallest disc.

    >>> import numpy as np
    >>> clip = torch.from_numpy(render(Motion(np.array([[[0.4, 0.6]]]), np.array([0.1])), (32, 32)))
    >>> [round(v, 1) for v in track(clip[None] / 127.5 - 1).positions.flatten().tolist()]
    [12.8, 19.2]
    """
    from gencore_video.physics.motion import RADII

    height, width = clips.shape[-2:]
    weight = ((clips.double() + 1) / 2 - _FLOOR).clamp(min=0).transpose(1, 2)
    mass = weight.sum((-2, -1))
    x = (weight.sum(-2) * (torch.arange(width) + 0.5)).sum(-1)
    y = (weight.sum(-1) * (torch.arange(height) + 0.5)).sum(-1)
    least = torch.pi * (RADII[0] * min(height, width)) ** 2 * (1 - _FLOOR)
    seen = mass > _FOUND * least
    middle = torch.tensor([width / 2, height / 2], dtype=torch.float64)
    found = torch.stack((x, y), dim=-1) / mass.clamp(min=1e-12)[..., None]
    return Track(torch.where(seen[..., None], found, middle), seen)
