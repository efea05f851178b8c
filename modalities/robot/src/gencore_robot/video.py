"""Pictures of an episode as an H.264 file that browsers play."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from gencore.errors import InputError, MissingDependency
from gencore.media.files import atomic_path


def available() -> None:
    """Refuse where no encoder is installed.

    Raises:
        MissingDependency: av is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise MissingDependency("av", "--video", "gencore-robot[video]") from error


def write_video(path: str | Path, frames: Iterable[Any], hz: float, *, force: bool = False) -> Path:
    """Write (H, W, 3) uint8 frames; a height or width that is odd loses its last row or column.

    Raises:
        InputError: no frame, or a file that may not be written.
        MissingDependency: av is not installed.
    """
    available()
    import av

    with atomic_path(path, force) as part:
        stream = None
        with av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as file:
            for frame in frames:
                picture = np.ascontiguousarray(frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2])
                if stream is None:
                    rate = Fraction(hz).limit_denominator(1000)
                    stream = file.add_stream("libx264", rate=rate, options={"crf": "20"})
                    stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            if stream is None:
                raise InputError("--video", "no frames", "an episode of at least one step")
            file.mux(stream.encode())
    return Path(path)
