"""Text as UTF-8: 256 byte values and four specials, no dependency, nothing lost.

Bytes that are no UTF-8 travel as lone surrogates (PEP 383), so any ids come back from their text unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gencore.errors import InputError
from gencore_text.tokenizers.base import TextTokenizer


class Bytes(TextTokenizer):
    """Ids 0..255 are byte values; 256 mask, 257 begin, 258 end, 259 padding.

    Args:
        length: the context in bytes.

    >>> tokenizer = Bytes(16)
    >>> tokenizer.ids("né"), tokenizer.text([110, 256, 256], blank="_")
    ([110, 195, 169], 'n__')
    """

    vocab, mask_id, bos_id, eos_id, pad_id = 260, 256, 257, 258, 259

    def ids(self, text: str) -> list[int]:
        try:
            return list(text.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError as fault:
            raise InputError("text", f"{text[fault.start]!r} at {fault.start}", "Unicode text") from None

    def plain(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode("utf-8", "surrogateescape")

    def config(self) -> dict[str, Any]:
        return {"length": self.length}
