"""Pieces of L tokens of a corpus: what training and evaluation read."""

from __future__ import annotations

from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from gencore.data import Data
from gencore.errors import InputError, unknown
from gencore.tokenizer import Tokenizer
from gencore_text.readers import files as plain
from gencore_text.readers import hf_datasets
from gencore_text.readers.corpus import Corpus, Part, checked_text
from gencore_text.tokenizers.alphabet27 import Alphabet27, simplify
from gencore_text.tokenizers.base import TextTokenizer

EXCERPT = "data/kjv-excerpt.txt"
"""Within the package: the end of the corpus of the packaged default, from its test part."""
NORMALISERS = {"none": str, "simplify": simplify}


class TextData(Data):
    """``{"data": (L,) int64 token ids}``, cut from the documents one after another.

    Documents are joined by the tokenizer's end of text, or by an empty line where it has none.

    Args:
        corpus: the documents.
        tokenizer: None leaves the texts as they are, for a preset to look at; then there are no items.
        stride: tokens from one item's begin to the next: 1 makes every position one, so that an epoch's permutation is
            a random crop a step; L (None) makes items that do not overlap, the rest at the end left out.
        whole: what `corpus` is a part of.

    Raises:
        InputError: fewer than L tokens, or characters outside the vocabulary.
    """

    def __init__(self, corpus: Corpus, tokenizer: TextTokenizer | None, stride: int | None = None,
                 whole: Corpus | None = None) -> None:  # fmt: skip
        self.corpus, self.tokenizer, self.whole = corpus, tokenizer, whole or corpus
        self.length = 0 if tokenizer is None else tokenizer.length
        self.stride = stride or self.length
        if tokenizer is not None and len(self.tokens) < self.length:
            given = f"{len(self.tokens)} tokens ({self.corpus.characters} characters)"
            raise InputError("data", given, f"at least {self.length} tokens, one item")

    @cached_property
    def tokens(self) -> np.ndarray:
        """(N,) unsigned ids of the documents."""
        if self.tokenizer is None:
            raise InputError("data", "texts without a tokenizer", "a pipeline, whose tokenizer makes items of them")
        last, joint = self.tokenizer.eos_id, []
        if len(self.corpus.documents) > 1:
            joint = self.tokenizer.ids("\n\n") if last is None else [last]
        kind = np.min_scalar_type(self.tokenizer.vocab - 1)
        rows = [np.asarray([*(joint if i else ()), *self.tokenizer.ids(text)], kind)
                for i, text in enumerate(self.corpus.documents)]  # fmt: skip
        return np.concatenate(rows) if rows else np.empty(0, kind)

    def __len__(self) -> int:
        return (len(self.tokens) - self.length) // self.stride + 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = index * self.stride
        return {"data": torch.from_numpy(self.tokens[start : start + self.length].astype(np.int64))}

    def other(self, part: Part) -> TextData:
        """Another part of the same storage, in items that do not overlap."""
        return TextData(self.whole.part(part), self.tokenizer, whole=self.whole)

    def describe(self) -> str:
        found = self.corpus.kind + (f", {self.corpus.of}" if self.corpus.of else "")
        found += f": {self.corpus.characters:,} characters"
        if self.tokenizer is None:
            return found
        return f"{found}, {len(self.tokens):,} tokens in {len(self):,} items of {self.length}"


def open_text(
    source: Path | None,
    tokenizer: Tokenizer | None = None,
    *,
    held_out: bool = False,
    split: Part | None = None,
    normalise: Literal["none", "simplify"] | None = None,
    stride: int | None = None,
) -> TextData:
    """The text at `source`, cut for `tokenizer`; ``describe()`` says what was found.

    Understood are: a UTF-8 file, a ``.jsonl`` file with a field ``text``, a folder of such files, a folder with
    train, valid and test files, a data set the library ``datasets`` saved to disk.

    Args:
        source: None is the excerpt that the package holds, all of it held out.
        tokenizer: None leaves the texts as they are.
        held_out: the test part instead of the one to train on: what the source keeps apart, else its last 5 %.
        split: "train", "validation", "test" or "all", instead of what `held_out` says.
        normalise: "simplify" brings text to 27 symbols, "none" leaves it; None simplifies it for `Alphabet27` alone.
        stride: see `TextData`; None is 1 for training and L for held-out parts.

    Raises:
        InputError: nothing there, an empty or binary file, fewer than L tokens, characters outside the vocabulary.
        MissingDependency: ``datasets`` is absent.
    """
    normalise = normalise or ("simplify" if isinstance(tokenizer, Alphabet27) else "none")
    if normalise not in NORMALISERS:
        raise unknown("normalise", normalise, NORMALISERS)
    if stride is not None and stride < 1:
        raise InputError("stride", stride, "1 or more tokens")
    if tokenizer is not None and not isinstance(tokenizer, TextTokenizer):
        raise InputError("tokenizer", type(tokenizer).__name__, "a tokenizer of text")
    part: Part = split or ("all" if source is None else "test" if held_out else "train")
    whole = _corpus(source)
    if normalise != "none":
        whole = whole.mapped(NORMALISERS[normalise])
    corpus = whole.part(part)
    if not any(text.strip() for text in corpus.documents):
        where = "the excerpt" if source is None else source
        raise InputError("data", f"{where} ({corpus.of or 'all of it'}: no text)", "a corpus that is not empty")
    apart = held_out or part in ("validation", "test")
    return TextData(corpus, tokenizer, stride or (None if apart else 1), whole)


def _corpus(source: Path | None) -> Corpus:
    if source is None:
        found = files("gencore_text").joinpath(EXCERPT).read_bytes()
        return Corpus("excerpt of the King James Bible", [checked_text(found, EXCERPT)])
    source = Path(source)
    if not source.exists():
        raise InputError("data", f"{source} (no such file or folder)", "a file or folder of text")
    if source.suffix == ".arrow" or (source.is_dir() and hf_datasets.is_saved(source)):
        return hf_datasets.from_disk(source)
    return plain.from_folder(source) if source.is_dir() else plain.from_file(source)
