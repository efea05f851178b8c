"""Clips to files, with the recipe as the container's comment.

    .mp4   H.264, plays everywhere           .mkv     FFV1, lossless
    .webm  VP9                               .gif     256 colours, exact where the clip has no more
                                             .frames  a folder of PNG, lossless, the recipe beside it

The bytes depend on the frames, the rate and the recipe alone: one thread, no clock time, no encoder version.
"""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from gencore.errors import InputError
from gencore.media.comments import embed_gif
from gencore.media.files import atomic_path, check_output
from gencore.recipe import comment_of, sidecar, write_sidecar

if TYPE_CHECKING:
    import av

SUFFIXES = (".mp4", ".webm", ".mkv", ".gif", ".frames")
CODED = (".mp4", ".webm")
"""Those that change the frames, in ways that depend on the encoder."""

_CODECS: dict[str, tuple[str, str, dict[str, str]]] = {
    ".mp4": ("libx264", "yuv420p", {"crf": "16", "preset": "medium", "threads": "1"}),
    ".webm": ("libvpx-vp9", "yuv420p", {"crf": "20", "b": "0", "threads": "1", "row-mt": "0", "cpu-used": "2"}),
    ".mkv": ("ffv1", "bgr0", {"level": "3", "threads": "1"}),
}
_GIF_FASTEST = 50


def check_clip(path: Path, force: bool = False) -> None:
    """Refuse, before any work, a `path` that `write_clip` would refuse.

    Raises:
        InputError: another suffix, an existing file without `force`, or a folder that cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError("output", path, f"a file ending in {', '.join(SUFFIXES)}")
    if path.suffix.lower() != ".frames":
        check_output(path, force)
        return
    if path.is_dir() and any(path.iterdir()) and not force:
        raise InputError("output", f"{path} (holds something)", "a new folder", "--force replaces it")
    if not path.is_dir():
        check_output(path, force)


def write_clip(frames: np.ndarray, path: Path, rate: Fraction, recipe: dict[str, Any] | None = None,
               force: bool = False) -> None:  # fmt: skip
    """Write a clip, whole or not at all.

    Args:
        frames: (T, H, W, 3) uint8.
        rate: frames a second, kept exactly.
        recipe: what goes into the file, None for nothing.
        force: overwrite.

    Raises:
        InputError: as `check_clip`, or a rate that the format cannot hold.
    """
    check_clip(path, force)
    comment = None if recipe is None else comment_of(recipe)
    match path.suffix.lower():
        case ".frames":
            _write_folder(frames, path, recipe, force)
        case ".gif":
            with atomic_path(path, force) as part:
                _write_gif(frames, part, rate, comment)
        case suffix:
            with atomic_path(path, force) as part:
                _encode(frames, part, rate, comment, suffix)


def _encode(frames: np.ndarray, path: Path, rate: Fraction, comment: str | None, suffix: str) -> None:
    from av import VideoFrame

    codec, layout, options = _CODECS[suffix]
    height, width = frames.shape[1:3]
    if suffix == ".mp4" and (height % 2 or width % 2):
        # Halved chroma needs even sides.
        layout = "yuv444p"
    pictures = [VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24") for frame in frames]
    _mux(pictures, path, codec, layout, options, rate, 1 / rate, comment)


def _mux(pictures: list[av.VideoFrame], path: Path, codec: str, layout: str, options: dict[str, str], rate: Fraction,
         tick: Fraction, comment: str | None = None) -> None:  # fmt: skip
    """Encode `pictures` and write them, at multiples of `tick` seconds."""
    import av
    from av.codec.context import Flags

    suffix = path.suffix.lower()
    settings = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    kind = {".mkv": "matroska"}.get(suffix, suffix[1:])
    with av.open(str(path), "w", format=kind, options={"fflags": "+bitexact", **settings}) as container:
        if comment is not None:
            container.metadata["comment"] = comment
        stream: Any = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = pictures[0].width, pictures[0].height, layout
        stream.codec_context.flags |= Flags.bitexact
        stream.time_base = stream.codec_context.time_base = tick
        for i, picture in enumerate(pictures):
            picture.pts, picture.time_base = round(i / rate / tick), tick
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _write_gif(frames: np.ndarray, path: Path, rate: Fraction, comment: str | None) -> None:
    """One palette for the whole clip; a frame's time is the nearest hundredth of a second."""
    from av import VideoFrame

    if rate > _GIF_FASTEST:
        raise InputError("fps", rate, f"at most {_GIF_FASTEST} in a .gif", "another suffix takes any rate")
    indices, palette = _palette(frames)
    pictures = [VideoFrame.from_ndarray(cast(Any, (index, palette)), format="pal8") for index in indices]
    options = {"gifflags": "-offsetting-transdiff", "threads": "1"}
    _mux(pictures, path, "gif", "pal8", options, rate, Fraction(1, 100))
    if comment is not None:
        path.write_bytes(embed_gif(path.read_bytes(), comment))


def _palette(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, H, W) uint8 indices and (256, 4) uint8 alpha, red, green, blue."""
    t, h, w, _ = frames.shape
    colours, indices = np.unique(frames.reshape(-1, 3), axis=0, return_inverse=True)
    if len(colours) > 256:
        mosaic = Image.fromarray(frames.reshape(t * h, w, 3)).quantize(256, dither=Image.Dither.NONE)
        indices, flat = np.asarray(mosaic), mosaic.getpalette() or []
        colours = np.array(flat, np.uint8).reshape(-1, 3)
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 0] = 255
    palette[: len(colours), 1:] = colours
    return np.ascontiguousarray(indices.reshape(t, h, w).astype(np.uint8)), palette


def _write_folder(frames: np.ndarray, path: Path, recipe: dict[str, Any] | None, force: bool) -> None:
    """``00000.png`` ... and, beside the folder, the recipe."""
    digits = max(5, len(str(len(frames))))
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        for i, pixels in enumerate(frames):
            Image.fromarray(pixels).save(part / f"{i:0{digits}d}.png")
        if recipe is not None:
            write_sidecar(path, recipe, force)
        if path.exists():
            shutil.rmtree(path)
        part.rename(path)
    except BaseException as fault:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(fault, OSError):
            raise InputError("output", f"{path} ({fault.strerror})", "a writable folder with room") from fault
        raise
    if recipe is None:
        sidecar(path).unlink(missing_ok=True)
