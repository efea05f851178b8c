"""The 27-symbol benchmark: a to z and the space (the protocol of text8).

`simplify` brings any text to it as text8 was made: lower case, digits spelt out, everything else a single space.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from gencore.errors import InputError
from gencore_text.tokenizers.base import TextTokenizer

SYMBOLS = " abcdefghijklmnopqrstuvwxyz"
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def simplify(text: str) -> str:
    """`text` in the 27 symbols; accents are dropped, no two spaces follow each other.

    >>> simplify("Élan, 42!")
    'elan four two '
    """
    text = unicodedata.normalize("NFKD", text).lower()
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub("[0-9]", lambda digit: f" {_DIGITS[int(digit.group())]} ", text)
    return re.sub("[^a-z]+", " ", text)


class Alphabet27(TextTokenizer):
    """Ids 0 (space), 1..26 (a..z), and 27 for the mask.

    Args:
        length: the context in characters.

    >>> Alphabet27(8).ids("a z")
    [1, 0, 26]
    """

    vocab, mask_id = 28, 27

    def ids(self, text: str) -> list[int]:
        found = [SYMBOLS.find(c) for c in text]
        if -1 in found:
            at = found.index(-1)
            raise InputError("text", f"{text[at]!r} at {at}", "a to z and spaces")
        return found

    def plain(self, ids: Sequence[int]) -> str:
        return "".join(SYMBOLS[i] for i in ids)

    def config(self) -> dict[str, Any]:
        return {"length": self.length}
