"""Pictures kept as one array: numpy files, HDF5 and IDX."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gencore.errors import InputError, MissingDependency
from gencore_images.idx import find_split, read_split
from gencore_images.readers.source import Unreadable

IMAGES = ("images", "image", "x", "x_train", "data", "arr_0")
LABELS = ("labels", "label", "y", "y_train", "targets", "arr_1")


class ArraySource:
    """Rows of an array (N, H, W), (N, H, W, C) or (N, C, H, W), C = 1 or 3, read one at a time.

    Args:
        path: for messages.
        images: gives the array; called in every process anew, so that a handle is never shared.
        labels: (N,) integers >= 0, or None.
        value_range: (black, white) of floating-point values; uint8 is 0..255.
    """

    def __init__(self, kind: str, path: Path, images: Callable[[], Any], labels: np.ndarray | None,
                 value_range: tuple[float, float] | None) -> None:  # fmt: skip
        self.kind, self.path, self._open = kind, path, images
        self._array, self._owner = images(), os.getpid()
        self.channels_first = _channels_first(path, self._array.shape)
        dtype = np.dtype(self._array.dtype)
        if dtype != np.uint8 and dtype.kind != "f":
            raise InputError("data", f"{path} ({dtype} images)", "uint8 or floating-point images")
        if dtype.kind == "f" and value_range is None:
            raise InputError("data", f"{path} ({dtype} images)", "value_range=(black, white) given with them")
        self.value_range = value_range if dtype.kind == "f" else None
        count = self._array.shape[0]
        self.labels = np.zeros(count, np.int64) if labels is None else _labels(path, labels, count)
        self.classes = () if labels is None else tuple(map(str, range(int(self.labels.max(initial=-1)) + 1)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None, "_owner": None}

    def name(self, index: int) -> str:
        return f"{self.path.name}[{index}]"

    def read(self, index: int) -> np.ndarray:
        if self._owner != os.getpid():
            self._array, self._owner = self._open(), os.getpid()
        try:
            row = np.asarray(self._array[index])
        except OSError as fault:
            raise Unreadable(str(fault)) from None
        if self.value_range:
            black, white = self.value_range
            row = (row.astype(np.float32) - black) * (2 / (white - black)) - 1
            if not (np.abs(row) <= 1 + 1e-5).all():
                raise Unreadable(f"values outside {black:g}..{white:g}, or not finite")
        if row.ndim == 2:
            return row[..., None]
        return np.moveaxis(row, 0, -1) if self.channels_first else row


def from_idx(folder: Path, split: str) -> ArraySource | None:
    """A folder in the MNIST layout, or None when it is not one.

    Raises:
        InputError: another split is there but not this one, or a file is damaged.
    """
    if not any(find_split(folder, name) for name in ("train", "test")):
        return None
    images, labels = read_split(folder, split)
    return ArraySource(f"IDX files ({split})", folder, _Held(images), labels, None)


def from_numpy(path: Path, value_range: tuple[float, float] | None) -> ArraySource:
    """An .npz with arrays images (and labels), or an .npy whose labels lie beside it as ``<stem>_labels.npy``.

    An .npy stays on disk; an .npz is unpacked into memory.

    Raises:
        InputError: damaged, pickled objects, or no such arrays.
    """
    if path.suffix == ".npy":
        beside = path.with_name(f"{path.stem}_labels.npy")
        labels = _load(beside)[...] if beside.is_file() else None
        return ArraySource("numpy array", path, _Mapped(path), labels, value_range)
    with _load(path) as archive:
        images, labels = _pick(path, archive)
        held = _Held(_member(path, archive, images))
        known = None if labels is None else _member(path, archive, labels)
        return ArraySource("numpy archive", path, held, known, value_range)


def from_hdf5(path: Path, value_range: tuple[float, float] | None) -> ArraySource:
    """An HDF5 file with data sets images (and labels); rows are read when asked for.

    Raises:
        MissingDependency: h5py is absent.
        InputError: damaged, or no such data sets.
    """
    try:
        import h5py
    except ImportError:
        raise MissingDependency("h5py", "HDF5 files", "gencore-images[data]") from None
    try:
        with h5py.File(path, "r") as file:
            images, name = _pick(path, file)
            labels = None if name is None else np.asarray(file[name])
    except OSError:
        raise InputError("data", f"{path} (damaged, or no HDF5 file)", "a complete HDF5 file") from None
    return ArraySource("HDF5 file", path, _DataSet(path, images), labels, value_range)


class _Held:
    """An array in memory."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __call__(self) -> np.ndarray:
        return self.array


class _Mapped:
    """An .npy mapped from disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> np.ndarray:
        return _load(self.path)


class _DataSet:
    """A data set of an HDF5 file, opened by whoever calls."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name

    def __call__(self) -> Any:
        import h5py

        return h5py.File(self.path, "r")[self.name]


def _load(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise InputError("data", f"{path} (damaged, or pickled objects)", "a complete file of numbers") from None


def _member(path: Path, archive: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    try:
        return archive[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise InputError("data", f"{path} ({name} is damaged, or pickled)", "plain arrays") from None


def _pick(path: Path, names: Mapping[str, Any]) -> tuple[str, str | None]:
    images = next((name for name in IMAGES if name in names), None)
    if images is None:
        raise InputError("data", f"{path} (holds {', '.join(list(names)[:6]) or 'nothing'})", f"{' | '.join(IMAGES)}")
    return images, next((name for name in LABELS if name in names), None)


def _labels(path: Path, labels: np.ndarray, count: int) -> np.ndarray:
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
        raise InputError("data", f"{path} (labels {labels.dtype} {labels.shape})", f"({count},) integers >= 0")
    return labels.astype(np.int64)


def _channels_first(path: Path, shape: tuple[int, ...]) -> bool:
    last, first = len(shape) == 4 and shape[3] in (1, 3), len(shape) == 4 and shape[1] in (1, 3)
    if len(shape) == 3 or last != first:
        return first
    raise InputError("data", f"{path} (images of shape {shape})", "(N, H, W), (N, H, W, C) or (N, C, H, W), C = 1 or 3")
