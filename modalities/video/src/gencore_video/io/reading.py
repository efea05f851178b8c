"""Clips from files: video containers through PyAV, folders of pictures, single pictures.

The time of every frame is read before any frame is decoded, so that a clip of variable rate, a cut file and a clip
that is too short are told apart at once, and a window of a long file costs only that window.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from gencore.errors import InputError
from gencore.media.comments import whole_gif
from gencore_video.io.stills import PICTURES, read_folder, read_picture
from gencore_video.rate import read_rate

# Containers alone: playlists and text formats make the decoder open other files, or "play" a text.
_CONTAINERS = "mov,matroska,gif,apng,avi,mpegts,mpeg,ivf,flv,ogg,asf,mp3,wav,flac,aac"
_KINDS = "a video (mp4, webm, mkv, gif, mov, avi ...), or a folder of pictures"

_MICROSECONDS = 1_000_000

Source = Path | BytesIO
Start = int | Callable[[int], int]
"""The first frame of a window, or what tells it from the number of frames there are."""


@dataclass(frozen=True)
class Clip:
    """Decoded frames.

    Args:
        frames: (T, H, W, 3) uint8.
        rate: frames a second, exact; None for pictures, which have none.
    """

    frames: np.ndarray
    rate: Fraction | None


@dataclass(frozen=True)
class Timeline:
    """When the frames of a file are shown.

    Args:
        stamps: their times in ticks, rising.
        tick: seconds.
        rate: frames a second if that is constant, else None.
        by_order: the container knows when frames are decoded, not when they are shown; their order tells them apart.
    """

    stamps: tuple[int, ...]
    tick: Fraction
    rate: Fraction | None
    by_order: bool = False

    def at(self, rate: Fraction) -> list[int]:
        """The indices of the frames that are shown at times 0, 1 / rate, 2 / rate ...

        >>> Timeline((0, 10, 20, 30), Fraction(1, 100), Fraction(10)).at(Fraction(5))
        [0, 2]
        """
        first, count = self.stamps[0], len(self.stamps)
        span = (self.stamps[-1] - first) * self.tick
        # The last frame is shown as long as the others on average.
        span += span / (count - 1) if count > 1 else 1 / (self.rate or rate)
        shown = (first + Fraction(k) / rate / self.tick for k in range(max(1, round(span * rate))))
        return [bisect_right(self.stamps, moment) - 1 for moment in shown]


def timeline(source: Source, name: str = "", field: str = "video") -> Timeline:
    """When the frames of a video file are shown, without decoding any.

    Raises:
        InputError: no such file, no video, sound alone, damaged, or without a single frame.
    """
    name = name or str(source)
    with _opened(source, name, field) as (container, stream):
        shown, decoded = [], []
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                shown.append(packet.pts)
                decoded.append(packet.dts)
        # What AVI calls a time of presentation is one of decoding.
        by_order = None in shown or container.format.name == "avi"
        stamps = decoded if by_order else shown
        tick, area = stream.time_base or Fraction(0), stream.codec_context.height * stream.codec_context.width
        told = [rate for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate]
        promised, kind = stream.frames, container.format.name
        length = Fraction(container.duration or 0, _MICROSECONDS)
    if not stamps or not area or None in stamps:
        raise InputError(field, f"{name} (a video without frames that have a time)", _KINDS)
    if kind == "gif":
        with BytesIO(source.getvalue()) if isinstance(source, BytesIO) else source.open("rb") as file:
            if not whole_gif(file):
                raise InputError(field, f"{name} (cut off)", "a whole file")
    if len(stamps) < promised:
        raise InputError(field, f"{name} (cut off: {len(stamps)} of {promised} frames)", "a whole file")
    stamps.sort()
    rate = _constant(stamps, tick, told)
    if not promised and length and rate and (stamps[-1] - stamps[0]) * tick + 2 / rate < length:
        raise InputError(field, f"{name} (cut off: it promises {float(length):.2f} s)", "a whole file")
    return Timeline(tuple(stamps), tick, rate, by_order)


def read_clip(source: Source, *, rate: str | float | Fraction | None = None, start: Start = 0, count: int | None = None,
              name: str = "", field: str = "video") -> Clip:  # fmt: skip
    """Frames `start` .. `start` + `count` - 1 of a clip.

    Args:
        source: a video file (also its bytes), a folder of pictures in the order of the numbers in their names, or one
            picture.
        rate: frames a second to take them at, by repeating and leaving out frames; None keeps all as they are, for
            which the file's rate must be constant.
        start: from 0, below 0 counted from the end, or a function of the number of frames.
        count: None takes all to the end.
        name: for messages, where `source` has none.
        field: what the user calls this file.

    Raises:
        InputError: unreadable, damaged, of variable rate with `rate` None, of no use as a video, or shorter than asked.
    """
    name = name or str(source)
    wanted = None if rate is None else read_rate(rate)
    if isinstance(source, Path) and source.is_dir():
        frames = read_folder(source, field)
        return Clip(frames[_window(len(frames), start, count, name, field)], None)
    if isinstance(source, Path) and source.suffix.lower() in PICTURES:
        frames = read_picture(source, field)[None]
        return Clip(frames[_window(1, start, count, name, field)], None)
    times = timeline(source, name, field)
    if wanted is None and times.rate is None:
        gaps = [float((b - a) * times.tick) for a, b in zip(times.stamps, times.stamps[1:], strict=False)]
        given = f"{name} (frames {min(gaps) * 1e3:.0f} to {max(gaps) * 1e3:.0f} ms apart)"
        raise InputError(field, given, "a constant frame rate", f"--fps {len(gaps) / sum(gaps) or 10:.3g} resamples it"
                         if sum(gaps) else "--fps 10 resamples it")  # fmt: skip
    kept = list(range(len(times.stamps))) if wanted in (None, times.rate) else times.at(wanted)
    kept = kept[_window(len(kept), start, count, name, field)]
    return Clip(np.stack(_decoded(source, name, field, times, kept)), wanted or times.rate)


def _window(total: int, start: Start, count: int | None, name: str, field: str) -> slice:
    start = start if isinstance(start, int) else start(total)
    first = start if start >= 0 else total + start
    last = total if count is None else first + count
    if not 0 <= first < last <= total:
        asked = f"frames from {start} on" if count is None else f"{count} frames from {start} on"
        raise InputError(field, f"{name} with {total} frame{'s' * (total > 1)}", f"a clip with {asked}")
    return slice(first, last)


def _decoded(source: Source, name: str, field: str, times: Timeline, kept: list[int]) -> list[np.ndarray]:
    """The frames `kept` (rising, repeats allowed), decoding from the last key frame before them where that is known."""
    wanted, found = set(kept), dict[int, np.ndarray]()
    if kept[0] and not times.by_order:
        with suppress(InputError):
            found = _search(source, name, field, times, wanted, times.stamps[kept[0]])
    if wanted - found.keys():
        found = _search(source, name, field, times, wanted, None)
    if missing := sorted(wanted - found.keys()):
        raise InputError(field, f"{name} (cut off or damaged: no frame {missing[0]})", "a whole file")
    return [found[index] for index in kept]


def _search(source: Source, name: str, field: str, times: Timeline, wanted: set[int], stamp: int | None
            ) -> dict[int, np.ndarray]:  # fmt: skip
    """Those of the frames `wanted` that decoding finds, from the key frame before `stamp`, or the first, on."""
    found: dict[int, np.ndarray] = {}
    last = max(wanted)
    with _opened(source, name, field) as (container, stream):
        if stamp is not None:
            container.seek(stamp, stream=stream, backward=True)
        for order, frame in enumerate(container.decode(stream)):
            if frame.is_corrupt:
                raise InputError(field, f"{name} (damaged at {float(frame.time or 0):.2f} s)", "an undamaged file")
            index = order if times.by_order or frame.pts is None else bisect_right(times.stamps, frame.pts) - 1
            if index in wanted and index not in found:
                found[index] = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            if index >= last:
                break
    return found


@contextmanager
def _opened(source: Source, name: str, field: str) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream; what the decoder says becomes one line."""
    import av
    from av.error import FFmpegError

    if isinstance(source, BytesIO):
        source.seek(0)
    elif not source.is_file():
        raise InputError(field, f"{name} (no such file)", _KINDS)
    try:
        with av.open(source, options={"format_whitelist": _CONTAINERS, "err_detect": "explode"}) as container:
            streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
            if not streams:
                kind = "sound alone" if container.streams.audio else "no video in it"
                raise InputError(field, f"{name} ({kind})", _KINDS)
            streams[0].codec_context.thread_count = 1
            yield container, streams[0]
    except (FFmpegError, OSError, EOFError, ValueError) as fault:
        if isinstance(fault, InputError):
            raise
        why = getattr(fault, "strerror", None) or str(fault).partition("\n")[0] or type(fault).__name__
        raise InputError(field, f"{name} ({why[0].lower() + why[1:]})", _KINDS) from fault


