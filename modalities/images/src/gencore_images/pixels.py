"""Images as they are: the latent is the picture itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gencore.errors import InputError
from gencore.noise import Noise
from gencore.spec import LatentSpec
from gencore.tokenizer import Facts, Latent, Tokenizer


class Pixels(Tokenizer):
    """(B, C, H, W) floats in [-1, 1], untouched in both directions.

    Args:
        channels: 1 grey or 3 RGB.
        size: default (H, W).
        multiple: of H and W, for the backbone's patch.
    """

    def __init__(self, channels: int, size: Sequence[int], *, multiple: int = 1) -> None:
        self.channels, self.size = channels, (int(size[0]), int(size[1]))
        self.facts = Facts(multiple=multiple, fold=(1, 1), exact=True, exact_tiles=True)

    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        if size is not None and len(size) != 2:
            raise InputError("size", "x".join(map(str, size)), "HxW, for instance 28x28")
        h, w = self.size if size is None else size
        for n in (h, w):
            if n < 1 or n % self.facts.multiple:
                low = n // self.facts.multiple * self.facts.multiple
                near = " or ".join(str(k) for k in (low, low + self.facts.multiple) if k > 0)
                raise InputError("size", f"{h}x{w}", f"multiples of {self.facts.multiple}", f"nearest to {n}: {near}")
        return LatentSpec("b c h w", (self.channels, h, w), time_axes=("h", "w"))

    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        return Latent(data)

    def decode(self, latent: Latent) -> Tensor:
        return latent.value

    def config(self) -> dict[str, Any]:
        return {"channels": self.channels, "size": list(self.size), "multiple": self.facts.multiple}
