"""Clips of one length, size and rate from files of any, decoded when they are asked for, in any process."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from gencore.data import Data
from gencore.errors import InputError
from gencore.noise import uniforms
from gencore_video.clips.sources import File, find_clips
from gencore_video.io.reading import Clip, Start, read_clip, timeline
from gencore_video.pixels import resized, to_data
from gencore_video.rate import read_rate, spell_rate

OnBad = Literal["skip", "raise"]
FRAMES = 16
_PROBED = 8


class ClipFiles(Data):
    """``{"data": (C, T, H, W) float32 in [-1, 1]}``, scaled and cut at the centre to one size.

    Args:
        kind: what the files are, for `describe`.
        files: see `find_clips`.
        frames: T.
        size: (H, W); None is that of the first clips, looked up when it is asked for.
        channels: 1 or 3.
        rate: frames a second that all clips are brought to; None is that of the first one that has any.
        hop: None takes the first T frames of each file; N every N-th run of T frames, for which opening reads the
            times of all files.
        draws: with `hop` None, how many runs of T frames a file stands for: its first one, and others that start where
            the file's name and the number of the draw say.
        on_bad: a file that cannot be read is fatal (``"raise"``), or is recorded in `bad` and the next readable one
            stands in for it (``"skip"``).
    """

    def __init__(self, kind: str, files: Sequence[File], *, frames: int = FRAMES, size: Sequence[int] | None = None,
                 channels: int = 3, rate: str | float | Fraction | None = None, hop: int | None = None,
                 draws: int = 1, on_bad: OnBad = "skip") -> None:  # fmt: skip
        for name, value in (("frames", frames), ("hop", hop), ("draws", draws)):
            if value is not None and value < 1:
                raise InputError(name, value, "1 or more")
        if hop is not None and draws > 1:
            raise InputError("draws", f"{draws} with hop {hop}", "one of them")
        if channels not in (1, 3):
            raise InputError("channels", channels, "1 (grey) or 3 (RGB)")
        if on_bad not in ("skip", "raise"):
            raise InputError("on_bad", on_bad, "skip, raise")
        self.kind, self.files, self.frames, self.channels = kind, files, frames, channels
        self.hop, self.draws, self.on_bad = hop, draws, on_bad
        self.bad: dict[str, str] = {}
        self._size = None if size is None else (int(size[0]), int(size[1]))
        self._rate = None if rate is None else read_rate(rate)
        self._places = [(file, 0) for file in files] if hop is None else list(self._runs(hop))

    @cached_property
    def size(self) -> tuple[int, int]:
        """(H, W) of a clip.

        Raises:
            InputError: it is left open and the first files differ, or none of them can be read.
        """
        if self._size is not None:
            return self._size
        (height, width), *others = [clip.frames.shape[1:3] for clip in self._first]
        if odd := next((s for s in others if s != (height, width)), None):
            given = f"clips of {width}x{height} and {odd[1]}x{odd[0]}"
            raise InputError("size", given, "one size", "--size HxW brings them to one")
        return height, width

    @cached_property
    def rate(self) -> Fraction:
        """Frames a second of a clip; 10 where no file tells one."""
        return self._rate or next((clip.rate for clip in self._first if clip.rate), Fraction(10))

    @cached_property
    def _first(self) -> list[Clip]:
        """The first frames of the first files that can be read."""
        found = []
        for file in self.files[:_PROBED]:
            try:
                found.append(read_clip(file.open(), count=1, name=file.name, field="data"))
            except (InputError, OSError) as fault:
                cause = str(fault)
        if not found:
            raise InputError("data", f"{self.kind} whose first files are unreadable", "readable clips", cause)
        return found

    def __len__(self) -> int:
        return len(self._places) * self.draws

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Clip `index`, or the next one that can be read.

        Raises:
            InputError: it cannot be read and `on_bad` is ``"raise"``, or none can.
            IndexError: `index` is not in 0..len - 1.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        draw, first = divmod(index, len(self._places))
        for file, start in self._places[first:] + self._places[:first]:
            if (clip := self._read(file, _drawn(file, draw, self.frames) if draw else start)) is not None:
                return {"data": clip}
        raise InputError("data", f"{len(self._places)} clips, none readable", "readable clips", self.report())

    def verify(self) -> dict[str, str]:
        """Decode every clip once, leave out the damaged ones, and return {name: cause} of all of them.

        Raises:
            InputError: a damaged clip with ``on_bad="raise"``, or nothing is left.
        """
        good = [place for place in self._places if self._read(*place) is not None]
        if not good:
            raise InputError("data", f"{len(self._places)} clips, none readable", "readable clips", self.report())
        self._places = good
        return dict(self.bad)

    def describe(self) -> str:
        """One line: what was found, and the shape of an item."""
        height, width = self.size
        shape = f"{self.frames} frames of {width}x{height} at {spell_rate(self.rate)} fps"
        runs = f"{len(self._places)} clips" if self.draws == 1 else f"{self.draws} runs each"
        found = f"{self.kind}: {runs} of {len(self.files)} files, as {self.channels} x {shape}"
        return found + (f"; left out {self.report()}" if self.bad else "")

    def report(self) -> str:
        """The unreadable clips met so far: the first three with their causes, and their number."""
        first = ", ".join(f"{name} ({why})" for name, why in list(self.bad.items())[:3])
        return first + (f" and {len(self.bad) - 3} more" if len(self.bad) > 3 else "")

    def _read(self, file: File, start: Start) -> Tensor | None:
        try:
            source = file.open()
            clip = read_clip(source, rate=self.rate, start=start, count=self.frames, name=file.name, field="data")
        except (InputError, OSError) as fault:
            self._record(file, fault)
            return None
        return resized(to_data(clip.frames, self.channels), self.size, crop=True)

    def _runs(self, hop: int) -> list[tuple[File, int]]:
        """Every run of T frames that starts at a multiple of `hop`."""
        places = []
        for file in self.files:
            try:
                source = file.open()
                if isinstance(source, Path) and source.is_dir():
                    count = len(read_clip(source, name=file.name, field="data").frames)
                else:
                    times = timeline(source, file.name, "data")
                    count = len(times.stamps) if times.rate == self.rate else len(times.at(self.rate))
            except (InputError, OSError) as fault:
                self._record(file, fault)
                continue
            places += [(file, start) for start in range(0, count - self.frames + 1, hop)]
        if not places:
            raise InputError("data", f"{len(self.files)} files without {self.frames} frames", "longer clips",
                             self.report())  # fmt: skip
        return places

    def _record(self, file: File, fault: Exception) -> None:
        if self.on_bad == "raise":
            raise (
                fault if isinstance(fault, InputError) else InputError("data", f"{file.name} ({fault})", "a whole file")
            )
        self.bad[file.name] = str(getattr(fault, "given", fault)).removeprefix(file.name).strip(" ():")


def _drawn(file: File, draw: int, frames: int) -> Start:
    """Where run number `draw` of `frames` frames starts in a file, once its length is known."""
    share = uniforms(draw, ("run", file.name), 1)[0]
    return lambda total: int(share * max(1, total - frames + 1))


def open_clips(path: Path, *, held_out: bool = False, **options: Any) -> ClipFiles:
    """The clips at `path`; `options` are those of `ClipFiles`.

    Raises:
        InputError: as `find_clips` and `ClipFiles`.
    """
    return ClipFiles(*find_clips(Path(path), held_out), **options)
