"""One text, several spellings in pieces: "the" is also "t", "he".

A model may draw any of them, and a tokenizer writes one.  So the tokens of a text stand in its recipe where the text
alone does not tell them, and a file is read back as the tokens it was made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gencore.errors import InputError
from gencore_text.tokenizers.base import TextTokenizer


def tokens_beside(tokenizer: TextTokenizer, texts: Sequence[str], rows: Sequence[list[int]]) -> list[list[int] | None]:
    """The ids of each of `texts`, or None where the tokenizer finds the same ones in it.

    >>> from gencore_text.tokenizers.bytes import Bytes
    >>> tokens_beside(Bytes(4), ["ab", "a"], [[97, 98], [97, 259]])
    [None, [97, 259]]
    """
    return [None if _found(tokenizer, text) == row else row for text, row in zip(texts, rows, strict=True)]


def tokens_of(tokenizer: TextTokenizer, texts: Sequence[str], kept: Any = None) -> list[list[int]]:
    """The ids of `texts`: those that were `kept` (of `tokens_beside`) where they spell the text, else the tokenizer's.

    >>> from gencore_text.tokenizers.bytes import Bytes
    >>> tokens_of(Bytes(4), ["ab", "a"], [None, [97, 259]]), tokens_of(Bytes(4), ["b"], [[97]])
    ([[97, 98], [97, 259]], [[98]])

    Raises:
        InputError: characters outside the vocabulary.
    """
    known: list[Any] = kept if isinstance(kept, list) and len(kept) == len(texts) else [None] * len(texts)
    return [row if _spells(tokenizer, row, text) else tokenizer.ids(text)
            for text, row in zip(texts, known, strict=True)]  # fmt: skip


def _found(tokenizer: TextTokenizer, text: str) -> list[int] | None:
    try:
        return [*tokenizer.ids(text)]
    except InputError:
        return None


def _spells(tokenizer: TextTokenizer, row: Any, text: str) -> bool:
    """Whether a recipe's entry is ids of `text`; a file may hold anything."""
    if not isinstance(row, list) or not all(type(token) is int and 0 <= token < tokenizer.vocab for token in row):
        return False
    return tokenizer.mask_id not in row and tokenizer.text(row) == text
