"""Instructions that a text encoder read earlier, so that a robot needs none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import CheckpointError, InputError, nearest
from gencore.weights.files import read_tensors, write_tensors
from gencore_robot.conditioning.values import repeated


class EncodedInstructions(Conditioner):
    """The word ``instruction``: a sentence of a file, or one a sample, as its tokens; absent is the empty sentence.

    Args:
        path: .safetensors with the (N, dims) tokens of each sentence under the sentence itself, see `write`.
        name: of the network's stream.

    Raises:
        InputError: a file without sentences, or tokens of several widths.
        CheckpointError: a file that cannot be read.
    """

    words = ("instruction",)

    def __init__(self, path: str | Path, *, name: str = "language") -> None:
        self.path, self.name = str(path), name
        try:
            self.sentences = {said: tokens.float() for said, tokens in read_tensors(path)[0].items()}
        except CheckpointError as fault:
            raise CheckpointError("instructions", fault.given, fault.accepted) from None
        shapes = {tuple(tokens.shape[1:]) for tokens in self.sentences.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            given = f"{self.path} of {len(self.sentences)} sentences, tokens {sorted(shapes)}"
            raise InputError("instructions", given, "(N, dims) tokens of one width, a sentence")

    @staticmethod
    def write(path: str | Path, sentences: Mapping[str, Tensor], *, force: bool = False) -> None:
        """Write such a file: ``{"hand the cube over": T5Text().tokens("hand the cube over"), "": ...}``.

        Raises:
            InputError: the file exists and `force` is false, or it cannot be written.
        """
        write_tensors(path, sentences, force=force)

    def tokens(self, sentence: str) -> Tensor:
        """(N, dims) float32 of one sentence.

        Raises:
            InputError: the file has no such sentence.
        """
        if sentence not in self.sentences:
            there = "; ".join(sorted(filter(None, self.sentences))[:8])
            raise InputError("instruction", repr(sentence), there, nearest(sentence, self.sentences))
        return self.sentences[sentence]

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        said = words.get("instruction") or ""
        sentences = said if isinstance(said, list | tuple) else [said]
        tokens = padded([self.tokens(one) for one in sentences], self.sentences.get(""))
        value, mask = (repeated("instruction", x, count) for x in (tokens.value, tokens.mask) if x is not None)
        return len(value), {self.name: Condition(value, mask, tokens.null)}

    def targets(self, targets: Mapping[str, Any]) -> Conditions:
        return {self.name: padded([self.tokens(one) for one in targets["instruction"]], self.sentences.get(""))}

    def example(self, n: int) -> dict[str, Any]:
        """Sentences for `n` samples."""
        there = sorted(self.sentences)
        return {"instruction": [there[i % len(there)] for i in range(n)]}

    def config(self) -> dict[str, Any]:
        return {"path": self.path, "name": self.name}


def padded(found: Sequence[Tensor], empty: Tensor | None) -> Condition:
    """Sentences of (N, dims) tokens, N of each its own, as one condition with a mask.

    Args:
        empty: (N, dims) tokens of the empty sentence, the null; None is no null.
    """
    longest = max(len(tokens) for tokens in found)
    value = torch.stack([torch.cat([x, x.new_zeros(longest - len(x), x.shape[1])]) for x in found])
    mask = torch.arange(longest) < torch.tensor([len(x) for x in found])[:, None]
    return Condition(value, mask, None if empty is None else stretched(empty, longest))


def stretched(empty: Tensor, longest: int) -> Tensor:
    """(longest, dims) tokens of a null of (N, dims).

    It has the place of its last token for all that follow, which is all that a mask of another length allows.
    """
    return torch.cat([empty, empty[-1:].expand(max(0, longest - len(empty)), -1)])[:longest]
