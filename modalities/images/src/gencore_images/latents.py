"""Latents without an autoencoder: for checkpoints that come without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gencore.errors import InputError
from gencore.noise import Noise
from gencore.spec import LatentSpec
from gencore.tokenizer import Facts, Latent, Tokenizer


class Latents(Tokenizer):
    """The data *is* the latent, (B, C, H, W), untouched in both directions; no picture comes of it.

    Args:
        channels: C.
        size: default (H, W) of the latent.
        multiple: of H and W, for the backbone's patch.
    """

    def __init__(self, channels: int, size: Sequence[int], *, multiple: int = 1) -> None:
        self.channels, self.size = channels, (int(size[0]), int(size[1]))
        self.facts = Facts(multiple=multiple, fold=(1, 1), exact=True, exact_tiles=True)

    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        h, w = self.size if size is None else size
        return LatentSpec("b c h w", (self.channels, h, w), time_axes=("h", "w"))

    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        return Latent(self.spec(data.shape[2:]).check(data, "data"))

    def decode(self, latent: Latent) -> Tensor:
        return latent.value

    def no_pictures(self) -> InputError:
        """The error for whoever asks this model for pictures."""
        return InputError("images", f"{self.channels}-channel latents of a model without its autoencoder",
                          "a model with one", "gencore convert SYSTEM FILE --vae FOLDER -o NEW makes it")  # fmt: skip

    def config(self) -> dict[str, Any]:
        return {"channels": self.channels, "size": list(self.size), "multiple": self.facts.multiple}
