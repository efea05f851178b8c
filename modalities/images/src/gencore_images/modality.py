"""Images as a modality: pictures in, pictures out."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gencore.errors import InputError
from gencore.media.files import atomic_write, check_output
from gencore.modality import Modality
from gencore.recipe import embed_png
from gencore_images.data import ImageDataset, open_dataset

if TYPE_CHECKING:
    from gencore.pipeline import Generated, Pipeline


def to_pictures(data: Tensor) -> list[Image.Image]:
    """(B, C, H, W) in [-1, 1], C = 1 or 3, as 8-bit pictures; values outside are clipped."""
    pixels = ((data.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(p[..., 0] if p.shape[-1] == 1 else p) for p in pixels]


def grid(pictures: list[Image.Image], *, columns: int | None = None, gap: int = 2) -> Image.Image:
    """Pictures of one size row by row on one sheet."""
    columns = columns or int(np.ceil(len(pictures) ** 0.5))
    rows = -(-len(pictures) // columns)
    w, h = pictures[0].size
    sheet = Image.new(pictures[0].mode, (columns * (w + gap) - gap, rows * (h + gap) - gap))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * (w + gap), i // columns * (h + gap)))
    return sheet


class Items(Dataset[Mapping[str, Any]]):
    """An image dataset as training reads it: ``{"data": (C, H, W), "label": int}``."""

    def __init__(self, images: ImageDataset) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, label = self.images[index]
        return {"data": image, "label": label}

    def describe(self) -> str:
        return self.images.describe()


class Images(Modality):
    """Pictures of one size, grey or RGB, optionally with a class each."""

    name, alias, suffix = "images", "images", ".png"

    def samples(self, data: Tensor, pipe: Pipeline) -> list[Image.Image]:
        return to_pictures(data)

    def save(self, out: Generated, path: Path, *, force: bool = False, recipe: bool = True) -> list[Path]:
        """One PNG: the picture, or a grid of all.  A path that is or ends like a folder takes one PNG a sample."""
        if path.is_dir() or path.suffix == "":
            return self._save_each(out, path, force=force, recipe=recipe)
        if path.suffix.lower() != ".png":
            raise InputError("output", path, "a .png file, or a folder for one file a sample")
        made = out.recipe if recipe else None
        picture = out.samples[0] if len(out.samples) == 1 else grid(out.samples)
        _write_png(picture, path, made, force)
        return [path]

    def _save_each(self, out: Generated, folder: Path, *, force: bool, recipe: bool) -> list[Path]:
        if not folder.parent.is_dir():
            raise InputError("output", folder, "a folder in an existing folder", f"mkdir -p {folder.parent}")
        folder.mkdir(exist_ok=True)
        paths = [check_output(folder / f"seed-{seed}.png", force) for seed in out.seeds]
        for i, (picture, path) in enumerate(zip(out.samples, paths, strict=True)):
            _write_png(picture, path, {**out.recipe, "index": i} if recipe else None, force)
        return paths

    def load(self, path: Path, pipe: Pipeline) -> Tensor:
        spec = pipe.tokenizer.spec()
        return _read(path, "image", {1: "L", 3: "RGB"}[spec.size("c") if spec.size("c") in (1, 3) else 3])

    def known(self, source: Any, pipe: Pipeline, field: str = "known") -> Tensor:
        facts, spec = pipe.tokenizer.facts, pipe.tokenizer.spec()
        wanted = tuple(spec.size(a) * f for a, f in zip(("h", "w"), facts.fold, strict=True))
        if isinstance(source, Tensor):
            data = source if source.ndim == 4 else source[None]
        else:
            channels = spec.size("c") if facts.exact else 3
            data = _read(source, field, "L" if channels == 1 else "RGB")
        if tuple(data.shape[2:]) != wanted:
            raise InputError(field, f"{data.shape[3]}x{data.shape[2]}", f"{wanted[1]}x{wanted[0]}, this model's size")
        return data

    def mask(self, source: Any, pipe: Pipeline) -> Tensor:
        if isinstance(source, Tensor):
            area = source if source.ndim == 4 else source.reshape(1, 1, *source.shape[-2:])
            area = area if area.dtype == torch.bool else area > 0.5
        else:
            area = _read(source, "mask", "L") > 0
        facts, spec = pipe.tokenizer.facts, pipe.tokenizer.spec()
        wanted = tuple(spec.size(a) * f for a, f in zip(("h", "w"), facts.fold, strict=True))
        if tuple(area.shape[2:]) != wanted:
            raise InputError("mask", f"{area.shape[3]}x{area.shape[2]}", f"{wanted[1]}x{wanted[0]}, the size of the known image")
        return area

    def dataset(self, source: Path, pipe: Pipeline, **options: Any) -> Items:
        facts, spec = pipe.tokenizer.facts, pipe.tokenizer.spec()
        size = tuple(spec.size(a) * f for a, f in zip(("h", "w"), facts.fold, strict=True))
        return Items(open_dataset(source, size, spec.size("c") if facts.exact else 3, **options))  # type: ignore[arg-type]

    def evaluate(self, pipe: Pipeline, data: Dataset[Mapping[str, Any]], *, n: int, seed: int = 0,
                 progress: Callable[[int, int], None] | None = None, **options: Any) -> dict[str, Any]:  # fmt: skip
        raise InputError("evaluate", "images", "nothing yet")

    def example(self, pipe: Pipeline) -> dict[str, Any]:
        return {"label": 3} if "label" in pipe.conditioner.words else {}


def _write_png(picture: Image.Image, path: Path, recipe: dict[str, Any] | None, force: bool) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    png = buffer.getvalue()
    with atomic_write(path, "wb", force) as file:
        file.write(png if recipe is None else embed_png(png, recipe))


def _read(source: Any, field: str, mode: str) -> Tensor:
    try:
        picture = source if isinstance(source, Image.Image) else Image.open(source)
        pixels = np.asarray(picture.convert(mode))
    except (OSError, ValueError, Image.DecompressionBombError) as fault:
        raise InputError(field, f"{source} ({type(fault).__name__})", "a readable picture") from fault
    data = torch.from_numpy(pixels.copy()).float() / 127.5 - 1
    return data.reshape(1, 1, *data.shape) if mode == "L" else data.permute(2, 0, 1)[None]
