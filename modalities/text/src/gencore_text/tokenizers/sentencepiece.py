"""SentencePiece (arXiv:1808.06226) without its traps.

Its defaults normalise text, drop and add spaces and lose unknown characters.  A model trained here has identity
normalisation, keeps all white space, falls back to bytes, and holds an explicit mask, so that text comes back exactly.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gencore.errors import CheckpointError, InputError, MissingDependency
from gencore_text.tokenizers.base import TextTokenizer, as_bytes, as_tensor

MASK = "<mask>"
_SPACE = "\u2581"
_TENSOR = "sentencepiece"


class SentencePiece(TextTokenizer):
    """Sub-word ids of a SentencePiece model, which is kept with the weights.

    Args:
        length: the context in tokens.
        vocab, mask_id: as the model has them; `train` and `from_file` look them up.  A mask beyond the model's own
            pieces is an id of its own.
        bos_id, eos_id, pad_id: of the model, None where it has none.
    """

    def __init__(self, length: int, vocab: int, mask_id: int, bos_id: int | None = None, eos_id: int | None = None,
                 pad_id: int | None = None) -> None:  # fmt: skip
        super().__init__(length)
        self.vocab, self.mask_id, self.bos_id, self.eos_id, self.pad_id = vocab, mask_id, bos_id, eos_id, pad_id
        self._model: Tensor | None = None
        self._processor: Any = None

    @classmethod
    def train(cls, source: Iterable[str] | Sequence[Path], *, vocab: int = 1024, length: int = 256,
              kind: str = "bpe") -> SentencePiece:  # fmt: skip
        """A model of texts, trained in memory.

        Args:
            source: texts, or files of them.
            vocab: ids in all, of which 259 are bytes and specials; fewer where the texts do not hold so many.
            kind: "bpe" or "unigram".

        Raises:
            InputError: no text, or a vocabulary too small for the characters of the texts.
            MissingDependency: sentencepiece is absent.
        """
        library, model = _library(), io.BytesIO()
        try:
            library.SentencePieceTrainer.Train(
                sentence_iterator=_lines(source), model_writer=model, vocab_size=vocab, model_type=kind,
                hard_vocab_limit=False, byte_fallback=True, normalization_rule_name="identity",
                remove_extra_whitespaces=False, add_dummy_prefix=False, character_coverage=1.0,
                control_symbols=[MASK], user_defined_symbols=["\n"], pad_id=3, max_sentence_length=1 << 16,
                num_threads=1, minloglevel=3,
            )  # fmt: skip
        except (RuntimeError, OSError) as fault:
            reason = str(fault).splitlines()[-1][:200]
            raise InputError("vocabulary", f"{vocab} of this text ({reason})", "another size, or more text") from None
        return cls.from_model(model.getvalue(), length)

    @classmethod
    def from_file(cls, path: Path, length: int, *, mask_id: int | None = None) -> SentencePiece:
        """The model in a ``.model`` file; see `from_model`."""
        try:
            return cls.from_model(path.read_bytes(), length, mask_id=mask_id)
        except OSError as fault:
            raise InputError("tokenizer", f"{path} ({fault.strerror})", "a SentencePiece .model file") from None

    @classmethod
    def from_model(cls, model: bytes, length: int, *, mask_id: int | None = None) -> SentencePiece:
        """The tokenizer of a serialised model.

        Args:
            mask_id: the mask; None takes the piece ``<mask>`` or, without one, an id after the last piece.

        Raises:
            CheckpointError: damaged.
        """
        processor = _processor(model)
        size, found = processor.GetPieceSize(), processor.PieceToId(MASK)
        own: int = found if processor.IdToPiece(found) == MASK else size
        mask = own if mask_id is None else mask_id
        if not 0 <= mask <= size:
            raise InputError("mask_id", mask, f"0..{size - 1} of the model, or {size} for an id of its own")
        specials = (processor.bos_id(), processor.eos_id(), processor.pad_id())
        bos, eos, pad = (None if i < 0 else i for i in specials)
        made = cls(length, max(size, mask + 1), mask, bos, eos, pad)
        made._model, made._processor = as_tensor(model), processor
        return made

    def ids(self, text: str) -> list[int]:
        if (at := text.find(_SPACE)) >= 0:
            raise InputError("text", f"{_SPACE!r} at {at}", "any text without it: SentencePiece writes spaces so")
        processor = self._ready()
        found = processor.EncodeAsIds(text)
        unknown = processor.unk_id()
        if unknown in found:
            lost = next((c for c in text if unknown in processor.EncodeAsIds(c)), text[:1])
            raise InputError("text", repr(lost), "characters of the vocabulary: this model has no byte fallback")
        if self.mask_id in found:
            raise InputError("text", f"the mask's id {self.mask_id} inside the data", "ids of text")
        return found

    def plain(self, ids: Sequence[int]) -> str:
        return self._ready().DecodeIds(list(ids))

    @property
    def spaced(self) -> frozenset[int]:
        processor = self._ready()
        pieces = (processor.IdToPiece(i) for i in range(processor.GetPieceSize()))
        return frozenset(i for i, piece in enumerate(pieces) if piece[0] == _SPACE != piece) - self.special

    def config(self) -> dict[str, Any]:
        return {"length": self.length, "vocab": self.vocab, "mask_id": self.mask_id, "bos_id": self.bos_id,
                "eos_id": self.eos_id, "pad_id": self.pad_id}  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        return {} if self._model is None else {_TENSOR: self._model}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        if set(tensors) != {_TENSOR}:
            raise CheckpointError("tokenizer weights", ", ".join(tensors) or "nothing", _TENSOR)
        self._model = tensors[_TENSOR]
        self._processor = _processor(as_bytes(self._model))

    def _ready(self) -> Any:
        if self._processor is None:
            raise InputError("tokenizer", "no SentencePiece model", "one that was trained, or loaded with a model")
        return self._processor


def _lines(source: Iterable[str] | Sequence[Path]) -> Iterable[str]:
    for part in source:
        text = part.read_text("utf-8") if isinstance(part, Path) else part
        yield from filter(None, text.split("\n"))


def _processor(model: bytes) -> Any:
    processor = _library().SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except (RuntimeError, OSError) as fault:
        raise CheckpointError("tokenizer", f"{len(model)} bytes", "a SentencePiece model") from fault
    return processor


def _library() -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise MissingDependency("sentencepiece", "this tokenizer", "gencore-text") from None
    return sentencepiece
