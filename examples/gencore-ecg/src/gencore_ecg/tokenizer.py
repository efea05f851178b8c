"""Between millivolts and what the network sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gencore.errors import InputError
from gencore.noise import Noise
from gencore.spec import LatentSpec
from gencore.tokenizer import Facts, Latent, Tokenizer

GAIN = 2.0
"""Latent units a millivolt; a power of two, so that nothing is rounded."""


class Millivolts(Tokenizer):
    """(B, 1, N) signals in mV to latents of about unit deviation, exactly undone.

    Args:
        length: default N.
        multiple: N is a multiple of this, the patch of the network.
    """

    def __init__(self, length: int, *, multiple: int = 1) -> None:
        self.length = length
        self.facts = Facts(multiple=multiple, fold=(1,), exact=True, exact_tiles=True)

    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        sizes, step = (self.length,) if size is None else tuple(size), self.facts.multiple
        if len(sizes) != 1 or sizes[0] < 1 or sizes[0] % step:
            near = max(step, round(sizes[0] / step) * step) if sizes else self.length
            raise InputError("size", "x".join(map(str, sizes)), f"one multiple of {step}", f"nearest: {near}")
        return LatentSpec("b c n", (1, sizes[0]), time_axes=("n",))

    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        return Latent(data * GAIN)

    def decode(self, latent: Latent) -> Tensor:
        return latent.value / GAIN

    def config(self) -> dict[str, Any]:
        return {"length": self.length, "multiple": self.facts.multiple}
