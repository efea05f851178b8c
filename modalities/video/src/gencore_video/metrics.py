"""How close clips are to the true ones, cell by cell (PSNR), in structure (SSIM), and in where the discs are.

    PSNR = 10 log10(1 / MSE)                                                            brightness in [0, 1]
    SSIM = (2 mx my + C1)(2 sxy + C2) / ((mx^2 + my^2 + C1)(sx^2 + sy^2 + C2))          (Wang et al. 2004)

with local moments under an 11x11 Gaussian window of deviation 1.5, C1 = 0.01^2, C2 = 0.03^2, channel by channel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gencore.errors import InputError

_WINDOW, _DEVIATION = 11, 1.5


def psnr(made: Tensor, true: Tensor, cells: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio (B,) in dB of clips (B, C, T, H, W) in [-1, 1], over `cells` alone if given.

    Args:
        cells: bool, broadcasting against the clips, at least one True a clip.

    Returns:
        float64; 100 where a clip equals the true one, so that means stay finite.

    >>> psnr(torch.zeros(1, 1, 1, 8, 8), torch.full((1, 1, 1, 8, 8), 0.5)).round(decimals=2).tolist()
    [12.04]
    """
    error = ((made.double() - true.double()) / 2) ** 2
    return -10 * torch.log10(_mean(error, cells).clamp(min=1e-10))


def ssim(made: Tensor, true: Tensor, cells: Tensor | None = None) -> Tensor:
    """Structural similarity (B,) in [-1, 1] of clips (B, C, T, H, W) in [-1, 1], frame by frame, averaged over `cells`.

    Borders are reflected, so that every cell has a window.

    Raises:
        InputError: sides below 6, which reflection cannot extend to a window.
    """
    if min(true.shape[-2:]) <= _WINDOW // 2:
        raise InputError("clip", f"{true.shape[-1]}x{true.shape[-2]}", "sides of 6 or more")
    x, y = ((v.double() + 1) / 2 for v in (made, true))
    mx, my = _local(x), _local(y)
    sxx, syy, sxy = _local(x * x) - mx * mx, _local(y * y) - my * my, _local(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mx * my + c1) * (2 * sxy + c2) / ((mx * mx + my * my + c1) * (sxx + syy + c2))
    return _mean(index, cells)


def _local(x: Tensor) -> Tensor:
    """The Gaussian-windowed mean at every cell of (B, C, T, H, W)."""
    reach = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    kernel = torch.exp(-(reach**2) / (2 * _DEVIATION**2))
    kernel = (kernel / kernel.sum()).to(x.device)
    flat = x.reshape(-1, 1, *x.shape[-2:])
    flat = F.pad(flat, (_WINDOW // 2,) * 4, mode="reflect")
    flat = F.conv2d(F.conv2d(flat, kernel[None, None, None]), kernel[None, None, :, None])
    return flat.reshape(x.shape)


def _mean(x: Tensor, cells: Tensor | None) -> Tensor:
    if cells is None:
        return x.flatten(1).mean(1)
    cells = cells.expand(x.shape).flatten(1)
    return (x.flatten(1) * cells).sum(1) / cells.sum(1)
