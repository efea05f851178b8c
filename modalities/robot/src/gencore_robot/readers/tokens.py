"""Tokens of frozen encoders beside the numbers of an episode, so that training needs no encoder.

``tokens/<name>`` of its HDF5 file is (N, dims) for the whole episode, such as its instruction, or (T, N, dims), one
set a step, such as its pictures.  ``tokens/<name>_null`` is (n, dims), what the encoder makes of an empty sentence or
of a picture in its mean colour, for training in which instructions and views are missing now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gencore.errors import InputError
from gencore_robot.conditioning.precomputed import Precomputed
from gencore_robot.readers.hdf5 import dataset, opened

if TYPE_CHECKING:
    from gencore_robot.readers.episode import Episode


def require_tokens(episodes: Sequence[Episode], read: Sequence[Precomputed]) -> None:
    """Refuse episodes without the tokens that a model reads.

    Raises:
        InputError: which episode, and which tokens.
    """
    wanted = {part.name: f"(N, {part.dims}) or (T, N, {part.dims}) numbers there" for part in read}
    wanted |= {f"{part.name}_null": f"(n, {part.dims}) numbers there, of nothing to see or read"
               for part in read if part.absent is not None}  # fmt: skip
    for episode in episodes if read else ():
        there: list[str] = []
        if Path(episode.name).is_file():
            with opened(Path(episode.name)) as file:
                there = [name for name in wanted if f"tokens/{name}" in file]
        for name, accepted in wanted.items():
            if name not in there:
                raise InputError("data", f"{episode.name} without tokens/{name}", accepted,
                                 "encode them once, before training")  # fmt: skip


def tokens(episode: Episode, step: int, part: Precomputed) -> dict[str, Any]:
    """The targets of `part` at a step: (length, dims) float32, which of them count, (length,) bool, and where it wants
    one, its null.

    Raises:
        InputError: too many tokens, of another width, or a step the tokens do not reach.
    """
    with opened(Path(episode.name)) as file:
        data = dataset(file, f"tokens/{part.name}", Path(episode.name))
        by_step = data.ndim == 3
        if by_step and step >= len(data):
            raise InputError(f"{episode.name}: tokens/{part.name}", f"{len(data)} steps", f"{episode.length}")
        found = np.asarray(data[step] if by_step else data[()], np.float32)
        null = None
        if part.absent is not None:
            null = np.asarray(dataset(file, f"tokens/{part.name}_null", Path(episode.name))[()], np.float32)
    if found.ndim != 2 or found.shape[1] != part.dims or len(found) > part.length:
        raise InputError(f"{episode.name}: tokens/{part.name}", f"shape {found.shape}",
                         f"at most {part.length} of {part.dims} numbers")  # fmt: skip
    value = np.zeros((part.length, part.dims), np.float32)
    value[: len(found)] = found
    seen = torch.arange(part.length) < len(found)
    item = {part.name: torch.from_numpy(value), f"{part.name}_mask": seen}
    return item if null is None else {**item, f"{part.name}_null": torch.from_numpy(null)}
