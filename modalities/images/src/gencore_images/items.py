"""Pictures as training reads them, brought to one size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gencore.data import Data
from gencore.errors import InputError
from gencore_images.data import ImageDataset, open_dataset
from gencore_images.readers.source import Source, Unreadable

_PROBED = 32


class Items(Data):
    """``{"data": (C, H, W) float32 in [-1, 1], "label": int}`` of an image dataset.

    Attributes:
        size: (H, W).
        channels: C, 1 or 3.
    """

    def __init__(self, images: ImageDataset) -> None:
        self.images = images
        self.classes, self.size, self.channels = images.source.classes, images.size, images.channels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, label = self.images[index]
        return {"data": image, "label": label}

    def describe(self) -> str:
        return self.images.describe()

    def verify(self) -> dict[str, str]:
        return self.images.verify()


def open_items(path: Path, size: tuple[int, int] | None, channels: int | None, **options: Any) -> Items:
    """The pictures at `path`; a size or channels of None are those of the pictures.

    Raises:
        InputError: as `open_dataset`, or the size is left open and the pictures differ.
    """
    if size is None or channels is None:
        found, grey = _native(open_dataset(path, 1, **options).source, size is None)
        size, channels = size or found, channels or (1 if grey else 3)
    return Items(open_dataset(path, size, channels, **options))


def _native(source: Source, one_size: bool) -> tuple[tuple[int, int], bool]:
    """(H, W) and whether all are grey, of the first pictures."""
    shapes: list[tuple[int, ...]] = []
    for index in range(min(_PROBED, len(source.labels))):
        try:
            shapes.append(source.read(index).shape)
        except Unreadable:
            continue
    if not shapes:
        raise InputError("data", f"{source.kind} whose first pictures are unreadable", "readable pictures")
    odd = next((s for s in shapes if s[:2] != shapes[0][:2]), None)
    if odd and one_size:
        given = f"pictures of {shapes[0][0]}x{shapes[0][1]} and {odd[0]}x{odd[1]}"
        raise InputError("size", given, "one size", "--size HxW brings them to one")
    return (shapes[0][0], shapes[0][1]), all(s[2] == 1 for s in shapes)
