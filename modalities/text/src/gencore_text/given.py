"""What a user gives of a text, laid out over its tokens: a beginning, an end, and text with blanks.

    prompt  + ............ + suffix          --prompt "In the" --suffix "Amen." --length 200
    the ______ of the ______                 --infill "the ___ of the ___"

Given tokens are copied into the result, bit for bit; everything between them is made.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gencore.errors import InputError

BLANK, LETTERS = 2, 8
"""Tokens of a blank that names no number: about a word, of pieces and of characters."""
CONTEXTS = 64
"""The longest text, in contexts of the model: beyond one, windows slide over it."""

_BLANK = re.compile(r"_{3,}(\d*)")


class Vocabulary(Protocol):
    """What is asked of a tokenizer."""

    def ids(self, text: str) -> list[int]:
        """Token ids of a text."""
        ...

    @property
    def spaced(self) -> frozenset[int]:
        """Ids of pieces that begin with a space and go on; none where a space is a token of its own."""
        ...


class Layout(NamedTuple):
    """Tokens of one text.

    Args:
        ids: (1, L) int64; what stands in a free place does not count.
        free: (1, 1, L) bool, True = generate.
        spaced: free places whose token has to begin with a space, which was given before a blank.
    """

    ids: Tensor
    free: Tensor
    spaced: tuple[int, ...] = ()


def lay_out(
    vocabulary: Vocabulary,
    *,
    prompt: str | None = None,
    suffix: str | None = None,
    infill: str | None = None,
    length: int | None = None,
    blank: int | None = None,
    context: int,
) -> Layout:
    """The layout that words ask for.

    Args:
        prompt: what the text begins with.
        suffix: what it ends with.
        infill: text with blanks: three or more underscores, and a number where it is not `blank` tokens (``___12``).
        blank: None is about a word: 2 pieces, or 8 characters where tokens are those.
        length: tokens in all; None is the context, and for `infill` just as many as it takes.
        context: the most tokens that may be given, or made at once.

    Raises:
        InputError: given text that does not fit, or two ways to say how the text begins.
    """
    if prompt is not None and infill is not None:
        raise InputError(
            "infill", f"{infill!r} with a prompt", "one of them", "a text to fill in may begin as you like"
        )
    for word, number in (("length", length), ("blank", blank)):
        if number is not None and type(number) is not int:
            raise InputError(word, repr(number), "a whole number of tokens")
    if length is not None and not 1 <= length <= CONTEXTS * context:
        raise InputError("length", length, f"1..{CONTEXTS * context} tokens, {CONTEXTS} contexts of the model")
    if blank is None:
        blank = BLANK if vocabulary.spaced else LETTERS
    if blank < 1:
        raise InputError("blank", blank, "1 or more tokens")
    field = "prompt" if infill is None else "infill"
    start, spaced = ([] if prompt is None else [*vocabulary.ids(prompt)]), ()
    if infill is not None:
        start, spaced = _filled(vocabulary, infill, blank)
    end: list[int | None] = [] if suffix is None else [*vocabulary.ids(suffix)]
    for word, part in ((field, start), ("suffix", end)):
        if len(part) > context:
            raise InputError(word, f"{len(part)} tokens", f"at most {context}, the model's context")
    least = len(start) + len(end)
    if length is None:
        length = least if infill is not None else max(context, least)
    if least > length:
        what = f"at most {length - len(end)} of a text of {length} tokens" if start else f"at most {length}"
        raise InputError(field if start else "suffix", f"{len(start) or len(end)} tokens", what,
                         "--length makes the text longer")  # fmt: skip
    tokens = [*start, *[None] * (length - least), *end]
    ids = torch.tensor([[0 if token is None else token for token in tokens]], dtype=torch.int64)
    return Layout(ids, torch.tensor([[[token is None for token in tokens]]]), spaced)


def _filled(vocabulary: Vocabulary, text: str, blank: int) -> tuple[list[int | None], tuple[int, ...]]:
    """The tokens of a text with blanks, None where something is to be made, and the places that begin with a space."""
    tokens: list[int | None] = []
    spaced: list[int] = []
    at = 0
    for match in _BLANK.finditer(text):
        before = text[at : match.start()]
        # Pieces hold the space before a word: left outside, it would be a token that no word ever follows.
        if before.endswith(" ") and vocabulary.spaced:
            tokens += vocabulary.ids(before[:-1])
            spaced.append(len(tokens))
        else:
            tokens += vocabulary.ids(before)
        count = int(match[1]) if match[1] else blank
        if count < 1:
            raise InputError("infill", f"a blank '{match[0]}'", "___, or ___ and a number of tokens, 1 or more")
        tokens += [None] * count
        at = match.end()
    if not at:
        raise InputError("infill", repr(text), "text with blanks, for instance 'the ___ of the ___'")
    return [*tokens, *vocabulary.ids(text[at:])], tuple(spaced)
