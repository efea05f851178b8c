"""A data set that the library ``datasets`` saved to disk (``save_to_disk``), and single Arrow files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gencore.errors import InputError, MissingDependency
from gencore_text.readers.corpus import Corpus

_MARKS = ("dataset_dict.json", "dataset_info.json", "state.json")
_PARTS = {"train": "train", "validation": "validation", "test": "test"}


def is_saved(root: Path) -> bool:
    """Whether `root` is such a folder."""
    return any((root / name).is_file() for name in _MARKS)


def from_disk(path: Path) -> Corpus:
    """The field ``text`` of a saved data set, or of an ``.arrow`` file; its splits are parts.

    Raises:
        MissingDependency: ``datasets`` is absent.
        InputError: it cannot be opened, or has no field ``text``.
    """
    library = _library()
    try:
        found = library.load_from_disk(str(path)) if path.is_dir() else library.Dataset.from_file(str(path))
    except Exception as fault:  # the library raises errors of several others
        raise InputError("data", f"{path} ({str(fault).splitlines()[0][:100]})", "a data set saved to disk") from fault
    if not isinstance(found, dict):
        return Corpus("data set", _texts(found, path))
    parts = {part: _texts(found[name], path) for name, part in _PARTS.items() if name in found}
    if "train" not in parts:
        raise InputError("data", f"{path} with {', '.join(map(str, found))}", "a data set with a split 'train'")
    return Corpus(f"data set with {', '.join(parts)}", parts.pop("train"), parts)


def _texts(rows: Any, path: Path) -> list[str]:
    if "text" not in rows.column_names:
        raise InputError("data", f"{path} with {', '.join(rows.column_names)}", "a field 'text'")
    return [str(text) for text in rows["text"]]


def _library() -> Any:
    try:
        import datasets  # type: ignore[import-not-found]
    except ImportError:
        raise MissingDependency("datasets", "a data set saved to disk", "gencore-text[data]") from None
    return datasets
