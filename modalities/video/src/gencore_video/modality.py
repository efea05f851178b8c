"""Video as a modality: clips in, clips out, and tasks by mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.media.files import atomic_write, check_output
from gencore.media.sheet import cut, sheet
from gencore.modality import Difference, Modality
from gencore.recipe import read_recipe
from gencore_video import tasks
from gencore_video.given import Given, Wanted, clip_channels, clip_rate, clip_shape, video_mask
from gencore_video.io.contact import contact_sheet, encode_picture
from gencore_video.io.reading import read_clip
from gencore_video.io.stills import read_picture
from gencore_video.io.writing import CODED, check_clip, write_clip
from gencore_video.pixels import to_data, to_frames
from gencore_video.rate import read_rate
from gencore_video.tokenizers.latents import ClipLatents

if TYPE_CHECKING:
    from gencore.data import Data
    from gencore.generated import Generated
    from gencore.pipeline import Pipeline

_DRAWS = 64
_CODERS_DIFFER = 4.0
"""Mean difference, of 255, up to which two encoders may write the same samples."""


class Video(Modality):
    """Clips (B, C, T, H, W) of one size, held as (T, H, W, C) uint8 arrays.

    A file holds one sample, or all side by side; a folder takes a file a sample.  Beside each clip lies its contact
    sheet, a picture of its frames.
    """

    name, alias, suffix = "video", "videos", ".mp4"
    words = tasks.WORDS
    enough = 64

    def asked(self, words: Mapping[str, Any], options: Mapping[str, Any], pipe: Pipeline) -> dict[str, Any]:
        return tasks.asked(words, options, pipe)

    def ready(self, pipe: Pipeline) -> None:
        if isinstance(pipe.tokenizer, ClipLatents):
            raise InputError("video", f"{pipe.tokenizer.channels}-channel latents of a model without its autoencoder",
                             "a model with one", "tokenizer per-frame with an image autoencoder")  # fmt: skip

    def samples(self, data: Tensor, pipe: Pipeline) -> list[np.ndarray]:
        return to_frames(data)

    def check_output(self, path: Path, seeds: Sequence[int], *, force: bool = False) -> None:
        """A clip (see `write_clip`), or a folder (existing, or a name without suffix) for one a sample."""
        if not _is_folder(path):
            check_clip(path, force)
            check_output(_contact(path), force)
        elif path.is_dir():
            for file in _files(path, seeds):
                self.check_output(file, (), force=force)
        else:
            check_output(path)

    def save(self, out: Generated, path: Path, *, force: bool = False, recipe: bool = True) -> list[Path]:
        self.check_output(path, out.seeds, force=force)
        if not _is_folder(path):
            return _write(out.samples, path, _rate(out), out.recipe if recipe else None, force)
        path.mkdir(exist_ok=True)
        written = []
        for i, (clip, file) in enumerate(zip(out.samples, _files(path, out.seeds), strict=True)):
            written += _write([clip], file, _rate(out), {"index": i, **out.recipe} if recipe else None, force)
        return written

    def load(self, path: Path, pipe: Pipeline) -> Tensor:
        return torch.stack([to_data(clip, clip_channels(pipe)) for clip in _clips(path)])

    def difference(self, out: Generated, path: Path, recipe: dict[str, Any]) -> Difference:
        """Compare frame by frame with what saving `out` gives: exactly in a lossless file and on the same encoder.

        Another encoder writes the same samples with other losses: they are equal, then, when the hash of the samples
        before coding is, and the file shows them.
        """
        if path.suffix.lower() == ".png":
            kept = read_picture(path, "file")
            made = contact_sheet(out.samples)
            same = kept.shape == made.shape and bool((kept == made).all())
            return Difference(len(out.samples) * same, len(out.samples), "" if same else "of the contact sheet")
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            again = Path(folder) / path.name
            _write(out.samples, again, _rate(out), out.recipe, True)
            made, kept = _clips(again), _clips(path)
        if len(kept) != len(made) or kept[0].shape != made[0].shape:
            return Difference(0, len(made), f"of shape, {kept[0].shape} and {made[0].shape}")
        gaps = [np.abs(a.astype(int) - b) for a, b in zip(made, kept, strict=True)]
        largest = max(int(gap.max()) for gap in gaps)
        coded = path.suffix.lower() in CODED and recipe.get("result") == out.recipe.get("result")
        if coded and max(float(gap.mean()) for gap in gaps) < _CODERS_DIFFER:
            return Difference(len(gaps), len(gaps))
        return Difference(sum(not gap.any() for gap in gaps), len(gaps), f"{largest} of 255" if largest else "")

    def known(self, source: Any, pipe: Pipeline, field: str = "known") -> Tensor:
        if isinstance(source, Tensor) and source.ndim == 5:
            spec = (clip_channels(pipe), *clip_shape(pipe))
            if tuple(source.shape[1:]) != spec:
                raise InputError(field, f"shape {tuple(source.shape)}", f"(B, {', '.join(map(str, spec))})")
            return source
        wanted = Wanted.of({}, pipe)
        return Given.of(source, wanted, field).data(wanted, range(wanted.shape[0]), field)

    def mask(self, source: Any, pipe: Pipeline) -> Tensor:
        return video_mask(source, clip_shape(pipe))

    def dataset(self, source: Path | None, pipe: Pipeline | None = None, *, held_out: bool = False,
                size: Sequence[int] | None = None, **options: Any) -> Data:  # fmt: skip
        """Clips of `source` (see `open_clips`), or simulated ones; `size` is (H, W) or (T, H, W).

        To train a pipeline on, a file stands for many runs of its frames; held out, for its first one.
        """
        if size is not None and len(size) not in (2, 3):
            raise InputError("size", "x".join(map(str, size)), "HxW or TxHxW, for instance 32x32")
        shape: dict[str, Any] = {} if size is None else {"size": tuple(size[-2:])}
        if size is not None and len(size) == 3:
            shape["frames"] = size[0]
        if pipe is not None:
            frames, *sides = clip_shape(pipe)
            shape = {"frames": frames, "size": tuple(sides)}
        if source is None:
            from gencore_video.physics.clips import physics_clips

            return physics_clips(held_out=held_out, **{**shape, **options})
        from gencore_video.clips.dataset import open_clips

        if pipe is not None:
            draws = 1 if held_out or "hop" in options else _DRAWS
            shape |= {"channels": clip_channels(pipe), "rate": clip_rate(pipe), "draws": draws}
        return open_clips(source, held_out=held_out, **{**shape, **options})

    def evaluate(self, pipe: Pipeline, data: Data, *, n: int, seed: int = 0, train: Data | None = None,
                 progress: Callable[[int, int], None] | None = None, **options: Any) -> dict[str, Any]:  # fmt: skip
        """Figures of every task; see `gencore_video.evaluation`."""
        from gencore_video.evaluation import evaluate

        return evaluate(pipe, data, n=n, seed=seed, train=train, progress=progress, **options)

    def showcase(self, pipe: Pipeline, seed: int) -> Generated:
        """One held-out clip through all tasks, side by side."""
        shown = ["predict", "backward", "interpolate", "image-to-video", "random-frames", "complete", "unconditional"]
        return pipe.generate(task=shown, clip=seed % 64, seed=seed)

    def html(self, path: Path) -> str:
        """The clip and, where it shows several tasks, their names in its order."""
        clip = f'<video src="{path.name}" autoplay loop muted controls playsinline></video>'
        try:
            tasks = read_recipe(path).get("words", {}).get("task")
        except InputError:
            return clip
        named = f"<br>row by row: {escape(', '.join(tasks))}" if isinstance(tasks, list) else ""
        return clip + named


def _is_folder(path: Path) -> bool:
    return path.suffix == "" or (path.is_dir() and path.suffix.lower() != ".frames")


def _files(folder: Path, seeds: Sequence[int]) -> list[Path]:
    return [folder / f"seed-{seed}.mp4" for seed in seeds]


def _contact(path: Path) -> Path:
    return path.with_suffix(".png")


def _rate(out: Generated) -> Fraction:
    words = out.recipe.get("words", {})
    return read_rate(words["fps"]) if "fps" in words else clip_rate(out.pipeline)


def _write(clips: Sequence[np.ndarray], path: Path, rate: Fraction, recipe: dict[str, Any] | None, force: bool
           ) -> list[Path]:  # fmt: skip
    frames = sheet(clips) if len(clips) > 1 else clips[0]
    picture = encode_picture(contact_sheet(clips), recipe)
    # The sheet gets its name last: either both files appear or none.
    with atomic_write(_contact(path), "wb", force) as file:
        file.write(picture)
        write_clip(frames.repeat(3, -1) if frames.shape[-1] == 1 else frames, path, rate, recipe, force)
    return [path, _contact(path)]


def _clips(path: Path) -> list[np.ndarray]:
    """The clips (T, H, W, 3) in a file: those of a sheet, or the one it is."""
    try:
        recipe = read_recipe(path)
    except InputError:
        recipe = {}
    count = 1 if "index" in recipe else len(recipe.get("seeds", [0]))
    whole = read_clip(path, field="file").frames
    return cut(whole, count) if count > 1 else [whole]
