"""What a modality plug-in adds to the parts: its data, its files, its defaults."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from gencore.pipeline import Generated, Pipeline


class Modality(ABC):
    """One kind of data.

    Attributes:
        name: the manifest's modality name.
        alias: what `Generated` calls its samples (``out.images``).
        suffix: of the file `save` writes when no name is given.
    """

    name: str
    alias: str
    suffix: str

    @abstractmethod
    def samples(self, data: Tensor, pipe: Pipeline) -> list[Any]:
        """(B, ...) data as what users hold: pictures, arrays, strings."""

    @abstractmethod
    def save(self, out: Generated, path: Path, *, force: bool = False, recipe: bool = True) -> list[Path]:
        """Write `out` to `path` with its recipe inside (or beside it), atomically; returns the files.

        Raises:
            InputError: the file exists and `force` is false, or its folder cannot be written.
        """

    @abstractmethod
    def load(self, path: Path, pipe: Pipeline) -> Tensor:
        """(B, ...) data of a file that `save` wrote, or of any file users call known."""

    @abstractmethod
    def known(self, source: Any, pipe: Pipeline, field: str = "known") -> Tensor:
        """(1, ...) data from a path, tensor or what users hold, of the pipeline's size.

        Raises:
            InputError: unreadable, or of another size.
        """

    @abstractmethod
    def mask(self, source: Any, pipe: Pipeline) -> Tensor:
        """(1, 1, ...) bool over the data grid, True = generate.

        Raises:
            InputError: unreadable, or of another size.
        """

    @abstractmethod
    def dataset(self, source: Path, pipe: Pipeline, **options: Any) -> Dataset[Mapping[str, Any]]:
        """A map-style dataset of ``{"data": (...), **targets}`` for training and evaluation."""

    @abstractmethod
    def evaluate(self, pipe: Pipeline, data: Dataset[Mapping[str, Any]], *, n: int, seed: int = 0,
                 progress: Callable[[int, int], None] | None = None, **options: Any) -> dict[str, Any]:  # fmt: skip
        """Figures of the model against held-out data, JSON-able; each named after its feature extractor."""

    def example(self, pipe: Pipeline) -> dict[str, Any]:
        """Words that suit the packaged default, for demos and conformance."""
        return {}

    def preview(self, outs: Sequence[Generated], path: Path) -> None:
        """A picture of several results for the gallery; by default the first one's own file."""
        self.save(outs[0], path, force=True)
