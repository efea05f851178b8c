"""Documents in order, and their contiguous parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from gencore.errors import InputError, unknown

Part = Literal["train", "validation", "test", "all"]
_HELD_OUT = ("validation", "test")
_SHARE = 0.05


@dataclass(frozen=True)
class Corpus:
    """Texts of one storage.

    Args:
        kind: what it is, for people: ``text file``, ``folder of 12 text files``.
        documents: the texts in order.
        parts: documents that the storage itself keeps apart from those, for validation or test.
        of: what part of the storage this is, for people; empty for all of it.

    >>> [Corpus("text", ["0123456789" * 2]).part(name).documents for name in ("validation", "test")]
    [['8'], ['9']]
    """

    kind: str
    documents: list[str]
    parts: dict[str, list[str]] = field(default_factory=dict)
    of: str = ""

    @property
    def characters(self) -> int:
        """Characters in all."""
        return sum(map(len, self.documents))

    def part(self, name: Part) -> Corpus:
        """A part of the documents: contiguous, never shuffled.

        A held-out part that the storage does not keep apart is 5 % of its characters: those at the end are for test,
        those before them for validation, and the rest is for training.

        Raises:
            InputError: an unknown part.
        """
        if name not in get_args(Part):
            raise unknown("split", name, get_args(Part))
        if name in self.parts:
            return Corpus(self.kind, self.parts[name], of=f"its {name} part")
        if name == "all":
            return Corpus(self.kind, [*self.documents, *(text for texts in self.parts.values() for text in texts)])
        cut = [part for part in _HELD_OUT if part not in self.parts]
        ends = [1 - _SHARE * (len(cut) - i) for i in range(len(cut) + 1)]
        low, high = dict(zip(("train", *cut), zip([0.0, *ends], ends, strict=False), strict=True))[name]
        total = self.characters
        first, last = round(total * low), round(total * high)
        chosen, at = [], 0
        for text in self.documents:
            if piece := text[max(first - at, 0) : max(last - at, 0)]:
                chosen.append(piece)
            at += len(text)
        return Corpus(self.kind, chosen, of=f"{name} part, characters {first:,} to {last:,} of {total:,}")

    def mapped(self, change: Callable[[str], str]) -> Corpus:
        """Every text changed."""
        parts = {name: [change(text) for text in texts] for name, texts in self.parts.items()}
        return replace(self, documents=[change(text) for text in self.documents], parts=parts)


def checked_text(content: bytes, name: str) -> str:
    """UTF-8 `content` as text with ``\\n`` line ends and without a byte-order mark.

    Raises:
        InputError: binary data, or another encoding.
    """
    at = content.find(0)
    if at >= 0:
        raise InputError("data", f"{name} (binary: a zero byte at {at})", "UTF-8 text")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        given = f"{name} (byte 0x{content[fault.start]:02x} at {fault.start} is no UTF-8)"
        raise InputError("data", given, "UTF-8 text", "iconv -t utf-8 changes an encoding") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
