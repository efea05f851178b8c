"""Embeddings kept on disk, so that an encoder of billions of parameters runs once for each picture or sentence."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from torch import Tensor

from gencore.errors import CheckpointError, InputError
from gencore.weights.files import read_tensors, write_tensors


class EmbeddingCache:
    """One .safetensors file for each encoder and content, named after the hash of both.

    Args:
        folder: created where it does not exist.
        encoder: whatever changes an embedding: the model and its settings.

    >>> import tempfile, torch
    >>> cache = EmbeddingCache(tempfile.mkdtemp(), "halves")
    >>> cache.get(b"\\x04", lambda: torch.tensor(2.0)), cache.get(b"\\x04", lambda: torch.tensor(9.0))
    (tensor(2.), tensor(2.))

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, folder: str | Path, encoder: str) -> None:
        self.folder, self.encoder = Path(folder), encoder
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise InputError("cache", f"{folder} ({fault.strerror})", "a folder that can be written") from None

    def path(self, content: bytes) -> Path:
        """Where the embedding of `content` is, or will be."""
        digest = blake2b(self.encoder.encode() + b"\0" + content, digest_size=20).hexdigest()
        return self.folder / f"{digest}.safetensors"

    def get(self, content: bytes, make: Callable[[], Tensor]) -> Tensor:
        """The embedding of `content`, made and written where it is not there yet or damaged."""
        path = self.path(content)
        if path.exists():
            try:
                return read_tensors(path)[0]["tokens"]
            except (CheckpointError, KeyError):
                path.unlink(missing_ok=True)
        tokens = make()
        # Another worker may have written the same meanwhile.
        write_tensors(path, {"tokens": tokens}, {"encoder": self.encoder}, force=True)
        return tokens
