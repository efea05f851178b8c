"""Numbers instead of words, for a model whose tokenizer is not at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gencore.errors import InputError
from gencore_text.tokenizers.base import TextTokenizer


class Numbers(TextTokenizer):
    """Text is the token ids themselves, each followed by a space.

    Args:
        length: the context in tokens.
        vocab: number of token ids, the mask included.
        mask_id: of the mask.

    Raises:
        InputError: a mask outside the vocabulary.

    >>> tokenizer = Numbers(8, vocab=28, mask_id=27)
    >>> tokenizer.ids("3 14 15"), tokenizer.text([3, 27, 15], blank="_ ")
    ([3, 14, 15], '3 _ 15 ')
    """

    def __init__(self, length: int, vocab: int, mask_id: int) -> None:
        super().__init__(length)
        if not 0 <= mask_id < vocab:
            raise InputError("mask_id", mask_id, f"0..{vocab - 1}")
        self.vocab, self.mask_id = vocab, mask_id

    def ids(self, text: str) -> list[int]:
        words = text.split()
        for word in words:
            if not (word.isascii() and word.isdecimal()) or int(word) >= self.vocab or int(word) == self.mask_id:
                raise InputError(
                    "text", repr(word), f"numbers 0..{self.vocab - 1} other than the mask's {self.mask_id}"
                )
        return [int(word) for word in words]

    def plain(self, ids: Sequence[int]) -> str:
        return "".join(f"{i} " for i in ids)

    def config(self) -> dict[str, Any]:
        return {"length": self.length, "vocab": self.vocab, "mask_id": self.mask_id}
