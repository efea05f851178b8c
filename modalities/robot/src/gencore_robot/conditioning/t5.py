"""Instructions through a T5 encoder (arXiv:1910.10683), by ``transformers``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import InputError, MissingDependency
from gencore_robot.conditioning.cache import EmbeddingCache
from gencore_robot.conditioning.instructions import padded
from gencore_robot.conditioning.values import repeated


class T5Text(Conditioner):
    """The word ``instruction``: a sentence, or one a sample, as the last hidden states of T5; absent is the empty one.

    Sentences are encoded one by one, without padding, kept in memory and, with `cache`, on disk.

    Args:
        model: hub id or folder.
        length: most tokens; longer sentences are refused, not cut.
        name: of the network's stream.
        cache: folder of embeddings; not part of the model.
        dtype: of the encoder.

    Raises:
        MissingDependency: when a sentence is encoded and ``transformers`` is absent.
    """

    words = ("instruction",)

    def __init__(self, model: str = "google/t5-v1_1-xxl", length: int = 1024, *, name: str = "language",
                 cache: str | None = None, dtype: str = "bfloat16") -> None:  # fmt: skip
        self.model, self.length, self.name, self.dtype = model, length, name, dtype
        self.cache = None if cache is None else EmbeddingCache(cache, f"t5 {model} {dtype}")
        self._memory: dict[str, Tensor] = {}
        self._loaded: tuple[Any, Any] | None = None

    def _encode(self, sentence: str) -> Tensor:
        if self._loaded is None:
            try:
                from transformers import AutoTokenizer, T5EncoderModel  # pyright: ignore[reportMissingImports]
            except ImportError as fault:
                raise MissingDependency("transformers", "the T5 encoder", "gencore-robot[encoders]") from fault
            net = T5EncoderModel.from_pretrained(self.model, dtype=getattr(torch, self.dtype))
            self._loaded = AutoTokenizer.from_pretrained(self.model), net.eval()
        tokenizer, net = self._loaded
        ids = tokenizer(sentence, return_tensors="pt").input_ids
        if ids.shape[1] > self.length:
            raise InputError("instruction", f"{ids.shape[1]} tokens", f"at most {self.length}")
        with torch.no_grad():
            return net(input_ids=ids).last_hidden_state[0].float()

    def tokens(self, sentence: str) -> Tensor:
        """(N, dims) float32 of one sentence."""
        if sentence not in self._memory:
            make = lambda: self._encode(sentence)  # noqa: E731
            self._memory[sentence] = make() if self.cache is None else self.cache.get(sentence.encode(), make)
        return self._memory[sentence]

    def _conditions(self, sentences: Sequence[str], count: int | None = None) -> Conditions:
        tokens = padded([self.tokens(sentence) for sentence in sentences], self.tokens(""))
        value, mask = (repeated("instruction", x, count) for x in (tokens.value, tokens.mask) if x is not None)
        return {self.name: Condition(value, mask, tokens.null)}

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        said = words.get("instruction") or ""
        conditions = self._conditions(said if isinstance(said, list | tuple) else [said], count)
        return len(conditions[self.name]), conditions

    def targets(self, targets: Mapping[str, Any]) -> Conditions:
        return self._conditions(targets["instruction"])

    def config(self) -> dict[str, Any]:
        return {"model": self.model, "length": self.length, "name": self.name, "dtype": self.dtype}
