"""Words (B, 6) int64 over four letters, of two classes, in .npy files with the recipe beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from gencore.backbone import Backbone, Output
from gencore.categorical import TokenPrediction
from gencore.condition import Conditions, Port
from gencore.conditioners.label import Labels
from gencore.context import Context
from gencore.data import Data
from gencore.errors import InputError
from gencore.media.files import atomic_write, check_output
from gencore.modality import Modality
from gencore.nn.init import seeded
from gencore.noise import Noise, uniforms
from gencore.objectives.masked_diffusion import MaskedDiffusion
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.absorbing import Absorbing
from gencore.recipe import sidecar, write_sidecar
from gencore.spec import LatentSpec
from gencore.tokenizer import Facts, Latent, Tokenizer
from gencore.training.preset import Training

if TYPE_CHECKING:
    from gencore.generated import Generated

LENGTH, LETTERS, MASK = 6, "abcd", 4


class Letters(Tokenizer):
    """(B, N) token ids untouched.

    >>> Letters().spec((4,)).shape(2)
    (2, 4)
    """

    facts = Facts(fold=(1,), exact=True, exact_tiles=True)

    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        if size is not None and (len(size) != 1 or not 1 <= size[0] <= LENGTH):
            raise InputError("size", size, f"one number, 1..{LENGTH}")
        return LatentSpec("b n", (LENGTH if size is None else size[0],), kind="discrete", vocab=len(LETTERS) + 1)

    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        return Latent(data)

    def decode(self, latent: Latent) -> Tensor:
        return latent.value

    def mask(self, mask: Tensor) -> Tensor:
        return mask[:, 0]

    def config(self) -> dict[str, Any]:
        return {}


class Mixer(Backbone):
    """Logits (B, N, V) from tokens, their mean, places, and the label."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        vocab = len(LETTERS) + 1
        self.prediction, self.width = TokenPrediction(vocab, MASK), width
        self.ports = {"label": Port("modulation", 2, null=torch.tensor(2))}
        self.letters, self.places, self.label = (nn.Embedding(n, width) for n in (vocab, LENGTH, 3))
        self.hidden, self.out = nn.Linear(2 * width, width), nn.Linear(width, vocab)

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
        x = self.letters(x_t) + self.places(torch.arange(x_t.shape[1])) + self.label(cond["label"].value)[:, None]
        x = torch.cat([x, x.mean(1, keepdim=True).expand_as(x)], -1)
        return Output(self.out(gelu(self.hidden(x))))

    def config(self) -> dict[str, Any]:
        return {"width": self.width}


class Words(Data):
    """16 words whose letters rise or fall by class."""

    classes = ("rising", "falling")

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, Any]:
        picks = np.sort((uniforms(index, ("word",), LENGTH) * len(LETTERS)).astype(np.int64))
        return {"data": torch.from_numpy(picks if index % 2 == 0 else picks[::-1].copy()), "label": index % 2}


class Tokens(Modality):
    """Words as text."""

    name, alias, suffix = "tokens", "words_made", ".npy"
    words = ("initial",)

    def asked(self, words: Mapping[str, Any], options: Mapping[str, Any], pipe: Pipeline) -> dict[str, Any]:
        initial = words.get("initial")
        if initial is None:
            return {}
        if not isinstance(initial, str) or len(initial) != 1 or initial not in LETTERS:
            raise InputError("initial", repr(initial), ", ".join(LETTERS))
        known, mask = torch.zeros(1, LENGTH, dtype=torch.int64), torch.ones(1, 1, LENGTH, dtype=torch.bool)
        known[0, 0], mask[..., 0] = LETTERS.index(initial), False
        return {"known": known, "mask": mask}

    def samples(self, data: Tensor, pipe: Pipeline) -> list[str]:
        return ["".join((LETTERS + "_")[i] for i in row) for row in data.tolist()]

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
        if bool(((data < 0) | (data >= len(LETTERS))).any()):
            raise InputError(field, "a token that is no letter", f"0..{len(LETTERS) - 1}")
        return pipe.tokenizer.spec().check(data, field)

    def mask(self, source: Any, pipe: Pipeline) -> Tensor:
        area = source if isinstance(source, Tensor) else torch.from_numpy(np.load(source))
        if tuple(area.shape) != (1, 1, LENGTH):
            raise InputError("mask", tuple(area.shape), f"(1, 1, {LENGTH})")
        return area.bool()

    def dataset(self, source: Path | None, pipe: Pipeline | None = None, *, held_out: bool = False,
                **options: Any) -> Words:  # fmt: skip
        return Words()

    def evaluate(self, pipe: Pipeline, data: Data, *, n: int, seed: int = 0, train: Data | None = None,
                 progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:  # fmt: skip
        return {}

    def example(self, pipe: Pipeline, n: int = 1) -> dict[str, Any]:
        return {"label": [i % 2 for i in range(n)]}


def tiny(data: Words, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """A network of a few hundred weights."""
    with seeded(seed):
        net = Mixer()
    process = Absorbing(MASK)
    pipe = Pipeline(modality="tokens", tokenizer=Letters(), conditioner=Labels(2), backbone=net, process=process,
                    defaults=Defaults("ancestral", 4, "cfg:scale=2.0"))  # fmt: skip
    return Training(pipeline=pipe, objective=MaskedDiffusion(process), steps=steps or 10, batch=batch or 4, seed=seed)
