"""Pictures as training reads them, brought to one size."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from gencore.data import Data
from gencore.errors import InputError
from gencore_images.data import ImageDataset, OnBad, open_dataset
from gencore_images.readers.source import Source, Unreadable

_PROBED = 32


class Items(Data):
    """``{"data": (C, H, W) float32 in [-1, 1], "label": int}`` of a source of pictures.

    Args:
        size: (H, W); None is that of the first pictures, looked up when it is asked for.
        channels: 1 or 3; None is 1 where the first pictures are grey.
        on_bad: see `ImageDataset`.
    """

    def __init__(self, source: Source, size: tuple[int, int] | None = None, channels: int | None = None,
                 on_bad: OnBad = "skip") -> None:  # fmt: skip
        self.source, self.classes = source, source.classes
        self._size, self._channels = size, channels
        self._on_bad: OnBad = on_bad

    @cached_property
    def images(self) -> ImageDataset:
        """The pictures at their size.

        Raises:
            InputError: the size is left open and the pictures differ.
        """
        size, channels = self._size, self._channels
        if size is None or channels is None:
            shapes = _shapes(self.source)
            size, channels = size or _one_size(shapes), channels or (1 if all(s[2] == 1 for s in shapes) else 3)
        return ImageDataset(self.source, size, channels, self._on_bad)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of an item."""
        return self.images.size

    @property
    def channels(self) -> int:
        """C of an item."""
        return self.images.channels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, label = self.images[index]
        return {"data": image, "label": label}

    def describe(self) -> str:
        return self.images.describe()

    def verify(self) -> dict[str, str]:
        return self.images.verify()


def open_items(path: Path, size: tuple[int, int] | None, channels: int | None, *, on_bad: OnBad = "skip",
               **options: Any) -> Items:  # fmt: skip
    """The pictures at `path`; `options` are those of `open_dataset`, and so are the errors."""
    return Items(open_dataset(path, 1, **options).source, size, channels, on_bad)


def _shapes(source: Source) -> list[tuple[int, ...]]:
    """(H, W, C) of the first pictures that can be read."""
    shapes: list[tuple[int, ...]] = []
    for index in range(min(_PROBED, len(source.labels))):
        try:
            shapes.append(source.read(index).shape)
        except Unreadable:
            continue
    if not shapes:
        raise InputError("data", f"{source.kind} whose first pictures are unreadable", "readable pictures")
    return shapes


def _one_size(shapes: list[tuple[int, ...]]) -> tuple[int, int]:
    height, width, _ = shapes[0]
    if odd := next((s for s in shapes if s[:2] != (height, width)), None):
        given = f"pictures of {height}x{width} and {odd[0]}x{odd[1]}"
        raise InputError("size", given, "one size", "--size HxW brings them to one")
    return height, width
