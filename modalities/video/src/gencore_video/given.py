"""What a user gives of a clip: any file as data of the pipeline's size and rate, and masks over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from gencore.errors import InputError, unknown
from gencore_video.io.reading import look, read_clip
from gencore_video.io.stills import PICTURES, read_picture
from gencore_video.pixels import LUMA, resized, to_data
from gencore_video.rate import read_rate, spell_rate

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline

FITS = ("crop", "stretch")


def clip_shape(pipe: Pipeline, size: Sequence[int] | None = None) -> tuple[int, int, int]:
    """(T, H, W) of the clips a pipeline makes."""
    spec, fold = pipe.tokenizer.spec(size), pipe.tokenizer.facts.fold
    t, h, w = (spec.size(axis) * f for axis, f in zip("thw", fold, strict=True))
    return t, h, w


def clip_channels(pipe: Pipeline) -> int:
    """1 for grey clips, else 3."""
    return 1 if pipe.tokenizer.facts.exact and pipe.tokenizer.spec().size("c") == 1 else 3


def clip_rate(pipe: Pipeline) -> Fraction:
    """Frames a second of the clips a pipeline makes."""
    return read_rate(getattr(pipe.tokenizer, "fps", 10))


@dataclass(frozen=True)
class Wanted:
    """What a given clip must be.

    Args:
        shape: (T, H, W).
        channels: 1 or 3.
        rate: frames a second of what is made.
        resample: whether the user said the rate, so that clips of another rate are brought to it.
        offset: the first frame that counts; None where the user did not say.
        fit: "crop" or "stretch" brings frames of another size to this one, None refuses them.
    """

    shape: tuple[int, int, int]
    channels: int
    rate: Fraction
    resample: bool = False
    offset: int | None = None
    fit: str | None = None

    @classmethod
    def of(cls, words: Mapping[str, Any], pipe: Pipeline) -> Self:
        """What `words` (``fps``, ``offset``, ``fit``) and the pipeline ask for.

        Raises:
            InputError: a word out of range.
        """
        fit, offset = words.get("fit"), words.get("offset")
        if fit is not None and fit not in FITS:
            raise unknown("fit", fit, FITS)
        if offset is not None and (not isinstance(offset, int) or isinstance(offset, bool)):
            raise InputError("offset", offset, "a whole number; below 0 counts from the end")
        rate = read_rate(words["fps"]) if "fps" in words else clip_rate(pipe)
        return cls(clip_shape(pipe), clip_channels(pipe), rate, "fps" in words, offset, fit)


@dataclass(frozen=True)
class Given:
    """A clip that is there, looked at but not yet decoded.

    Args:
        source: a path, a PIL picture, an array (T, H, W, 3) uint8, or a tensor (C, T, H, W) in [-1, 1].
        frames: how many there are from `start` on; no more than T where the user gave an offset.
        size: (H, W).
        rate: frames a second, None where the source has none.
        start: the first that counts.
    """

    source: Any
    frames: int
    size: tuple[int, int]
    rate: Fraction | None
    start: int

    @classmethod
    def of(cls, source: Any, wanted: Wanted, field: str = "known") -> Self:
        """Look at `source`.

        Raises:
            InputError: unreadable, of an unknown kind, or an offset outside of it.
        """
        if isinstance(source, str | Path):
            source = Path(source)
            total, size, rate = look(source, wanted.rate if wanted.resample else None, field)
        elif isinstance(source, Tensor):
            source = source[0] if source.ndim == 5 and len(source) == 1 else source
            if source.ndim != 4 or not source.is_floating_point() or len(source) != wanted.channels:
                accepted = f"floats ({wanted.channels}, T, H, W) in [-1, 1]"
                raise InputError(field, f"{source.dtype} of shape {tuple(source.shape)}", accepted)
            total, size, rate = source.shape[1], (source.shape[2], source.shape[3]), None
        else:
            source = source if isinstance(source, np.ndarray) else read_picture(source, field)
            source = source[None] if source.ndim == 3 else source
            if source.dtype != np.uint8 or source.ndim != 4 or source.shape[-1] not in (1, 3):
                raise InputError(field, f"{source.dtype} of shape {source.shape}", "uint8 (T, H, W, 1 or 3)")
            total, size, rate = source.shape[0], (source.shape[1], source.shape[2]), None
        start = wanted.offset or 0
        if not -total <= start < total:
            raise InputError("offset", start, f"{-total}..{total - 1}, a frame of the clip")
        start %= total
        frames = total - start if wanted.offset is None else min(total - start, wanted.shape[0])
        return cls(source, frames, size, rate, start)

    @property
    def name(self) -> str:
        return self.source.name if isinstance(self.source, Path) else f"a clip of {self.frames} frames"

    def data(self, wanted: Wanted, kept: Sequence[int], field: str = "known") -> Tensor:
        """(1, C, T, H, W) in [-1, 1]: all T frames, or those at `kept` alone and 0 elsewhere.

        Raises:
            InputError: neither T frames nor as many as are kept, or another size or rate than `wanted`.
        """
        self._check(wanted, kept, field)
        if isinstance(self.source, Tensor):
            clip = self.source[:, self.start : self.start + self.frames].float()
        elif isinstance(self.source, Path):
            rate = wanted.rate if wanted.resample else None
            read = read_clip(self.source, rate=rate, start=self.start, count=self.frames, field=field)
            clip = to_data(read.frames, wanted.channels)
        else:
            clip = to_data(self.source[self.start : self.start + self.frames], wanted.channels)
        if wanted.fit is not None:
            clip = resized(clip, wanted.shape[1:], crop=wanted.fit == "crop")
        if self.frames == wanted.shape[0]:
            return clip[None]
        data = torch.zeros(clip.shape[0], *wanted.shape)
        data[:, list(kept)] = clip
        return data[None]

    def _check(self, wanted: Wanted, kept: Sequence[int], field: str) -> None:
        """All that does not fit, in one line."""
        frames, height, width = wanted.shape
        given, accepted, hints = [], [], []
        if self.frames not in (frames, len(kept)):
            given.append(f"{self.frames} frame{'s' * (self.frames > 1)}")
            accepted.append(f"{frames} frames" + f" or the {len(kept)} that are kept" * (0 < len(kept) < frames))
            first = f"--offset 0 takes the first {frames}, " if self.frames > frames else ""
            if self.frames > len(kept):
                hints.append(f"{first}--offset {-len(kept)} takes the last {len(kept)}")
        if self.size != (height, width) and wanted.fit is None:
            given.append(f"{self.size[1]}x{self.size[0]}")
            accepted.append(f"{width}x{height}")
            hints.append("--fit crop or --fit stretch brings it to size")
        if self.rate not in (None, wanted.rate):
            told, made = spell_rate(self.rate), spell_rate(wanted.rate)
            given.append(f"{told} fps")
            accepted.append(f"{made} fps")
            hints.append(f"--fps {told} keeps its frames, --fps {made} resamples them")
        if given:
            raise InputError(field, f"{self.name}: {', '.join(given)}", ", ".join(accepted), "; ".join(hints))


def kept_frames(masks: Tensor) -> list[int]:
    """The frames of which some mask (B, 1, T, H, W) keeps something.

    >>> kept_frames(torch.tensor([True, False, True, False]).reshape(1, 1, 4, 1, 1))
    [1, 3]
    """
    return (~masks).transpose(0, 2).flatten(1).any(1).nonzero().flatten().tolist()


def video_mask(source: Any, shape: tuple[int, int, int]) -> Tensor:
    """(B, 1, T, H, W) bool, True (white) = generate, of a picture, which holds for every frame, or of a clip.

    Args:
        source: a path, a picture, or a tensor of shape (H, W), (T, H, W) or (B, 1, T, H, W), bool or 0..1.

    Raises:
        InputError: unreadable, or of another size.

    >>> video_mask(torch.ones(2, 3), (4, 2, 3)).shape
    torch.Size([1, 1, 4, 2, 3])
    """
    name = "a mask"
    if isinstance(source, Tensor):
        area = source if source.dtype == torch.bool else source > 0.5
    elif isinstance(source, str | Path) and (Path(source).is_dir() or Path(source).suffix.lower() not in PICTURES):
        area = torch.from_numpy(read_clip(Path(source), field="mask").frames @ LUMA > 127.5)
        name = Path(source).name
    else:
        area = torch.from_numpy(read_picture(source, "mask", "L") > 127)
        name = Path(source).name if isinstance(source, str | Path) else name
    if area.ndim == 2:
        area = area.expand(shape[0], *area.shape)
    if area.ndim == 3:
        area = area[None, None]
    if area.ndim != 5 or area.shape[1] != 1 or tuple(area.shape[2:]) != shape:
        t, h, w = shape
        sides = "x".join(str(n) for n in area.shape[-2:][::-1])
        accepted = f"{w}x{h}: a picture for all frames, or {t} frames"
        raise InputError("mask", f"{name}: {'x'.join(map(str, area.shape))}" if area.ndim < 3 else
                         f"{name}: {area.shape[-3]} frames of {sides}", accepted)  # fmt: skip
    return area


def packaged_clip(number: Any, wanted: Wanted) -> Tensor:
    """(1, C, T, H, W): held-out clip `number` of the package.

    Raises:
        InputError: no such clip, or a model of other channels.
    """
    from gencore_video.physics.clips import physics_clips

    frames, *size = wanted.shape
    clips = physics_clips(held_out=True, frames=frames, size=size)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(clips):
        raise InputError("clip", number, f"0..{len(clips) - 1}")
    if clips.channels != wanted.channels:
        raise InputError("clip", f"{number}, {clips.channels} channels", f"a model of {clips.channels} channels")
    return clips[number]["data"][None]
