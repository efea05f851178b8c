"""Camera pictures of a LeRobot dataset, version 3: in the parquet files of its steps, or in videos of many episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gencore.errors import InputError, MissingDependency
from gencore_robot.readers.episode import require
from gencore_robot.readers.hdf5 import decoded


def cameras(root: Path, info: Mapping[str, Any], row: Mapping[str, Any], data: Path, table: Callable[..., Any]
            ) -> dict[str, Callable[[int], np.ndarray]]:  # fmt: skip
    """What reads the pictures of each camera in one episode, see `Episode`; ``observation.images.top`` is ``top``.

    Args:
        row: of the episode in ``meta/episodes``.
        data: the file of its steps.
        table: reads rows of such a file.

    Raises:
        InputError: a video whose place the dataset does not say.
    """
    found: dict[str, Callable[[int], np.ndarray]] = {}
    for feature, told in info["features"].items():
        kind = told.get("dtype")
        camera = feature.removeprefix("observation.").removeprefix("images.")
        if kind == "image":
            found[camera] = partial(_stored, data, feature, int(row["episode_index"]), table)
        elif kind == "video":
            require(list(info), "video_path", str(root / "meta" / "info.json"))
            keys = [f"videos/{feature}/{key}" for key in ("chunk_index", "file_index", "from_timestamp")]
            for key in keys:
                require(list(row), key, f"{root}: meta/episodes")
            chunk, file, start = (row[key] for key in keys)
            place = info["video_path"].format(video_key=feature, chunk_index=chunk, file_index=file)
            found[camera] = partial(_filmed, root / place, float(start), float(info["fps"]))
    return found


def _stored(file: Path, feature: str, episode: int, table: Callable[..., Any], step: int) -> np.ndarray:
    rows = table(file, ["frame_index", feature], episode, step)[feature].to_pylist()
    where = f"{file} episode {episode}: {feature} {step}"
    if len(rows) != 1 or not isinstance(rows[0], Mapping) or not rows[0].get("bytes"):
        raise InputError(where, f"{len(rows)} rows" if len(rows) != 1 else "no bytes", "one encoded picture")
    return decoded(rows[0]["bytes"], "rgb", where)


def _filmed(file: Path, start: float, fps: float, step: int) -> np.ndarray:
    """The (H, W, 3) frame shown `step` frames after `start` seconds."""
    try:
        import av  # pyright: ignore[reportMissingImports]
        from av.error import FFmpegError  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependency("av", "videos of LeRobot datasets", "gencore-robot[video]") from error
    wanted = start + step / fps
    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            container.seek(max(0, int((wanted - 0.5 / fps) / (stream.time_base or 1))), stream=stream)
            for frame in container.decode(stream):
                if frame.time is not None and frame.time > wanted - 0.5 / fps:
                    if frame.time > wanted + 0.5 / fps:
                        break
                    return frame.to_ndarray(format="rgb24")
    except (FFmpegError, OSError, IndexError) as error:
        raise InputError("video", file, "a complete video", str(error).splitlines()[0]) from error
    raise InputError(f"{file}: time", f"no frame at {wanted:g} s", f"{fps:g} frames a second from {start:g} s on")
