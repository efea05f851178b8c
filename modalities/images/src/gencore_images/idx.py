"""The IDX format of the MNIST family: a magic number, big-endian sizes, then the raw array.

Layout (LeCun, Cortes, Burges): bytes ``0 0 type rank``, then ``rank`` uint32 sizes, then the data in C order.
Type 0x08 is uint8.  Files may be plain or gzipped; both spellings ``train-images-idx3-ubyte`` and
``train-images.idx3-ubyte`` are common.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

from gencore.errors import InputError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
SPLITS = {"train": "train", "test": "t10k"}


def read_idx(path: str | Path) -> np.ndarray:
    """The array of one IDX file, plain or gzipped, in the file's own dtype and shape.

    Raises:
        InputError: the file is missing, is no IDX file, or is shorter than its header says.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except FileNotFoundError:
        raise InputError("data", path, "an existing IDX file") from None
    except (OSError, EOFError) as fault:
        raise InputError("data", path, "a readable IDX file", str(fault)) from None
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _TYPES:
        raise InputError("data", path, "an IDX file (bytes 0 0 type rank)")
    rank = raw[3]
    if len(raw) < 4 + 4 * rank:
        raise InputError("data", f"{path} (truncated header)", "a complete IDX file")
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    dtype = np.dtype(_TYPES[raw[2]])
    body = raw[4 + 4 * rank :]
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if len(body) != expected:
        raise InputError("data", f"{path} ({len(body)} bytes of data)", f"{expected} bytes, as its header says")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def find_split(folder: str | Path, split: str) -> tuple[Path, Path] | None:
    """The (images, labels) files of ``split`` ("train" or "test") in `folder`, or None when a file is absent."""
    found = []
    for part, rank in (("images", 3), ("labels", 1)):
        names = [f"{SPLITS[split]}-{part}{joint}idx{rank}-ubyte{end}" for joint in "-." for end in ("", ".gz")]
        match = next((Path(folder) / name for name in names if (Path(folder) / name).is_file()), None)
        if match is None:
            return None
        found.append(match)
    return found[0], found[1]


def read_split(folder: str | Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W) uint8 and labels (N,) int64 of one split of a folder in the MNIST layout.

    Raises:
        InputError: no such split here, a damaged file, or images and labels that do not match in number.
    """
    files = find_split(folder, split)
    if files is None:
        raise InputError("data", folder, f"a folder with {SPLITS[split]}-images-idx3-ubyte and its labels, or .gz")
    images, labels = read_idx(files[0]), read_idx(files[1])
    if images.ndim != 3 or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise InputError("data", f"{folder} (images {images.shape}, labels {labels.shape})", "(N, H, W) bytes and (N,)")
    return images, labels.astype(np.int64)
