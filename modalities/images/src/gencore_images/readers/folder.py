"""Folders of picture files, one sub-folder a class, or flat and unlabelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from gencore.errors import InputError
from gencore_images.readers.decode import SUFFIXES, decode
from gencore_images.readers.source import Unreadable


class FolderSource:
    """Picture files with known labels.

    Args:
        root: names in messages are relative to it.
        files: the pictures.
        labels: one a file; zeros when `classes` is empty.
    """

    kind = "image folder"

    def __init__(self, root: Path, files: Sequence[Path], labels: Sequence[int], classes: Sequence[str]) -> None:
        self.root, self.files, self.classes = root, files, tuple(classes)
        self.labels = np.asarray(labels, np.int64)

    def name(self, index: int) -> str:
        return str(self.files[index].relative_to(self.root))

    def read(self, index: int) -> np.ndarray:
        try:
            with self.files[index].open("rb") as file:
                return decode(file)
        except OSError as fault:
            raise Unreadable(fault.strerror or str(fault)) from None


def from_folder(root: Path) -> FolderSource:
    """The pictures of `root`: its sub-folders are the classes, in numerical order if all are numbers, else sorted.

    Raises:
        InputError: no pictures, or pictures both beside and inside sub-folders.
    """
    flat = _pictures(root.iterdir())
    inside = {folder.name: _pictures(folder.rglob("*")) for folder in root.iterdir() if _visible(folder)}
    inside = {name: files for name, files in inside.items() if files}
    if flat and inside:
        given = f"{root} ({len(flat)} pictures beside {len(inside)} folders of pictures)"
        raise InputError("data", given, "one sub-folder a class, or a flat folder")
    if not flat and not inside:
        raise InputError("data", f"{root} (no pictures)", f"a folder with {', '.join(sorted(SUFFIXES))}")
    numbers = all(name.isdecimal() for name in inside)
    names = sorted(inside, key=lambda name: (int(name) if numbers else 0, name))
    files = flat or [file for name in names for file in inside[name]]
    labels = [0] * len(flat) or [label for label, name in enumerate(names) for _ in inside[name]]
    return FolderSource(root, files, labels, names)


def _visible(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _pictures(paths: Iterable[Path]) -> list[Path]:
    return sorted(p for p in paths if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file())
