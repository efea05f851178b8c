"""Breaking the toy in one way at a time, and taking it back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import toy_manifest
import toy_modality
import toy_sampler

from gencore.manifest import Manifest


class Bench:
    """The toy's modules, and where a mutation may write further ones."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        patch.syspath_prepend(str(folder))
        self.patch, self.folder = patch, folder
        self.manifest: Manifest = toy_manifest.manifest
        self.modality, self.sampler = toy_modality, toy_sampler

    def set(self, target: Any, **attributes: Any) -> None:
        for name, value in attributes.items():
            self.patch.setattr(target, name, value)

    def provide(self, kind: str, **names: str) -> None:
        provides = {**self.manifest.provides, kind: {**self.manifest.provides.get(kind, {}), **names}}
        self.manifest = replace(self.manifest, provides=provides)

    def module(self, name: str, source: str) -> ModuleType:
        (self.folder / f"{name}.py").write_text(source)
        self.patch.delitem(sys.modules, name, raising=False)
        return __import__(name)

    def preset(self, change: Callable[[Any], None]) -> None:
        """Let `change` act on what the preset returns."""
        make = self.modality.tiny

        def tiny(data: Any, **options: Any) -> Any:
            training = make(data, **options)
            change(training)
            return training

        tiny.__doc__ = make.__doc__
        self.set(self.modality, tiny=tiny)

    def walk(self, after: Callable[[Any, Any], torch.Tensor]) -> None:
        """Let `after(old state, new x)` act on every step of the toy's sampler."""
        step = self.sampler.Walk.step

        def broken(this: Any, state: Any, noise: Any) -> Any:
            new = yield from step(this, state, noise)
            return replace(new, x=after(state, new.x))

        self.set(self.sampler.Walk, step=broken)


Mutation = Callable[[Bench], None]
MUTATIONS: dict[str, tuple[str, str, Mutation]] = {}
"""``{fault: (check that must catch it, a part of what it says, how to break the toy)}``."""


def breaks(check: str, says: str) -> Callable[[Mutation], Mutation]:
    def note(mutation: Mutation) -> Mutation:
        MUTATIONS[mutation.__name__.replace("_", " ")] = check, says, mutation
        return mutation

    return note
