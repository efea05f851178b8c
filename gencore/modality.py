"""What a modality plug-in adds to the parts: its data, its files, its defaults."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from torch import Tensor

from gencore.errors import InputError
from gencore.media.files import check_output

if TYPE_CHECKING:
    from gencore.data import Data
    from gencore.generated import Generated, Progress
    from gencore.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Difference:
    """How a result compares with a file.

    Args:
        equal, total: samples that are bit-equal in the file's own precision, of how many.
        largest: the largest difference in words ("2 of 255"), empty when all are equal or it cannot be told.
    """

    equal: int
    total: int
    largest: str = ""


class View(Protocol):
    """Called with every step of a run, and closed at its end."""

    def __call__(self, progress: Progress) -> None: ...

    def close(self) -> None: ...


class Modality(ABC):
    """One kind of data.

    Attributes:
        name: the manifest's modality name.
        alias: what `Generated` calls its samples (``out.images``).
        suffix: of the file `save` writes when no name is given.
        words: what `asked` reads, besides the words of a pipeline's conditioner.
        metrics: groups of figures that `evaluate` takes as ``metric``, each with its `n` when no number is said; empty
            where it always gives all.
        enough: that `n` where no group is named.
    """

    name: str
    alias: str
    suffix: str
    words: tuple[str, ...] = ()
    metrics: Mapping[str, int] = {}
    enough: int = 1000

    def opened(self, words: Mapping[str, Any]) -> Mapping[str, Any]:
        """`words` with files among them read, so that the recipe holds what was said and needs no file.

        Raises:
            InputError: a file that cannot be read; the word is named.
        """
        return words

    def asked(self, words: Mapping[str, Any], options: Mapping[str, Any], pipe: Pipeline) -> Mapping[str, Any]:
        """What the modality's own `words` stand for (``task="predict"``, ``prompt="In the"``), in the core's terms.

        Args:
            words: those of `words` that were said.
            options: those options of `Pipeline.stream` that were said, for instance a known file.

        Returns:
            Options of `Pipeline.stream`, which replace those of the same name.

        Raises:
            InputError: words out of range, or at odds with `options`.
        """
        return {}

    @abstractmethod
    def samples(self, data: Tensor, pipe: Pipeline) -> list[Any]:
        """(B, ...) data as what users hold: pictures, arrays, strings."""

    @abstractmethod
    def save(self, out: Generated, path: Path, *, force: bool = False, recipe: bool = True) -> list[Path]:
        """Write `out` to `path` with its recipe inside (or beside it), atomically; returns the files.

        Raises:
            InputError: the file exists and `force` is false, or its folder cannot be written.
        """

    def check_output(self, path: Path, seeds: Sequence[int], *, force: bool = False) -> None:
        """Refuse, before any work, a `path` that `save` would refuse for samples of these seeds.

        Raises:
            InputError: another suffix, an existing file without `force`, or a folder that cannot be written.
        """
        if path.suffix.lower() != self.suffix:
            raise InputError("output", path, f"a {self.suffix} file")
        check_output(path, force)

    def difference(self, out: Generated, path: Path, recipe: dict[str, Any]) -> Difference:
        """Compare `out` with the file at `path` that was saved with `recipe`, sample by sample.

        `out` is saved again, elsewhere, so that both sides are read back with the precision of the file.
        """
        with TemporaryDirectory() as folder:
            (again, *_) = self.save(out, Path(folder) / path.name)
            made = self.load(again, out.pipeline)
        kept = self.load(path, out.pipeline)
        if kept.shape != made.shape:
            return Difference(0, len(made), f"of shape, {tuple(kept.shape)} and {tuple(made.shape)}")
        gaps = (kept.double() - made.double()).abs().flatten(1).amax(1)
        return Difference(int((gaps == 0).sum()), len(made), f"{gaps.max():.2g}" if gaps.any() else "")

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
    def dataset(self, source: Path | None, pipe: Pipeline | None = None, *, held_out: bool = False,
                **options: Any) -> Data:  # fmt: skip
        """Items for training and evaluation.

        Args:
            source: where they lie; None for data the modality makes itself, if it has any.
            pipe: brings every item to this pipeline's size; None leaves items as they are, for a preset to look at.
            held_out: where `source` keeps items apart for testing, take those.
            options: of the modality, for instance a preset's `Training.data`.

        Raises:
            InputError: nothing there, or nothing understood.
        """

    @abstractmethod
    def evaluate(self, pipe: Pipeline, data: Data, *, n: int, seed: int = 0, train: Data | None = None,
                 progress: Callable[[int, int], None] | None = None, **options: Any) -> dict[str, Any]:  # fmt: skip
        """Figures of the model against held-out data, JSON-able; each named after its feature extractor.

        Args:
            data: held out from training.
            n: number of samples to make.
            train: what the model was trained on, for baselines and to find copies; None goes without.
            progress: called with samples made and `n`.
            options: ``metric``, one of `metrics`, where there are any.
        """

    def example(self, pipe: Pipeline, n: int = 1) -> dict[str, Any]:
        """Words for `n` samples as different as the words allow, for previews, demos and conformance."""
        return {"n": n}

    def ready(self, pipe: Pipeline) -> None:
        """Refuse, before any work, a pipeline that cannot make what users hold.

        Raises:
            InputError: it lacks a part; the text says how to get it.
        """
        return None

    def view(self, pipe: Pipeline, stream: TextIO) -> View | None:
        """What shows a run in progress on `stream`, or None where only its steps are counted."""
        return None

    def showcase(self, pipe: Pipeline, seed: int) -> Generated:
        """What the gallery shows of a model."""
        return pipe.generate(**self.example(pipe), seed=seed)

    def html(self, path: Path) -> str:
        """The element that shows a saved file on a page beside it."""
        return f'<a href="{path.name}">{path.name}</a>'
