"""Tokens that some encoder made earlier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import InputError
from gencore_robot.conditioning.instructions import stretched
from gencore_robot.conditioning.values import batched, repeated


class Precomputed(Conditioner):
    """The words `name`, (B, N, dims) tokens, and ``name_mask``, (B, N) True where a token counts.

    Args:
        name: of the word and of the network's stream.
        dims: of a token.
        length: most tokens.
        absent: datasets have ``name_null`` beside, the (n, dims) tokens of what stands for nothing, an empty sentence
            or a picture without content; this is how many of them there are, 1 or the number of views.  None is
            without.

    >>> Precomputed("language", 2, 8)({"language": [[0.0, 1.0]], "language_mask": [True]}, 3)[1]["language"].mask.shape
    torch.Size([3, 1])
    """

    def __init__(self, name: str, dims: int, length: int, *, absent: int | None = None) -> None:
        self.name, self.dims, self.length, self.words = name, dims, length, (name, f"{name}_mask")
        self.absent = absent

    def _null(self, tokens: Tensor, count: int) -> Tensor:
        """(count, dims), of the (B, n, dims) that every item of a batch brings."""
        null = batched(f"{self.name}_null", tokens, (None, self.dims))[0].repeat(self.absent or 1, 1)
        if (self.absent or 1) > 1 and len(null) != count:
            raise InputError(f"{self.name}_null", f"{len(null)} tokens of {self.absent} views", f"{count}")
        return stretched(null, count)

    def _tokens(self, value: Any, mask: Any, count: int | None = None) -> Condition:
        if value is None:
            raise InputError(self.name, "nothing", f"tokens of {self.dims} values",
                             "encode it once and keep the tokens")  # fmt: skip
        x = batched(self.name, value, (None, self.dims), count)
        if x.shape[1] > self.length:
            raise InputError(self.name, f"{x.shape[1]} tokens", f"at most {self.length}")
        if mask is None:
            return Condition(x)
        seen = torch.as_tensor(mask)
        seen = seen[None] if seen.ndim == 1 else seen
        if seen.dtype != torch.bool or seen.shape[1:] != x.shape[1:2]:
            raise InputError(f"{self.name}_mask", f"{seen.dtype} of shape {tuple(seen.shape)}",
                             f"bool of shape (B, {x.shape[1]})")  # fmt: skip
        return Condition(x, repeated(f"{self.name}_mask", seen, len(x)))

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        tokens = self._tokens(words.get(self.words[0]), words.get(self.words[1]), count)
        return len(tokens), {self.name: tokens}

    def targets(self, targets: Mapping[str, Tensor]) -> Conditions:
        tokens = self._tokens(targets.get(self.words[0]), targets.get(self.words[1]))
        if self.absent is None:
            return {self.name: tokens}
        return {self.name: replace(tokens, null=self._null(targets[f"{self.name}_null"], tokens.value.shape[1]))}

    def example(self, n: int) -> dict[str, Any]:
        """Tokens that say nothing, for `n` samples."""
        return {self.name: torch.zeros(n, self.length, self.dims)}

    def config(self) -> dict[str, Any]:
        return {"name": self.name, "dims": self.dims, "length": self.length, "absent": self.absent}
