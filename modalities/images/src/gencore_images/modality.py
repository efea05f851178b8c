"""Images as a modality: pictures in, pictures out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gencore.errors import InputError
from gencore.media.files import check_output
from gencore.modality import Difference, Modality
from gencore.recipe import read_recipe
from gencore_images.latents import Latents
from gencore_images.pictures import cut, grid, read_pixels, to_data, to_pictures, write_png

if TYPE_CHECKING:
    from gencore.data import Data
    from gencore.generated import Generated
    from gencore.pipeline import Pipeline
    from gencore_images.items import Items


class Images(Modality):
    """Pictures of one size, grey or RGB, optionally with a class each."""

    name, alias, suffix = "images", "images", ".png"

    def ready(self, pipe: Pipeline) -> None:
        if isinstance(pipe.tokenizer, Latents):
            raise pipe.tokenizer.no_pictures()

    def samples(self, data: Tensor, pipe: Pipeline) -> list[Image.Image]:
        self.ready(pipe)
        return to_pictures(data)

    def check_output(self, path: Path, seeds: Sequence[int], *, force: bool = False) -> None:
        """A .png, or a folder (existing, or a name without suffix) whose files of these seeds are free."""
        if not _is_folder(path):
            if path.suffix.lower() != ".png":
                raise InputError("output", path, "a .png file, or a folder for one file a sample")
            check_output(path, force)
        elif path.is_dir():
            for file in _files(path, seeds):
                check_output(file, force)
        else:
            check_output(path)

    def save(self, out: Generated, path: Path, *, force: bool = False, recipe: bool = True) -> list[Path]:
        """One PNG: the picture, or a sheet of all.  A folder takes one PNG a sample."""
        self.check_output(path, out.seeds, force=force)
        if not _is_folder(path):
            picture = out.samples[0] if len(out.samples) == 1 else grid(out.samples)
            write_png(picture, path, out.recipe if recipe else None, force)
            return [path]
        path.mkdir(exist_ok=True)
        files = _files(path, out.seeds)
        for i, (picture, file) in enumerate(zip(out.samples, files, strict=True)):
            write_png(picture, file, {"index": i, **out.recipe} if recipe else None, force)
        return files

    def load(self, path: Path, pipe: Pipeline) -> Tensor:
        mode = _mode(pipe)
        try:
            recipe = read_recipe(path)
        except InputError:
            recipe = {}
        return torch.cat([to_data(p) for p in _pixels(path, recipe, mode)])

    def difference(self, out: Generated, path: Path, recipe: dict[str, Any]) -> Difference:
        """Compare pixel by pixel, in steps of 8 bits."""
        made = [np.asarray(picture) for picture in out.samples]
        kept = _pixels(path, recipe, "L" if made[0].ndim == 2 else "RGB")
        if kept[0].shape != made[0].shape:
            return Difference(0, len(made), f"of size, {kept[0].shape[:2]} and {made[0].shape[:2]}")
        gaps = [int(np.abs(a.astype(int) - b).max()) for a, b in zip(made, kept, strict=True)]
        return Difference(gaps.count(0), len(gaps), f"{max(gaps)} of 255" if max(gaps) else "")

    def known(self, source: Any, pipe: Pipeline, field: str = "known") -> Tensor:
        wanted = _size(pipe)
        if isinstance(source, Tensor):
            data = source if source.ndim == 4 else source[None]
        else:
            data = to_data(read_pixels(source, field, _mode(pipe)))
        if tuple(data.shape[2:]) != wanted:
            raise InputError(field, f"{data.shape[3]}x{data.shape[2]}", f"{wanted[1]}x{wanted[0]}, this model's size")
        return data

    def mask(self, source: Any, pipe: Pipeline) -> Tensor:
        if isinstance(source, Tensor):
            area = source if source.ndim == 4 else source.reshape(1, 1, *source.shape[-2:])
            area = area if area.dtype == torch.bool else area > 0.5
        else:
            area = to_data(read_pixels(source, "mask", "L")) > 0
        w = _size(pipe)
        if tuple(area.shape[2:]) != w:
            raise InputError("mask", f"{area.shape[3]}x{area.shape[2]}", f"{w[1]}x{w[0]}, the size of the known image")
        return area

    def dataset(self, source: Path | None, pipe: Pipeline | None = None, *, held_out: bool = False,
                size: Sequence[int] | None = None, **options: Any) -> Items:  # fmt: skip
        """Pictures with their class, by `open_dataset`; `size` (H, W) where no pipeline says it."""
        from gencore_images.items import open_items

        if source is None:
            raise InputError("data", "nothing", "--data with a folder, .tar, .npz, .npy, .h5 or .hdf5")
        if size is not None and len(size) != 2:
            raise InputError("size", "x".join(map(str, size)), "HxW, for instance 28x28")
        options = {"split": "test" if held_out else "train", **options}
        if pipe is None:
            return open_items(source, None if size is None else (size[0], size[1]), None, **options)
        return open_items(source, _size(pipe), 1 if _mode(pipe) == "L" else 3, **options)

    def evaluate(self, pipe: Pipeline, data: Data, *, n: int, seed: int = 0, train: Data | None = None,
                 progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:  # fmt: skip
        """Recognised share, Frechet distance, precision and recall; see `gencore_images.evaluation`."""
        from gencore_images.evaluation import evaluate
        from gencore_images.items import Items

        if not isinstance(data, Items) or not isinstance(train, Items | None):
            raise InputError("data", type(data).__name__, "what Images.dataset gives")
        return evaluate(pipe, data, n=n, seed=seed, train=train, progress=progress)

    def example(self, pipe: Pipeline, n: int = 1) -> dict[str, Any]:
        if "label" not in pipe.conditioner.words:
            return {"n": n}
        classes = getattr(pipe.conditioner, "classes", 1)
        return {"label": min(3, classes - 1) if n == 1 else [i % classes for i in range(n)]}

    def showcase(self, pipe: Pipeline, seed: int) -> Generated:
        return pipe.generate(**self.example(pipe, 40), seed=seed)

    def html(self, path: Path) -> str:
        return f'<img src="{path.name}" alt="{path.stem}">'


def _size(pipe: Pipeline) -> tuple[int, int]:
    """(H, W) of the pictures a pipeline makes."""
    spec, fold = pipe.tokenizer.spec(), pipe.tokenizer.facts.fold
    return spec.size("h") * fold[0], spec.size("w") * fold[1]


def _mode(pipe: Pipeline) -> str:
    return "L" if pipe.tokenizer.facts.exact and pipe.tokenizer.spec().size("c") == 1 else "RGB"


def _is_folder(path: Path) -> bool:
    return path.is_dir() or path.suffix == ""


def _files(folder: Path, seeds: Sequence[int]) -> list[Path]:
    return [folder / f"seed-{seed}.png" for seed in seeds]


def _pixels(path: Path, recipe: dict[str, Any], mode: str) -> list[np.ndarray]:
    """The pictures in a file: those of a sheet, or the one it is."""
    sheet = read_pixels(path, "image", mode)
    count = 1 if "index" in recipe else len(recipe.get("seeds", [0]))
    return cut(sheet, count) if count > 1 else [sheet]
