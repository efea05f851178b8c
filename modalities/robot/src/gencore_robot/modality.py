"""Robot policies as a modality: an observation in, a chunk of actions out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.media.files import check_output
from gencore.modality import Modality
from gencore_robot import io
from gencore_robot.codec import ActionCodec
from gencore_robot.given import filled, prefixed

if TYPE_CHECKING:
    from gencore.data import Data
    from gencore.generated import Generated
    from gencore.pipeline import Pipeline


class Robot(Modality):
    """Chunks of actions (B, horizon, A) in the robot's units, held as (horizon, A) float32 arrays.

    A file holds all samples; beside it lies a plot of the first, where matplotlib is installed.
    """

    name, alias, suffix = "robot", "chunks", ".npz"
    words = ("prefix",)
    enough = 256

    def opened(self, words: Mapping[str, Any]) -> Mapping[str, Any]:
        read = {"observation": io.read_observation, "prefix": partial(io.read, field="prefix")}
        return {word: read[word](Path(value)) if word in read and isinstance(value, str | Path) else value
                for word, value in words.items()}  # fmt: skip

    def asked(self, words: Mapping[str, Any], options: Mapping[str, Any], pipe: Pipeline) -> dict[str, Any]:
        given = {"known", "mask"} & options.keys()
        if words.get("prefix") is not None:
            if given:
                raise InputError("prefix", f"with {', '.join(sorted(given))}", "one way to give actions")
            known, mask = prefixed(_actions(words["prefix"], "prefix"), _horizon(pipe), _width(pipe))
        elif given == {"known", "mask"}:
            known, mask = self.known(options["known"], pipe), self.mask(options["mask"], pipe)
        else:
            return {}
        # A codec refuses actions outside the robot's limits, and rows to be made hold anything.
        return {"known": filled(known, mask), "mask": mask}

    def samples(self, data: Tensor, pipe: Pipeline) -> list[np.ndarray]:
        return list(data.numpy())

    def check_output(self, path: Path, seeds: Sequence[int], *, force: bool = False) -> None:
        io.check(path, force)
        if _plots():
            check_output(_plot(path), force)

    def save(self, out: Generated, path: Path, *, force: bool = False, recipe: bool = True) -> list[Path]:
        """A .npz, .csv or .json with its recipe beside it."""
        self.check_output(path, out.seeds, force=force)
        names, hz = entries(out.pipeline)
        io.write(path, out.samples, names, hz, out.recipe if recipe else None, force)
        if not _plots():
            return [path]
        from gencore_robot.plot import write_plot

        title = f"actions of seed {out.seeds[0]}"
        return [path, write_plot(_plot(path), {"action": out.samples[0]}, names=names, hz=hz, title=title, force=force)]

    def load(self, path: Path, pipe: Pipeline) -> Tensor:
        return torch.from_numpy(io.read(path))

    def known(self, source: Any, pipe: Pipeline, field: str = "known") -> Tensor:
        """(1 or B, horizon, A) actions of a file, an array, or lists."""
        data = _actions(source, field)
        if tuple(data.shape[1:]) != (_horizon(pipe), _width(pipe)):
            raise InputError(field, f"shape {tuple(data.shape)}", f"(B, {_horizon(pipe)}, {_width(pipe)})")
        return data

    def mask(self, source: Any, pipe: Pipeline) -> Tensor:
        """(1, 1, horizon) bool, of a tensor, or of a text file of 0 (kept) and 1 (made), one an action."""
        if isinstance(source, Tensor):
            area = source if source.dtype == torch.bool else source > 0.5
            area = area.reshape(-1, 1, area.shape[-1])
        else:
            try:
                text = "".join(Path(source).read_text("utf-8").split())
            except (OSError, ValueError, TypeError) as fault:
                raise InputError("mask", source, "a readable file of 0 and 1", str(fault).splitlines()[0]) from fault
            if not text or set(text) - {"0", "1"}:
                raise InputError("mask", repr(text[:20]), "0 (kept) and 1 (made), one an action")
            area = torch.tensor([[[digit == "1" for digit in text]]])
        if area.shape[-1] != _horizon(pipe):
            raise InputError("mask", f"{area.shape[-1]} actions", f"{_horizon(pipe)}, the horizon")
        return area

    def dataset(self, source: Path | None, pipe: Pipeline | None = None, *, held_out: bool = False,
                **options: Any) -> Data:  # fmt: skip
        """Whole episodes for a preset to look at, or with `pipe` their chunks (see `open_episodes`).

        Without a source, demonstrations of the two-way reach are made.
        """
        from gencore_robot.data import open_episodes
        from gencore_robot.demonstrations import reach_episodes

        found = reach_episodes(held_out=held_out) if source is None else open_episodes(source, held_out=held_out)
        if pipe is None:
            return found
        from gencore_robot.readers.chunks import chunks_of

        return chunks_of(found, pipe, **options)

    def evaluate(self, pipe: Pipeline, data: Data, *, n: int, seed: int = 0, train: Data | None = None,
                 progress: Callable[[int, int], None] | None = None, **options: Any) -> dict[str, Any]:  # fmt: skip
        """Errors of predicted actions against the demonstrated ones; see `gencore_robot.evaluation`."""
        from gencore_robot.evaluation import evaluate

        return evaluate(pipe, data, n=n, seed=seed, progress=progress)

    def example(self, pipe: Pipeline, n: int = 1) -> dict[str, Any]:
        return {"n": n, **pipe.conditioner.example(n)}  # type: ignore[attr-defined]

    def html(self, path: Path) -> str:
        return f'<img src="{_plot(path).name}" alt="actions over time">'


def entries(pipe: Pipeline) -> tuple[list[str], float | None]:
    """Names of the entries of an action, and actions a second, where the model belongs to one robot."""
    if isinstance(pipe.tokenizer, ActionCodec):
        return pipe.tokenizer.action.names, float(pipe.tokenizer.embodiment.control_hz)
    from gencore_robot.slots import TABLE

    return [slot.names[0] if slot.names else f"reserved {slot.index}" for slot in TABLE], None


def _actions(source: Any, field: str) -> Tensor:
    """(B, H, A) float32, finite."""
    if isinstance(source, str | Path):
        data = torch.from_numpy(io.read(Path(source), field))
    else:
        try:
            data = torch.as_tensor(source).to(torch.float32)
        except (TypeError, ValueError, RuntimeError) as fault:
            raise InputError(field, type(source).__name__, "actions, or a file of them", str(fault)) from fault
    data = data[None] if data.ndim == 2 else data
    if data.ndim != 3 or not data.numel():
        raise InputError(field, f"shape {tuple(data.shape)}", "(B, H, A)")
    if not bool(torch.isfinite(data).all()):
        raise InputError(field, "a value that is not finite", "finite actions")
    return data


def _horizon(pipe: Pipeline) -> int:
    return pipe.tokenizer.spec().sizes[0]


def _width(pipe: Pipeline) -> int:
    return pipe.tokenizer.action.width if isinstance(pipe.tokenizer, ActionCodec) else pipe.tokenizer.spec().sizes[1]


def _plot(path: Path) -> Path:
    return path.with_suffix(".png")


def _plots() -> bool:
    return find_spec("matplotlib") is not None
