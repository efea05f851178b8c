"""Between data and latents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gencore.errors import InputError
from gencore.noise import Noise
from gencore.spec import LatentSpec


@dataclass(frozen=True, slots=True)
class Facts:
    """What a caller must know to cut data for a tokenizer.

    Args:
        multiple: each data axis must be a multiple of this.
        fold: data cells per latent cell along each grid axis.
        halo: data cells of context that influence a latent cell on each side.
        exact: decode(encode(x)) equals x bit for bit.
        exact_tiles: encoding or decoding in tiles cut at `multiple` equals doing it whole.
    """

    multiple: int = 1
    fold: tuple[int, ...] = ()
    halo: int = 0
    exact: bool = False
    exact_tiles: bool = False


@dataclass(frozen=True, slots=True)
class Latent:
    """An encoded batch.

    Args:
        value: (B, ...) as the tokenizer's `spec` says.
        valid: (B, ...) broadcasting, False on padding; None when all of it counts.
        meta: what `decode` needs beyond the value.
    """

    value: Tensor
    valid: Tensor | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


class Tokenizer(ABC):
    """Encodes data into latents and back.  Stateless; weights, if any, are frozen."""

    facts: Facts

    @abstractmethod
    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        """The latent's axes for data of grid `size` (default: the size the pipeline was made for).

        Raises:
            InputError: a size it cannot encode, with the nearest that it can.
        """

    @abstractmethod
    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        """(B, ...) data to a latent; `noise` samples a stochastic encoder, None takes its mean."""

    @abstractmethod
    def decode(self, latent: Latent) -> Tensor:
        """A latent to (B, ...) data."""

    def mask(self, mask: Tensor) -> Tensor:
        """A data mask (B, 1, *grid), True = generate, as a latent mask: a cell is given only if all its data is."""
        return mask

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """JSON arguments that build an equal tokenizer, weights excepted."""

    def tensors(self) -> dict[str, Tensor]:
        """Its weights, for saving."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights of `tensors`, the names `tensors()` gives."""
        if tensors:
            raise InputError("tokenizer weights", ", ".join(list(tensors)[:3]), "none: this tokenizer has no weights")