def _constant(stamps: list[int], tick: Fraction, told: list[Fraction]) -> Fraction | None:
    """The rate whose frames fall on `stamps` to within a tick: one the file tells, or the mean."""
    if len(stamps) == 1:
        return told[0] if told else None
    span = (stamps[-1] - stamps[0]) * tick
    if not span:
        return None
    mean = Fraction(len(stamps) - 1) / span
    for rate in (*told, mean.limit_denominator(1001), mean):
        if rate > 0 and all(abs((s - stamps[0]) * tick - i / rate) <= tick for i, s in enumerate(stamps)):
            return rate
    return None


def look(source: Path, rate: Fraction | None = None, field: str = "video"
         ) -> tuple[int, tuple[int, int], Fraction | None]:  # fmt: skip
    """How many frames `read_clip` finds, their (H, W) and their rate, of which it decodes at most one.

    Raises:
        InputError: as `read_clip`.
    """
    if source.is_dir() or source.suffix.lower() in PICTURES:
        clip = read_clip(source, field=field)
        return len(clip.frames), clip.frames.shape[1:3], None
    times = timeline(source, field=field)
    resample = rate not in (None, times.rate)
    first = read_clip(source, rate=rate, count=1, field=field)
    return len(times.at(rate)) if resample else len(times.stamps), first.frames.shape[1:3], first.rate
