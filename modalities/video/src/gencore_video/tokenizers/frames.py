"""Clips as they are: the latent is the frames themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gencore.errors import InputError
from gencore.noise import Noise
from gencore.spec import LatentSpec
from gencore.tokenizer import Facts, Latent, Tokenizer
from gencore_video.rate import spell_rate


class Frames(Tokenizer):
    """(B, C, T, H, W) floats in [-1, 1], untouched in both directions.

    Args:
        channels: 1 grey or 3 RGB.
        size: default (T, H, W).
        multiple: of H and W, for the backbone's patch; any T goes.
        fps: frames a second of the clips, ``"10"``, ``"30000/1001"``, or a number.

    >>> import torch
    >>> frames, clip = Frames(3, (8, 16, 16), fps="10"), torch.zeros(1, 3, 8, 16, 16)
    >>> frames.encode(clip).value is clip, frames.spec().axes
    (True, 'b c t h w')
    """

    def __init__(self, channels: int, size: Sequence[int], *, multiple: int = 1, fps: str | float = "10") -> None:
        if channels not in (1, 3):
            raise InputError("channels", channels, "1 (grey) or 3 (RGB)")
        self.channels, self.size, self.multiple = channels, tuple(map(int, size)), multiple
        self.fps = spell_rate(fps)
        self.facts = Facts(fold=(1, 1, 1), exact=True, exact_tiles=True)

    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        t, h, w = clip_size(self.size if size is None else size, self.multiple)
        return LatentSpec("b c t h w", (self.channels, t, h, w), time_axes=("t",))

    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        return Latent(data)

    def decode(self, latent: Latent) -> Tensor:
        return latent.value

    def config(self) -> dict[str, Any]:
        return {"channels": self.channels, "size": list(self.size), "multiple": self.multiple, "fps": self.fps}


def clip_size(size: Sequence[int], multiple: int) -> tuple[int, int, int]:
    """`size` as (T, H, W) if frames of it can be cut at `multiple`.

    Raises:
        InputError: not three numbers, or H or W that is no multiple, with the nearest that are.
    """
    if len(size) != 3:
        raise InputError("size", "x".join(map(str, size)), "TxHxW, for instance 16x32x32")
    t, h, w = map(int, size)
    if t < 1:
        raise InputError("size", f"{t} frames", "1 or more")
    for n in (h, w):
        if n < 1 or n % multiple:
            low = n // multiple * multiple
            near = " or ".join(str(k) for k in (low, low + multiple) if k > 0)
            raise InputError(
                "size", f"{t}x{h}x{w}", f"sides that are multiples of {multiple}", f"nearest to {n}: {near}"
            )
    return t, h, w
