"""What every text tokenizer is: ids both ways, and the rules an id must keep.

Its *data* are already token ids, (B, L) int64, so `encode` and `decode` are the identity; `ids` and `text` lead from
and to strings.  The mask belongs to the process: no data may hold it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.noise import Noise
from gencore.spec import LatentSpec
from gencore.tokenizer import Facts, Latent, Tokenizer


class TextTokenizer(Tokenizer):
    """Token ids 0..vocab - 1, the mask's among them.

    Attributes:
        length: the context: default number of tokens L, and the largest a network sees at once.
        vocab: number of ids, the mask included; what the network's output is wide.
        mask_id: stands for a token not yet known.
        bos_id, eos_id, pad_id: begin of text, end of text, padding; None where there is none.
    """

    length: int
    vocab: int
    mask_id: int
    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None

    def __init__(self, length: int) -> None:
        if length < 1:
            raise InputError("length", length, "1 or more tokens")
        self.length, self.facts = int(length), Facts(fold=(1,), exact=True, exact_tiles=True)

    @abstractmethod
    def ids(self, text: str) -> list[int]:
        """The ids of `text`, never a special one.

        Raises:
            InputError: characters that no id stands for.
        """

    @abstractmethod
    def plain(self, ids: Sequence[int]) -> str:
        """The text of ids none of which is special."""

    @property
    def special(self) -> frozenset[int]:
        """The ids that are no text."""
        return frozenset(i for i in (self.mask_id, self.bos_id, self.eos_id, self.pad_id) if i is not None)

    @property
    def spaced(self) -> frozenset[int]:
        """The ids of pieces that begin with a space and go on; none where a space is always a token of its own."""
        return frozenset()

    def text(self, ids: Iterable[int] | Tensor, blank: str = "") -> str:
        """The text of `ids` (L,), with `blank` for each mask; other special ids are left out.

        Raises:
            InputError: an id outside 0..vocab - 1.
        """
        values = [int(i) for i in (ids.tolist() if isinstance(ids, Tensor) else ids)]
        if stray := [i for i in values if not 0 <= i < self.vocab]:
            raise InputError("token id", stray[0], f"0..{self.vocab - 1}")
        kept = [i for i in values if i == self.mask_id or i not in self.special]
        runs = ((masked, list(run)) for masked, run in groupby(kept, key=lambda i: i == self.mask_id))
        return "".join(blank * len(run) if masked else self.plain(run) for masked, run in runs)

    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        # More than the context is a matter of samplers: windows may slide over it.
        if size is not None and (len(size) != 1 or size[0] < 1):
            raise InputError("length", "x".join(map(str, size)), "one number of tokens, 1 or more")
        return LatentSpec("b n", (self.length if size is None else int(size[0]),), kind="discrete", vocab=self.vocab)

    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        """(B, L) token ids as they are; padding is not valid.

        Raises:
            InputError: not integers, ids outside the vocabulary, or the mask among them.
        """
        if data.is_floating_point() or data.ndim != 2:
            raise InputError(
                "text", f"{str(data.dtype).removeprefix('torch.')} of rank {data.ndim}", "(B, L) token ids"
            )
        data = data.long()
        if data.numel():
            low, high = (int(end) for end in data.aminmax())
            if low < 0 or high >= self.vocab:
                raise InputError("token id", low if low < 0 else high, f"0..{self.vocab - 1}")
            if bool((data == self.mask_id).any()):
                raise InputError("text", f"the mask's id {self.mask_id} inside the data", "ids of text")
        if self.pad_id is None:
            return Latent(data)
        valid = data != self.pad_id
        return Latent(data, None if bool(valid.all()) else valid)

    def decode(self, latent: Latent) -> Tensor:
        return latent.value

    def mask(self, mask: Tensor) -> Tensor:
        """(B, 1, L) bool over the data grid as (B, L)."""
        return mask.squeeze(1) if mask.ndim == 3 else mask


def as_bytes(tensor: Tensor) -> bytes:
    """The bytes of a (N,) uint8 tensor."""
    return tensor.cpu().numpy().tobytes()


def as_tensor(content: bytes) -> Tensor:
    """`content` as a (N,) uint8 tensor, the form in which a tokenizer's file lies beside a model's weights.

    >>> as_bytes(as_tensor(b"ab"))
    b'ab'
    """
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)
