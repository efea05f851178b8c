"""Chunks of actions in the unified space as they are, for models that belong to no single robot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gencore.errors import InputError
from gencore.noise import Noise
from gencore.spec import LatentSpec
from gencore.tokenizer import Facts, Latent, Tokenizer


class Chunks(Tokenizer):
    """The identity on (B, horizon, slots); NaN marks slots that a robot lacks, which become zeros that are not scored.

    >>> Chunks(64, 128).spec().shape(2)
    (2, 64, 128)
    """

    facts = Facts(exact=True, exact_tiles=True, fold=(1,))

    def __init__(self, horizon: int, slots: int = 128) -> None:
        self.horizon, self.slots = horizon, slots

    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        if size is not None and tuple(size) != (self.horizon,):
            raise InputError("size", tuple(size), f"({self.horizon},), the horizon this network was made for")
        return LatentSpec("b n c", (self.horizon, self.slots))

    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        there = ~self.spec().check(data, "actions").isnan()
        return Latent(data.where(there, 0.0), None if bool(there.all()) else there)

    def decode(self, latent: Latent) -> Tensor:
        return latent.value

    def mask(self, mask: Tensor) -> Tensor:
        return mask.transpose(1, 2)

    def config(self) -> dict[str, Any]:
        return {"horizon": self.horizon, "slots": self.slots}
