"""Pictures with class labels from what people have: folders, tar shards, numpy, HDF5 and IDX files.

A *source* (``readers/``) knows one storage and yields raw pictures by number; `ImageDataset` turns any of them into
tensors of one size.  Nothing is read before it is asked for, except names and labels.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from gencore.errors import InputError
from gencore_images.readers import arrays, folder, shards
from gencore_images.readers.source import Source, Unreadable

OnBad = Literal["skip", "raise"]


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Items (image (C, H, W) float32 in [-1, 1], label int) of a source, resized and centre-cropped to one size.

    Args:
        source: where the pictures come from.
        size: side length, or (H, W).
        channels: 1 (grey, Rec. 601 luma) or 3.
        on_bad: a picture that cannot be read is fatal (``"raise"``), or is recorded in `bad` and the next readable
            one stands in for it (``"skip"``).
    """

    def __init__(self, source: Source, size: int | tuple[int, int], channels: int = 3, on_bad: OnBad = "skip") -> None:
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 1:
            raise InputError("size", f"{height}x{width}", "at least 1x1")
        if channels not in (1, 3):
            raise InputError("channels", channels, "1 (grey) or 3 (RGB)")
        if on_bad not in ("skip", "raise"):
            raise InputError("on_bad", on_bad, "skip, raise")
        if not len(source.labels):
            raise InputError("data", f"a {source.kind} without pictures", "at least one")
        self.source, self.size, self.channels, self.on_bad = source, (height, width), channels, on_bad
        self.bad: dict[str, str] = {}
        self._order = list(range(len(source.labels)))

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.read(index)

    def read(self, index: int, flip: bool = False) -> tuple[Tensor, int]:
        """Item `index`, mirrored left to right if `flip`; the caller draws `flip` from its own keyed noise.

        Raises:
            InputError: the picture cannot be read and `on_bad` is ``"raise"``, or none can.
            IndexError: `index` is not in 0..len - 1.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        for step in range(len(self)):
            at = self._order[(index + step) % len(self)]
            try:
                image = self._fit(self.source.read(at))
            except Unreadable as fault:
                self._record(at, fault)
            else:
                return image.flip(-1) if flip else image, int(self.source.labels[at])
        raise InputError("data", f"{len(self)} pictures, none readable", "readable pictures", self.report())

    def verify(self) -> dict[str, str]:
        """Decode every picture once, leave out the damaged ones, and return {name: cause} of all of them.

        Raises:
            InputError: a damaged picture with ``on_bad="raise"``, or nothing is left.
        """
        good = []
        for at in self._order:
            try:
                self.source.read(at)
            except Unreadable as fault:
                self._record(at, fault)
            else:
                good.append(at)
        if not good:
            raise InputError("data", f"{len(self)} pictures, none readable", "readable pictures", self.report())
        self._order = good
        return dict(self.bad)

    def describe(self) -> str:
        """One line: what was found, how many of each class, and the shape of an item."""
        found = f"{self.source.kind}: {len(self)} images"
        if self.source.classes:
            counts = Counter(int(self.source.labels[at]) for at in self._order)
            shown = ", ".join(f"{name} {counts[label]}" for label, name in enumerate(self.source.classes[:10]))
            found += f" in {len(self.source.classes)} classes ({shown}{', ...' * (len(self.source.classes) > 10)})"
        else:
            found += ", unlabelled"
        shape = "x".join(map(str, (self.channels, *self.size)))
        return f"{found}, as {shape}" + (f"; left out {self.report()}" if self.bad else "")

    def report(self) -> str:
        """The unreadable pictures met so far: the first three with their causes, and their number."""
        first = ", ".join(f"{name} ({why})" for name, why in list(self.bad.items())[:3])
        return first + (f" and {len(self.bad) - 3} more" if len(self.bad) > 3 else "")

    def _record(self, at: int, fault: Unreadable) -> None:
        name = self.source.name(at)
        if self.on_bad == "raise":
            raise InputError("data", f"{name} ({fault})", "a readable picture") from None
        self.bad[name] = str(fault)

    def _fit(self, pixels: np.ndarray) -> Tensor:
        image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
        image = image.float() / 127.5 - 1 if image.dtype == torch.uint8 else image.float()
        if self.channels == 1 and len(image) == 3:
            image = torch.einsum("c,chw->hw", torch.tensor([0.299, 0.587, 0.114]), image)[None]
        image = image.expand(self.channels, -1, -1)
        (height, width), (rows, columns) = self.size, image.shape[1:]
        scale = max(height / rows, width / columns)
        if scale != 1:
            fitted = max(height, round(rows * scale)), max(width, round(columns * scale))
            image = F.interpolate(image[None], fitted, mode="bicubic", antialias=True)[0].clamp(-1, 1)
        top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
        return image[:, top : top + height, left : left + width].contiguous()


def open_dataset(
    path: str | os.PathLike[str],
    size: int | tuple[int, int],
    channels: int = 3,
    *,
    split: Literal["train", "test"] = "train",
    value_range: tuple[float, float] | None = None,
    on_bad: OnBad = "skip",
) -> ImageDataset:
    """The pictures at `path`, whatever they are kept in; ``describe()`` says what was found.

    Understood are: a folder with one sub-folder a class, a flat folder of pictures, a folder in the MNIST layout
    (IDX, plain or .gz), a .tar or a folder of .tar shards in the WebDataset layout, .npz and .npy arrays
    (``images``, ``labels``), .h5/.hdf5 with the same names.

    Args:
        size, channels, on_bad: as `ImageDataset`.
        split: of a folder in the MNIST layout.
        value_range: (black, white) of floating-point arrays; required for them, because 0..1 and -1..1 look alike.

    Raises:
        InputError: nothing there, nothing understood, or arrays of an unexpected shape or type.
        MissingDependency: h5py is absent.
    """
    path = Path(path)
    if path.is_dir():
        source = arrays.from_idx(path, split) or shards.from_folder(path) or folder.from_folder(path)
    elif not path.exists():
        raise InputError("data", f"{path} (no such file or folder)", "a folder or file of pictures")
    elif path.suffix in (".npz", ".npy"):
        source = arrays.from_numpy(path, value_range)
    elif path.suffix in (".h5", ".hdf5"):
        source = arrays.from_hdf5(path, value_range)
    elif path.suffix == ".tar":
        source = shards.TarSource([path])
    else:
        raise InputError("data", path, "a folder, .tar, .npz, .npy, .h5 or .hdf5")
    return ImageDataset(source, size, channels, on_bad)
