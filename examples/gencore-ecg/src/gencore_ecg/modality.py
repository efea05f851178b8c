"""Electrocardiograms as a modality: what users hold, the files they open, the figures they read."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gencore.errors import InputError, unknown
from gencore.media.files import atomic_write, check_output
from gencore.modality import Difference, Modality
from gencore.recipe import embed_png, sidecar, write_sidecar
from gencore_ecg.data import LENGTH, Windows, open_data

if TYPE_CHECKING:
    from gencore.data import Data
    from gencore.generated import Generated
    from gencore.pipeline import Pipeline


class Ecg(Modality):
    """One lead of an electrocardiogram in mV, 128 samples a second."""

    name, alias, suffix = "ecg", "strips", ".csv"

    def samples(self, data: Tensor, pipe: Pipeline) -> list[np.ndarray]:
        """(N,) float32 arrays in mV."""
        return list(data[:, 0].numpy())

    def check_output(self, path: Path, seeds: Sequence[int], *, force: bool = False) -> None:
        """A .csv table, whose recipe lies beside it, or a .png picture."""
        if path.suffix.lower() not in (".csv", ".png"):
            raise InputError("output", path, "a .csv table or a .png picture")
        check_output(path, force)
        if path.suffix.lower() == ".csv":
            check_output(sidecar(path), force)

    def save(self, out: Generated, path: Path, *, force: bool = False, recipe: bool = True) -> list[Path]:
        """.csv: one row a point in time, one column a sample, in mV.  .png: the strips on paper, recipe inside."""
        self.check_output(path, out.seeds, force=force)
        if path.suffix.lower() == ".png":
            png = _png(out)
            with atomic_write(path, "wb", force) as file:
                file.write(embed_png(png, out.recipe) if recipe else png)
            return [path]
        names = ",".join(f"seed {seed} (mV)" for seed in out.seeds)
        with atomic_write(path, "w", force) as file:
            np.savetxt(file, out.tensor[:, 0].numpy().T, fmt="%.9g", delimiter=",", header=names)
            if recipe:
                write_sidecar(path, out.recipe, force)
            else:
                sidecar(path).unlink(missing_ok=True)
        return [path]

    def load(self, path: Path, pipe: Pipeline) -> Tensor:
        return _columns(path, "file")[:, None]

    def difference(self, out: Generated, path: Path, recipe: dict[str, Any]) -> Difference:
        """Of a table number by number; of a picture as a whole, pixel by pixel."""
        if path.suffix.lower() == ".png":
            from PIL import Image

            kept, made = np.asarray(Image.open(path)), np.asarray(Image.open(io.BytesIO(_png(out))))
            return Difference(len(out.samples) if np.array_equal(kept, made) else 0, len(out.samples))
        kept, made = self.load(path, out.pipeline), out.tensor
        if kept.shape != made.shape:
            return Difference(0, len(made), f"of shape, {tuple(kept.shape)} and {tuple(made.shape)}")
        gaps = (kept - made).abs().amax((1, 2))
        return Difference(int((gaps == 0).sum()), len(made), f"{gaps.max():.2g} mV" if gaps.any() else "")

    def known(self, source: Any, pipe: Pipeline, field: str = "known") -> Tensor:
        """(1, 1, N) mV from a path, tensor or array; of a table the first column."""
        data = _columns(source, field)[:1] if isinstance(source, str | Path) else torch.as_tensor(source).float()
        length = pipe.tokenizer.spec().size("n")
        if data.numel() != length:
            raise InputError(field, f"{data.numel()} samples", f"{length}, as many as this model makes")
        return data.reshape(1, 1, length)

    def mask(self, source: Any, pipe: Pipeline) -> Tensor:
        """(1, 1, N) bool, True = generate."""
        return self.known(source, pipe, "mask") > 0.5

    def dataset(self, source: Path | None, pipe: Pipeline | None = None, *, held_out: bool = False,
                **options: Any) -> Windows:  # fmt: skip
        """Windows around beats, see `open_data`; it takes no options."""
        if options:
            raise unknown("option", next(iter(options)), ())
        if pipe is not None and (length := pipe.tokenizer.spec().size("n")) != LENGTH:
            raise InputError("model", f"windows of {length} samples", f"{LENGTH}")
        return open_data(source, held_out)

    def evaluate(self, pipe: Pipeline, data: Data, *, n: int, seed: int = 0, train: Data | None = None,
                 progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:  # fmt: skip
        """See `gencore_ecg.metrics.evaluate`."""
        from gencore_ecg.metrics import evaluate

        if not isinstance(data, Windows) or not isinstance(train, Windows | None):
            raise InputError("data", type(data).__name__, "what Ecg.dataset gives")
        return evaluate(pipe, data, n=n, seed=seed, train=train, progress=progress)

    def example(self, pipe: Pipeline, n: int = 1) -> dict[str, Any]:
        return {"label": [i % 2 for i in range(n)]}

    def showcase(self, pipe: Pipeline, seed: int) -> Generated:
        return pipe.generate(**self.example(pipe, 12), seed=seed)

    def html(self, path: Path) -> str:
        """The strips as lines."""
        strips = _columns(path, "file").tolist()
        paths = [" ".join(f"{x},{60 * i + 40 - 20 * y:.1f}" for x, y in enumerate(s)) for i, s in enumerate(strips)]
        lines = "".join(f'<polyline fill="none" stroke="#222" points="{points}"/>' for points in paths)
        return f'<svg viewBox="0 0 {LENGTH} {60 * lines.count("<")}" width="640">{lines}</svg>'


def _png(out: Generated) -> bytes:
    from gencore_ecg.paper import draw

    buffer = io.BytesIO()
    draw(out.samples).save(buffer, "PNG")
    return buffer.getvalue()


def _columns(path: str | Path, field: str) -> Tensor:
    """(columns, rows) float32 of a table of numbers; a first line that starts with # is skipped."""
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.float32, ndmin=2)
    except (OSError, ValueError) as fault:
        raise InputError(field, f"{path} ({fault})", "a .csv table of numbers") from None
    return torch.from_numpy(table.T.copy())
