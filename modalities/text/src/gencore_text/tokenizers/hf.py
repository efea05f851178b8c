"""A tokenizer in the Hugging Face layout: ``tokenizer.json``, with special tokens named beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gencore.errors import CheckpointError, InputError, MissingDependency
from gencore_text.tokenizers.base import TextTokenizer, as_bytes, as_tensor

FILE = "tokenizer.json"
_NAMES = ("tokenizer_config.json", "special_tokens_map.json")
_TENSOR = "tokenizer_json"
_SPACES = ("\u2581", "\u0120")
"""How files spell a space in front of a piece: SentencePiece's way, and that of byte-level BPE."""


class HFTokenizer(TextTokenizer):
    """Ids of a ``tokenizer.json``, which is kept with the weights.

    Args:
        length: the context in tokens.
        vocab, mask_id: as the file has them; `from_folder` looks them up.
        bos_id, eos_id, pad_id, unk_id: of the file, None where it has none.
    """

    def __init__(self, length: int, vocab: int, mask_id: int, bos_id: int | None = None, eos_id: int | None = None,
                 pad_id: int | None = None, unk_id: int | None = None) -> None:  # fmt: skip
        super().__init__(length)
        self.vocab, self.mask_id, self.bos_id, self.eos_id, self.pad_id = vocab, mask_id, bos_id, eos_id, pad_id
        self.unk_id = unk_id
        self._content: Tensor | None = None
        self._tokenizer: Any = None

    @classmethod
    def from_folder(cls, folder: Path, length: int, *, mask_id: int | None = None) -> HFTokenizer:
        """The tokenizer in `folder`.

        Args:
            mask_id: the mask; None takes the named mask token or, without one, an id after the last (GPT-2: 50257).

        Raises:
            InputError: no such file, or special tokens that it does not know.
            CheckpointError: damaged.
        """
        path = Path(folder) / FILE
        try:
            content = path.read_bytes()
        except OSError as fault:
            raise InputError("tokenizer", f"{path} ({fault.strerror})", f"a folder with {FILE}") from None
        tokenizer, named = _parse(content), _named(Path(folder))
        size: int = tokenizer.get_vocab_size()
        found = dict[str, int]()
        for role, token in named.items():
            if (number := tokenizer.token_to_id(token)) is None:
                raise InputError("tokenizer", f"{role} token '{token}'", f"a token of {path}")
            found[role] = number
        own: int = found.get("mask", size)
        mask = own if mask_id is None else mask_id
        if not 0 <= mask <= size:
            raise InputError("mask_id", mask, f"0..{size - 1} of the file, or {size} for an id of its own")
        bos, eos = found.get("bos", found.get("cls")), found.get("eos", found.get("sep"))
        made = cls(length, max(size, mask + 1), mask, bos, eos, found.get("pad"), found.get("unk"))
        made._content, made._tokenizer = as_tensor(content), tokenizer
        return made

    def ids(self, text: str) -> list[int]:
        encoding = self._ready().encode(text, add_special_tokens=False)
        for token, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True):
            if token == self.unk_id and token not in self.special:
                raise InputError("text", f"{text[start:stop]!r} at {start}", "characters of the vocabulary")
            if token in self.special:
                what = "the mask's" if token == self.mask_id else "a special token's"
                raise InputError("text", f"{what} id {token} inside the data, at {start}", "ids of text")
        return encoding.ids

    def plain(self, ids: Sequence[int]) -> str:
        return self._ready().decode(list(ids), skip_special_tokens=False)

    @property
    def spaced(self) -> frozenset[int]:
        pieces = self._ready().get_vocab().items()
        return frozenset(i for piece, i in pieces if piece[:1] in _SPACES and len(piece) > 1) - self.special

    def config(self) -> dict[str, Any]:
        return {"length": self.length, "vocab": self.vocab, "mask_id": self.mask_id, "bos_id": self.bos_id,
                "eos_id": self.eos_id, "pad_id": self.pad_id, "unk_id": self.unk_id}  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        return {} if self._content is None else {_TENSOR: self._content}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        if set(tensors) != {_TENSOR}:
            raise CheckpointError("tokenizer weights", ", ".join(tensors) or "nothing", _TENSOR)
        self._content = tensors[_TENSOR]
        self._tokenizer = _parse(as_bytes(self._content))

    def _ready(self) -> Any:
        if self._tokenizer is None:
            raise InputError("tokenizer", f"no {FILE}", "one from a folder, or loaded with a model")
        return self._tokenizer


def _parse(content: bytes) -> Any:
    try:
        import tokenizers
    except ImportError:
        raise MissingDependency("tokenizers", "this tokenizer", "gencore-text[hf]") from None
    try:
        tokenizer = tokenizers.Tokenizer.from_str(content.decode())
    except Exception as fault:  # the library raises bare Exception
        raise CheckpointError("tokenizer", f"{FILE} ({str(fault)[:100]})", "a file of the tokenizers library") from None
    # A file may carry the cut and padding of its training; text must come back whole.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _named(folder: Path) -> dict[str, str]:
    """``{role: token}`` of the special tokens the folder's files name, for instance ``{"mask": "[MASK]"}``."""
    found: dict[str, str] = {}
    for name in _NAMES:
        try:
            settings = json.loads((folder / name).read_text("utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            raise CheckpointError("tokenizer", folder / name, "a JSON object") from None
        for role in ("mask", "bos", "eos", "pad", "unk", "cls", "sep"):
            token = settings.get(f"{role}_token")
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                found.setdefault(role, token)
    return found
