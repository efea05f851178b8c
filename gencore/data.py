"""What training and evaluation read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils.data import Dataset


class Data(Dataset[Mapping[str, Any]]):
    """Map-style items ``{"data": (...) tensor, **targets}``, where targets are what the conditioner reads.

    Attributes:
        classes: names of the labels 0, 1, ...; empty when the items have none.
    """

    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        raise NotImplementedError

    def describe(self) -> str:
        """One line for people: what was found and how much of it."""
        return f"{len(self)} items"

    def verify(self) -> dict[str, str]:
        """Read every item once, leave out the damaged ones, and return {name: cause} of those."""
        return {}
