"""What a run hands out: finished samples, and progress on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gencore.run import Step

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline


@dataclass(frozen=True)
class Generated:
    """A finished batch.

    Args:
        tensor: (B, ...) data, as the tokenizer decodes it.
        samples: what users hold, one per sample; also under the modality's own alias (``out.images``).
        seeds: one per sample.
        recipe: how it was made.
        timing: ``seconds`` and network ``calls``.
        pipeline: that made it.
        caches: what each interceptor did, where it has something to tell: computed steps, bytes held, error.
    """

    tensor: Tensor
    samples: list[Any]
    seeds: tuple[int, ...]
    recipe: dict[str, Any]
    timing: dict[str, float]
    pipeline: Pipeline = field(repr=False)
    caches: tuple[dict[str, Any], ...] = ()

    def __getattr__(self, name: str) -> list[Any]:
        if not name.startswith("_") and name == self.pipeline.modality.alias:
            return self.samples
        raise AttributeError(f"no attribute '{name}'; samples are in .samples and .{self.pipeline.modality.alias}")

    def save(self, path: str | Path, *, force: bool = False, recipe: bool = True) -> list[Path]:
        """Write the samples with their recipe inside; returns the files written.

        Raises:
            InputError: the file exists and `force` is false, or its folder cannot be written.
        """
        return self.pipeline.modality.save(self, Path(path), force=force, recipe=recipe)


@dataclass(frozen=True)
class Progress:
    """One step of `Pipeline.stream`: its index (from 1), the total (0 if unknown), and `output` on the last one."""

    index: int
    total: int
    step: Step = field(repr=False)
    output: Generated | None = None
    _decode: Callable[[Tensor], list[Any]] | None = field(default=None, repr=False)

    @property
    def preview(self) -> list[Any]:
        """The clean estimates so far, as what users hold."""
        assert self._decode is not None
        return self._decode(self.step.preview)
