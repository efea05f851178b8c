"""Tar shards in the WebDataset layout: files that share a name up to the first dot of the base name are one sample.

Shards are read in place: names, offsets and labels are collected once, pictures when asked for, in any order.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from gencore.errors import InputError
from gencore_images.readers.decode import SUFFIXES, decode
from gencore_images.readers.source import Unreadable


class TarSource:
    """Pictures of uncompressed .tar shards; the label is a number in ``.cls``, or ``label`` in ``.json``.

    Raises:
        InputError: a shard is truncated, compressed or no tar file, or only some pictures have labels.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self.kind = f"{len(shards)} tar shard{'s' * (len(shards) > 1)}"
        self.places: list[tuple[Path, str, int, int]] = []
        labels: list[int | None] = []
        for shard in shards:
            known: dict[str, int] = {}
            places: dict[str, tuple[Path, str, int, int]] = {}
            self._index(shard, known, places)
            self.places += places.values()
            labels += [known.get(key) for key in places]
        lacking = [place for place, label in zip(self.places, labels, strict=True) if label is None]
        if lacking and len(lacking) < len(labels):
            given = f"{lacking[0][0].name}: {lacking[0][1]} and {len(lacking) - 1} more without a label"
            raise InputError("data", given, "a .cls or .json beside every picture, or beside none")
        self.labels = np.asarray([label or 0 for label in labels], np.int64)
        self.classes = () if lacking or not labels else tuple(map(str, range(int(self.labels.max()) + 1)))

    def name(self, index: int) -> str:
        shard, member, _, _ = self.places[index]
        return f"{shard.name}: {member}"

    def read(self, index: int) -> np.ndarray:
        shard, _, offset, size = self.places[index]
        try:
            with shard.open("rb") as file:
                file.seek(offset)
                return decode(file.read(size))
        except OSError as fault:
            raise Unreadable(fault.strerror or str(fault)) from None

    @staticmethod
    def _index(shard: Path, known: dict[str, int], places: dict[str, tuple[Path, str, int, int]]) -> None:
        size = shard.stat().st_size
        try:
            with shard.open("rb") as file:
                file.seek(max(0, size - tarfile.BLOCKSIZE))
                # tarfile itself takes a cut between two members for the end.
                if any(file.read()):
                    raise tarfile.ReadError("truncated or no .tar")
            with tarfile.open(shard, "r:") as tar:
                for member in tar:
                    if not member.isreg() or member.issparse():
                        continue
                    folder, _, base = member.name.rpartition("/")
                    stem, _, extension = base.partition(".")
                    key, suffix = f"{folder}/{stem}", f".{extension.lower()}"
                    if member.offset_data + member.size > size:
                        raise tarfile.ReadError("truncated")
                    if suffix in SUFFIXES:
                        if key in places:
                            raise InputError("data", f"{shard.name}: {key} twice", "one picture a sample")
                        places[key] = (shard, member.name, member.offset_data, member.size)
                    elif suffix in (".cls", ".json"):
                        label = _label(tar.extractfile(member), suffix)
                        if suffix == ".cls" and (label is None or label < 0):
                            raise InputError("data", f"{shard.name}: {member.name}", "a label number >= 0")
                        if label is not None:
                            known[key] = label
        except (tarfile.TarError, OSError) as fault:
            raise InputError("data", f"{shard} ({fault})", "a complete, uncompressed .tar shard") from None


def from_folder(root: Path) -> TarSource | None:
    """The .tar shards directly in `root`, in name order, or None when there is none."""
    shards = sorted(root.glob("*.tar"))
    return TarSource(shards) if shards else None


def _label(file: IO[bytes] | None, suffix: str) -> int | None:
    text = file.read() if file else b""
    try:
        value = json.loads(text)
        return int(value["label"] if suffix == ".json" else value)
    except (ValueError, KeyError, TypeError):
        return None
