"""LeRobot datasets, version 3, from their folder.

``meta/info.json`` has the features and the path of data files, ``meta/episodes/**.parquet`` one row an episode, and
``data/**.parquet`` the steps of many episodes each.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gencore.errors import InputError, MissingDependency
from gencore_robot.readers.episode import Episode, checked, require
from gencore_robot.readers.lerobot_pictures import cameras

STATE, ACTION, ENVIRONMENT = "observation.state", "action", "observation.environment_state"


def lerobot_episodes(root: Path, state: str = STATE, action: str = ACTION) -> list[Episode]:
    """The episodes of a dataset in their order.

    Args:
        state, action: features to read.

    Raises:
        InputError: no dataset of version 3, a feature it lacks, or a damaged file.
        MissingDependency: without pyarrow.
    """
    info = described(root)
    for feature in (state, action):
        require(list(info["features"]), feature, f"{root}: features")
    found: list[Episode] = []
    for file in sorted((root / "meta" / "episodes").rglob("*.parquet")):
        for row in table(file).to_pylist():
            for key in ("episode_index", "length", "data/chunk_index", "data/file_index"):
                require(list(row), key, str(file))
            place = _place(info["data_path"], row)
            index, length = int(row["episode_index"]), int(row["length"])
            read = partial(numbers, root / place, index, length, state, action)
            tasks = tuple(row.get("tasks") or ())
            seen = partial(environment, root / place, index, length) if ENVIRONMENT in info["features"] else None
            found.append(Episode(f"{root.name} {index}", length, read, instructions=(tasks,) if tasks else (),
                                 environment=seen, pictures=cameras(root, info, row, root / place, table)))  # fmt: skip
    if not found:
        raise InputError("dataset", root, "episodes under meta/episodes")
    return sorted(found, key=lambda episode: int(episode.name.rsplit(" ", 1)[1]))


def _place(pattern: str, row: dict[str, Any]) -> str:
    """Where the steps of an episode lie in their dataset."""
    try:
        return pattern.format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise InputError("dataset: data_path", repr(pattern), "a pattern of chunk_index and file_index") from error


def rate(root: Path) -> float:
    """Steps a second."""
    return float(described(root)["fps"])


def described(root: Path) -> dict[str, Any]:
    """``meta/info.json``.

    Raises:
        InputError: absent, no JSON, of another version, or without what is read of it.
    """
    file = root / "meta" / "info.json"
    try:
        info = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("dataset", root, "a LeRobot folder with meta/info.json", str(error)) from error
    if not isinstance(info, dict):
        raise InputError("dataset", file, "a JSON object")
    version = str(info.get("codebase_version", "none"))
    if not version.startswith("v3."):
        raise InputError(f"{file}: codebase_version", version, "v3.x", "convert it with LeRobot")
    for key in ("features", "data_path", "fps"):
        require(list(info), key, str(file))
    return info


def table(file: Path, columns: list[str] | None = None, episode: int | None = None, frame: int | None = None) -> Any:
    """A parquet file, of one episode, and of one frame, if their numbers are given.

    Raises:
        InputError: absent, damaged, or without one of the columns.
        MissingDependency: without pyarrow.
    """
    try:
        from pyarrow import ArrowException  # pyright: ignore[reportMissingImports]
        from pyarrow import parquet as pq  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependency("pyarrow", "LeRobot datasets", "gencore-robot[data]") from error
    try:
        names = pq.read_schema(file).names
        for column in columns or ():
            require(names, column, str(file))
        wanted = {"episode_index": episode, "frame_index": frame}
        rows = [(column, "=", number) for column, number in wanted.items() if number is not None]
        return pq.read_table(file, columns=columns, filters=rows or None)
    except InputError:
        raise
    except (ArrowException, OSError) as error:
        raise InputError("dataset file", file, "a complete parquet file", str(error).splitlines()[0]) from error


def numbers(
    file: Path, index: int, length: int, state: str = STATE, action: str = ACTION
) -> tuple[np.ndarray, np.ndarray]:
    """State (T, S) and action (T, A) of one episode, float64, by frame.

    Raises:
        InputError: a damaged file, ragged rows, or another number of steps than the dataset says.
    """
    first, second = _by_frame(file, index, length, (state, action))
    return first, second


def environment(file: Path, index: int, length: int) -> np.ndarray:
    """State of the environment (T, E) of one episode, as `numbers`."""
    (found,) = _by_frame(file, index, length, (ENVIRONMENT,))
    return found


def _by_frame(file: Path, index: int, length: int, features: tuple[str, ...]) -> list[np.ndarray]:
    rows = table(file, ["episode_index", "frame_index", *features], index)
    order = np.argsort(rows["frame_index"].to_numpy())
    found = checked(f"{file} episode {index}", {key: rows[key].to_pylist() for key in features})
    if len(found[0]) != length:
        raise InputError(f"{file} episode {index}: steps", len(found[0]), f"{length}, as meta/episodes says")
    return [values[order] for values in found]
