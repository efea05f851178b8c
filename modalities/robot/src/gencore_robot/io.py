"""Chunks and observations as files."""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from gencore.errors import InputError
from gencore.media.files import atomic_write, check_output
from gencore.recipe import dumps, sidecar

SUFFIXES = (".npz", ".csv", ".json")
"""Of chunks: arrays; one row a step; lists."""


def check(path: Path, force: bool = False) -> None:
    """Refuse a file that `write` would refuse.

    Raises:
        InputError: another suffix, an existing file without `force`, or a folder that cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError("output", path, f"a file name that ends in {', '.join(SUFFIXES)}")
    check_output(path, force)
    check_output(sidecar(path), force)


def write(path: Path, chunks: Sequence[np.ndarray], names: Sequence[str], hz: float | None,
          recipe: Mapping[str, Any] | None, force: bool = False) -> None:  # fmt: skip
    """Chunks (H, A) with the names of their A entries and the actions a second, the recipe beside them.

    Raises:
        InputError: as `check`, or a recipe that is no JSON.
    """
    check(path, force)
    text = None if recipe is None else dumps(dict(recipe)) + "\n"
    actions = np.stack(chunks).astype(np.float32)
    suffix = path.suffix.lower()
    with atomic_write(path, "wb" if suffix == ".npz" else "w", force) as file:
        if suffix == ".npz":
            np.savez(file, actions=actions, names=np.array(names), hz=np.array(hz or 0.0))
        elif suffix == ".json":
            json.dump({"actions": actions.tolist(), "names": list(names), "hz": hz}, file)
            file.write("\n")
        else:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["sample", "step", *names])
            rows.writerows([i, j, *map(repr, row.tolist())] for i, chunk in enumerate(actions)
                           for j, row in enumerate(chunk))  # fmt: skip
        if text is not None:
            with atomic_write(sidecar(path), "w", force) as beside:
                beside.write(text)


def read(path: Path, field: str = "file") -> np.ndarray:
    """The (B, H, A) float32 chunks of a file that `write` wrote.

    Raises:
        InputError: unreadable, or of another kind.
    """
    accepted = f"a {', '.join(SUFFIXES)} file with actions (B, H, A)"
    try:
        match path.suffix.lower():
            case ".npz":
                actions = _arrays(path)["actions"]
            case ".json":
                actions = json.loads(path.read_text("utf-8"))["actions"]
            case ".csv":
                actions = _rows(path)
            case _:
                raise InputError(field, path, accepted)
        found = np.asarray(actions, np.float32)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError) as fault:
        why = getattr(fault, "strerror", None) or str(fault).splitlines()[0]
        raise InputError(field, f"{path} ({why})", accepted) from fault
    if found.ndim == 2:
        found = found[None]
    if found.ndim != 3:
        raise InputError(field, f"{path} of shape {found.shape}", accepted)
    return found


def read_observation(path: Path) -> dict[str, Any]:
    """The words of an observation: a .json object, or the arrays of an .npz by name.

    Raises:
        InputError: unreadable, or of another kind.
    """
    accepted = "a .json object or an .npz file, word by word: state, env_state, ..."
    try:
        if path.suffix.lower() == ".npz":
            return {name: _text(array) for name, array in _arrays(path).items()}
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, KeyError) as fault:
        why = getattr(fault, "strerror", None) or str(fault).splitlines()[0]
        raise InputError("observation", f"{path} ({why})", accepted) from fault
    if not isinstance(found, dict):
        raise InputError("observation", path, accepted)
    return found


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except (BadZipFile, TypeError, EOFError, zlib.error) as fault:
        raise ValueError("no complete .npz file") from fault


def _rows(path: Path) -> list[list[list[str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    if not rows or any(len(row) != len(header) for row in rows):
        raise ValueError("no rows, or rows that differ in length")
    return [[row[2:] for row in rows if row[0] == sample] for sample in dict.fromkeys(row[0] for row in rows)]


def _text(array: np.ndarray) -> Any:
    return array.tolist() if array.dtype.kind == "U" else array
