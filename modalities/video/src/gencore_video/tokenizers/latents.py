"""Clips of latents without an autoencoder: for checkpoints that come without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gencore.noise import Noise
from gencore.spec import LatentSpec
from gencore.tokenizer import Facts, Latent, Tokenizer
from gencore_video.tokenizers.frames import clip_size


class ClipLatents(Tokenizer):
    """The data *is* the latent, (B, C, T, H, W), untouched in both directions; no video comes of it.

    Args:
        channels: C.
        size: default (T, H, W) of the latent.
        multiple: of H and W, for the backbone's patch.
    """

    def __init__(self, channels: int, size: Sequence[int], *, multiple: int = 1) -> None:
        self.channels, self.multiple, self.size = channels, multiple, clip_size(size, multiple)
        self.facts = Facts(fold=(1, 1, 1), exact=True, exact_tiles=True)

    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        sizes = clip_size(self.size if size is None else size, self.multiple)
        return LatentSpec("b c t h w", (self.channels, *sizes), time_axes=("t",))

    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        return Latent(self.spec(data.shape[2:]).check(data, "data"))

    def decode(self, latent: Latent) -> Tensor:
        return latent.value

    def config(self) -> dict[str, Any]:
        return {"channels": self.channels, "size": list(self.size), "multiple": self.multiple}
