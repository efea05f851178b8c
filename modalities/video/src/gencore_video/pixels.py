"""Frames as 8-bit arrays and as tensors, and their size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = np.array([0.299, 0.587, 0.114])
"""Rec. 601 weights of red, green and blue."""


def to_data(frames: np.ndarray, channels: int) -> Tensor:
    """(T, H, W, 1 or 3) uint8 as (C, T, H, W) float32 in [-1, 1]; grey by Rec. 601 luma.

    >>> to_data(np.full((1, 1, 1, 3), 255, np.uint8), 1).flatten().tolist()
    [1.0]
    """
    if channels == 1 and frames.shape[-1] == 3:
        frames = np.rint(frames @ LUMA).astype(np.uint8)[..., None]
    data = torch.from_numpy(frames.copy()).permute(3, 0, 1, 2).float() / 127.5 - 1
    return data.expand(channels, -1, -1, -1)


def to_frames(data: Tensor) -> list[np.ndarray]:
    """(B, C, T, H, W) in [-1, 1] as (T, H, W, C) uint8 each; values outside are clipped.

    >>> to_frames(torch.tensor([-1.0, 1.0]).reshape(1, 1, 2, 1, 1))[0].ravel().tolist()
    [0, 255]
    """
    pixels = ((data.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(pixels.permute(0, 2, 3, 4, 1).cpu().numpy())


def resized(clip: Tensor, size: tuple[int, int], *, crop: bool) -> Tensor:
    """(C, T, H, W) in [-1, 1] brought to `size` (H, W) with antialiasing.

    Args:
        crop: scale until it covers `size` and cut what sticks out on both sides; else stretch.

    >>> resized(torch.zeros(3, 2, 9, 20), (8, 8), crop=True).shape
    torch.Size([3, 2, 8, 8])
    """
    (h, w), (height, width) = clip.shape[2:], size
    if (h, w) == size:
        return clip
    scale = max(height / h, width / w)
    fitted = (max(height, round(h * scale)), max(width, round(w * scale))) if crop else size
    clip = F.interpolate(clip.transpose(0, 1), fitted, mode="bicubic", antialias=True).transpose(0, 1).clamp(-1, 1)
    top, left = (clip.shape[2] - height) // 2, (clip.shape[3] - width) // 2
    return clip[:, :, top : top + height, left : left + width].contiguous()
