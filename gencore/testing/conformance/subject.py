"""What is checked: one plug-in's modality, with a model, words, data and samplers to try it on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from gencore import components, plugins
from gencore.data import Data
from gencore.errors import InputError
from gencore.generated import Generated, Progress
from gencore.installed import CORE, Plugin
from gencore.loading import load
from gencore.manifest import Manifest
from gencore.modality import Modality
from gencore.models import WEIGHTS, packaged_default
from gencore.nn.init import seeded
from gencore.pipeline import Pipeline
from gencore.sampler import Sampler
from gencore.testing.failures import Skipped
from gencore.training.finetune import fine_tuning
from gencore.training.preset import Training

SEED, STEPS, PRESET = 11, 3, "tiny"
"""Runs are short: what is checked does not depend on how good the samples are."""


class Items(Data):
    """A list of items as a dataset."""

    def __init__(self, items: list[dict[str, Any]], classes: tuple[str, ...] = ()) -> None:
        self.items, self.classes = items, classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


class Subject:
    """A modality under test.

    Args:
        name: of the modality.
        folder: scratch space.
        model: a folder or hub id; None takes the packaged default, or else the plug-in's preset "tiny" untrained,
            with random weights in place of zeros.

    Raises:
        InputError: no such modality.
    """

    def __init__(self, name: str, folder: Path, model: str | Path | None = None) -> None:
        offers = plugins.provided("modality")
        if name not in offers:
            plugins.resolve("modality", name)
        self.name, self.folder, self.model = name, folder, model
        self.plugin: Plugin = offers[name]
        assert self.plugin.manifest is not None
        self.manifest: Manifest = self.plugin.manifest

    @cached_property
    def modality(self) -> Modality:
        return plugins.resolve("modality", self.name)()

    @cached_property
    def _prepared(self) -> tuple[Pipeline, Training | None]:
        if self.model is not None or (self.manifest.default and (packaged_default(self.name) / WEIGHTS).exists()):
            return load(self.name, self.model, device="cpu"), None
        if PRESET not in plugins.plugin_names(self.plugin, "preset"):
            raise InputError("model", "nothing", "--model FOLDER, a packaged default, or a preset called 'tiny'")
        make = plugins.resolve("preset", f"{self.plugin.name}/{PRESET}")
        training: Training = make(self.modality.dataset(None), seed=0)
        awaken(training.pipeline.backbone)
        return training.pipeline, training

    @property
    def pipe(self) -> Pipeline:
        """The pipeline under test; a check that changes it takes a copy."""
        return self._prepared[0]

    def training(self) -> Training:
        """A short run from the pipeline's weights, all of it a copy of its own."""
        pipe, training = self._prepared
        training = copy.deepcopy(fine_tuning(pipe) if training is None else training)
        # Previews of a run are made in one step: nothing is checked on them.
        training.pipeline.defaults = replace(pipe.defaults, steps=1)
        return replace(training, steps=2, batch=4, warmup=0, decay="constant", precision="32")

    @property
    def takes_known(self) -> bool:
        """Whether the manifest offers given data."""
        return {"known", "mask"} <= {option.name for option in self.manifest.options}

    def words(self, n: int = 2) -> dict[str, Any]:
        """Words for `n` samples."""
        return {**self.modality.example(self.pipe, n), "n": n}

    def generate(self, n: int = 2, **options: Any) -> Generated:
        """`n` samples in a few steps."""
        return self.pipe.generate(**{**self.words(n), "seed": SEED, "steps": STEPS, **options})

    def stream(self, n: int = 2, **options: Any) -> Iterator[Progress]:
        """`generate` step by step."""
        return self.pipe.stream(**{**self.words(n), "seed": SEED, "steps": STEPS, **options})

    @cached_property
    def items(self) -> Items:
        """A few items as training reads them: the modality's own, or else made by the model with its words as targets.

        Raises:
            Skipped: the conditioner reads targets that cannot be told from its conditions.
        """
        try:
            data = self.modality.dataset(None, self.pipe)
            return Items([dict(data[i]) for i in range(min(8, len(data)))], data.classes)
        except InputError:
            pass
        out = self.generate(8)
        _, conditions = self.pipe.conditioner(self.modality.example(self.pipe, 8), 8)
        items = [
            {"data": out.tensor[i], **{name: c.value[i] for name, c in conditions.items()}} for i in range(8)
        ]  # fmt: skip
        try:
            self.pipe.conditioner.targets(default_collate(items))
        except KeyError as fault:
            raise Skipped(f"dataset(None) gives no data, and target {fault} cannot be made up") from fault
        return Items(items)

    def batch(self, n: int = 4) -> dict[str, Tensor]:
        """The first `n` items, collated."""
        return default_collate([self.items[i] for i in range(n)])

    def data(self, n: int = 1) -> Tensor:
        """(n, ...) data."""
        return self.batch(n)["data"]

    def grid(self) -> tuple[int, ...]:
        """The data grid of the default size, by the spec and the tokenizer's fold: what sizes and masks are told in."""
        spec, fold = self.pipe.tokenizer.spec(), self.pipe.tokenizer.facts.fold
        cells = [n for axis, n in zip(spec.names[1:], spec.sizes, strict=True) if axis != "c"]
        return tuple(n * f for n, f in zip(cells, fold or [1] * len(cells), strict=True))

    def mask(self, free: bool = True) -> Tensor:
        """A data mask (1, 1, *grid), True = generate, all of it `free` or not."""
        return torch.full((1, 1, *self.grid()), free)

    def half(self) -> Tensor:
        """A data mask whose first half along the last axis is given."""
        mask = self.mask()
        mask[..., : max(1, mask.shape[-1] // 2)] = False
        return mask

    def samplers(self, own: bool = False) -> dict[str, Sampler]:
        """The samplers the modality offers for its kind of latents, by name: its plug-in's, and the core's unless
        `own`."""
        wanted = {self.plugin.name} if own else {self.plugin.name, CORE}
        names = [name for name, plugin in plugins.provided("sampler").items() if plugin.name in wanted]
        built = {name: components.build("sampler", {"type": name}) for name in names}
        return {name: sampler for name, sampler in built.items() if own or sampler.kind == self.pipe.process.kind}

    def tried_samplers(self) -> dict[str, Sampler | None]:
        """The pipeline's default (None) and the plug-in's own: for what the core's samplers are known to keep."""
        return {"the default sampler": None, **{f"sampler '{n}'": s for n, s in self.samplers(own=True).items()}}


def awaken(net: torch.nn.Module) -> None:
    """Random values in place of weights that start as zeros: nothing must pass because the network predicts 0."""
    with seeded(0), torch.no_grad():
        for tensor in net.parameters():
            if not bool(tensor.any()):
                torch.nn.init.normal_(tensor, std=0.1)


@contextmanager
def inputs(net: torch.nn.Module) -> Iterator[list[Tensor]]:
    """Collects the states `net` is shown, (B, ...) a call."""
    seen: list[Tensor] = []
    handle = net.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    try:
        yield seen
    finally:
        handle.remove()
