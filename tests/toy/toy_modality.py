"""Signals (B, 1, 8) in [-1, 1] of two classes, in .npy files with the recipe beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.conditioners.label import Labels
from gencore.data import Data
from gencore.denoised import Prediction
from gencore.errors import InputError
from gencore.media.files import atomic_write, check_output
from gencore.modality import Modality
from gencore.nn.init import seeded
from gencore.noise import Noise, normals
from gencore.objectives.flow import FlowMatching
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.flows import LinearFlow
from gencore.recipe import sidecar, write_sidecar
from gencore.spec import LatentSpec
from gencore.tokenizer import Facts, Latent, Tokenizer
from gencore.training.preset import Training

if TYPE_CHECKING:
    from gencore.generated import Generated

LENGTH = 8


class Codec(Tokenizer):
    """(B, 1, N) untouched.

    >>> Codec().spec((4,)).shape(2)
    (2, 1, 4)
    """

    facts = Facts(multiple=2, fold=(1,), exact=True, exact_tiles=True)

    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        if size is not None and (len(size) != 1 or size[0] < 2 or size[0] % 2):
            raise InputError("size", size, "one even number")
        return LatentSpec("b c n", (1, LENGTH if size is None else size[0]), time_axes=("n",))

    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        return Latent(data)

    def decode(self, latent: Latent) -> Tensor:
        return latent.value

    def config(self) -> dict[str, Any]:
        return {}


class Signals(Data):
    """16 signals: noise around +-0.5 by class."""

    classes = ("low", "high")

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, Any]:
        noise = normals(index, ("signal",), LENGTH).astype(np.float32)
        return {"data": torch.from_numpy(0.2 * noise + (index % 2) - 0.5)[None].float(), "label": index % 2}


class Toy(Modality):
    """Signals as arrays."""

    name, alias, suffix = "toy", "signals", ".npy"

    def samples(self, data: Tensor, pipe: Pipeline) -> list[np.ndarray]:
        return list(data.numpy())

    def check_output(self, path: Path, seeds: Sequence[int], *, force: bool = False) -> None:
        super().check_output(path, seeds, force=force)
        check_output(sidecar(path), force)

    def save(self, out: Generated, path: Path, *, force: bool = False, recipe: bool = True) -> list[Path]:
        self.check_output(path, out.seeds, force=force)
        with atomic_write(path, "wb", force) as file:
            np.save(file, out.tensor.numpy(), allow_pickle=False)
            if recipe:
                write_sidecar(path, out.recipe, force)
        return [path]

    def load(self, path: Path, pipe: Pipeline) -> Tensor:
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False))
        except (OSError, ValueError) as fault:
            raise InputError("file", f"{path} ({fault})", "an .npy file") from fault

    def known(self, source: Any, pipe: Pipeline, field: str = "known") -> Tensor:
        try:
            data = source if isinstance(source, Tensor) else self.load(Path(source), pipe)
        except InputError as fault:
            raise InputError(field, fault.given, fault.accepted) from fault
        return pipe.tokenizer.spec().check(data, field)

    def mask(self, source: Any, pipe: Pipeline) -> Tensor:
        area = source if isinstance(source, Tensor) else torch.from_numpy(np.load(source))
        if tuple(area.shape) != (1, 1, LENGTH):
            raise InputError("mask", tuple(area.shape), f"(1, 1, {LENGTH})")
        return area > 0.5 if area.dtype != torch.bool else area

    def dataset(self, source: Path | None, pipe: Pipeline | None = None, *, held_out: bool = False,
                **options: Any) -> Signals:  # fmt: skip
        return Signals()

    def evaluate(self, pipe: Pipeline, data: Data, *, n: int, seed: int = 0, train: Data | None = None,
                 progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:  # fmt: skip
        return {}

    def example(self, pipe: Pipeline, n: int = 1) -> dict[str, Any]:
        return {"label": [i % 2 for i in range(n)]}


def tiny(data: Signals, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """One block of width 16."""
    ports = {"label": {"kind": "label", "classes": 2, "null": True}}
    with seeded(seed):
        net = DiT(1, (2,), width=16, depth=1, heads=2, ports=ports, prediction=Prediction("velocity"))
    process = LinearFlow()
    pipe = Pipeline(modality="toy", tokenizer=Codec(), conditioner=Labels(2), backbone=net, process=process,
                    defaults=Defaults("dpmpp", 4, "cfg:scale=2.0"))  # fmt: skip
    return Training(pipeline=pipe, objective=FlowMatching(process), steps=steps or 10, batch=batch or 4, seed=seed)
