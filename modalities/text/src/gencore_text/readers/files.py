"""Plain text: one file, or a folder of them."""

from __future__ import annotations

import json
from pathlib import Path

from gencore.errors import InputError
from gencore_text.readers.corpus import Corpus, checked_text

SUFFIXES = {".txt", ".text", ".md", ".rst", ".tex", ".py", ".html", ".xml", ".csv", ".tsv"}
"""Files of a folder that are read; a file named by itself may have any suffix."""
_PARTS = {"train": "train", "valid": "validation", "validation": "validation", "dev": "validation", "test": "test"}


def from_file(path: Path) -> Corpus:
    """A file of text, or of JSON lines with a field ``text`` (``.jsonl``).

    Raises:
        InputError: it cannot be read, holds no UTF-8 text, or lines without the field.
    """
    if path.suffix == ".jsonl":
        return Corpus("JSON lines", _records(path))
    return Corpus("text file", [_read(path)])


def from_folder(root: Path) -> Corpus:
    """The text files in `root` and below it, in name order.

    Files called train, valid (or validation, dev) and test directly in it are those parts; a data set saved by the
    library ``datasets`` is opened by `gencore_text.readers.hf_datasets`.

    Raises:
        InputError: no text file, or one that holds no UTF-8 text.
    """
    named = {_PARTS[p.stem]: p for p in sorted(root.iterdir()) if p.stem in _PARTS and _is_text(p)}
    if "train" in named:
        parts = {part: _documents(path) for part, path in named.items()}
        return Corpus(f"folder with {', '.join(parts)}", parts.pop("train"), parts)
    files = sorted(p for p in root.rglob("*") if _is_text(p))
    if not files:
        raise InputError("data", f"{root} (no text files)", f"a folder with {', '.join(sorted(SUFFIXES))} or .jsonl")
    documents = [text for path in files for text in _documents(path)]
    return Corpus(f"folder of {len(files)} text file{'s' * (len(files) > 1)}", documents)


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES | {".jsonl"} and not path.name.startswith(".") and path.is_file()


def _documents(path: Path) -> list[str]:
    return _records(path) if path.suffix == ".jsonl" else [_read(path)]


def _read(path: Path) -> str:
    try:
        return checked_text(path.read_bytes(), str(path))
    except OSError as fault:
        raise InputError("data", f"{path} ({fault.strerror})", "a readable text file") from fault


def _records(path: Path) -> list[str]:
    found = []
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise InputError("data", f"{path}, line {number}", 'a JSON object with a field "text"')
        found.append(text)
    return found
