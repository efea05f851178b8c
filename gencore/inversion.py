"""Inversion: from data to the noise a deterministic sampler would have made it from, and back.

The walk runs in float64 whatever the network's dtype, so that an exactly invertible sampler (`gencore.samplers.bdia`)
loses nothing to its own additions.

An x0 prediction tells no noise where there is none: (x - alpha x0) / sigma divides the network's error by 0.  There the
data stands for the state at the first time above 0, which its first step leaves as it is, and no solver goes below it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gencore import components
from gencore.errors import CheckpointError, InputError
from gencore.noise import Noise
from gencore.sampler import Sampler, State, Steps
from gencore.schedules import default_times
from gencore.weights.files import read_tensors, write_tensors

if TYPE_CHECKING:
    from gencore.process import Process

_KEY = "gencore-inversion"


@dataclass(frozen=True)
class Inverted:
    """Where sampling starts to come back to the data: ``pipe.generate(start=inverted)``.

    Args:
        x: (B, ...) float64 latent near noise.
        i: index of the first step to take.
        times: (n + 1,) falling times of the whole run.
        memory: further latents the sampler needs, each like `x`.
        sampler: that made it, and that understands `memory`.
        recipe: how it was made.
    """

    x: Tensor
    i: int
    times: Tensor
    memory: tuple[Tensor, ...]
    sampler: Sampler
    recipe: dict[str, Any]

    @property
    def count(self) -> int:
        """B."""
        return len(self.x)

    def rows(self, part: slice) -> Inverted:
        """Some of the samples."""
        return replace(self, x=self.x[part], memory=tuple(m[part] for m in self.memory))

    def state(self, sampler: Sampler, process: Process, device: torch.device) -> State:
        """The state `sampler` starts from.

        Raises:
            InputError: another sampler than the one whose memory it keeps.
        """
        if self.memory and type(sampler) is not type(self.sampler):
            raise InputError("sampler", type(sampler).__name__, f"{type(self.sampler).__name__}, which inverted it")
        memory = tuple(m.to(device) for m in self.memory)
        return replace(sampler.init(self.x.to(device), self.times, process), i=self.i, memory=memory)

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write a .safetensors file with the recipe inside.

        Raises:
            InputError: another suffix, or the file exists and `force` is false.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise InputError("output", path, "a .safetensors file")
        facts = {"i": self.i, "sampler": components.describe("sampler", self.sampler), "recipe": self.recipe}
        tensors = {"x": self.x, "times": self.times, **{f"memory.{k}": m for k, m in enumerate(self.memory)}}
        write_tensors(path, tensors, {_KEY: json.dumps(facts)}, force=force)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Inverted:
        """What `save` wrote.

        Raises:
            CheckpointError: another file.
        """
        tensors, metadata = read_tensors(path)
        try:
            facts: Mapping[str, Any] = json.loads(metadata[_KEY])
            memory = tuple(tensors[f"memory.{k}"] for k in range(sum(name.startswith("memory.") for name in tensors)))
            sampler = components.build("sampler", facts["sampler"])
            return cls(tensors["x"], facts["i"], tensors["times"], memory, sampler, facts["recipe"])
        except (KeyError, ValueError) as fault:
            raise CheckpointError("start", f"{path} ({fault})", "a file `gencore invert` wrote") from None


@dataclass(frozen=True)
class FromData(Sampler):
    """`inner`, for networks that predict x0: at time 0 it asks about the next time.

    Args:
        inner: a sampler that inverts.
    """

    inner: Sampler

    def step(self, state: State, noise: Noise) -> Steps:
        walk = self.inner.step(state, noise)
        above, sent = state.time(state.i + 1), None
        while True:
            try:
                query = walk.send(sent)
            except StopIteration as stop:
                return stop.value
            sent = yield query._replace(t=torch.where(query.t <= 0, above, query.t))

    def config(self) -> dict[str, Any]:
        return {"inner": components.describe("sampler", self.inner)}


def walked(sampler: Sampler, times: Tensor, process: Any, kind: str, *, exact: bool) -> tuple[Sampler, Tensor]:
    """The sampler and falling times with which a network that predicts `kind` is inverted.

    Args:
        exact: the times are the user's, and stay.
    """
    if kind != "x0":
        return sampler, times
    return FromData(sampler), times if exact else default_times(process, "x0", len(times) - 1)


def rising(times: Tensor, strength: float = 1.0) -> Tensor:
    """The times of an inversion: the cleanest `strength` share of falling `times`, turned round.

    >>> rising(torch.tensor([1.0, 0.5, 0.0]), 0.5)
    tensor([0.0000, 0.5000])

    Raises:
        InputError: a strength outside (0, 1], or one that leaves no step.
    """
    steps = int(strength * (len(times) - 1) + 1e-9)
    if not 0 < strength <= 1 or steps < 1:
        raise InputError("strength", strength, f"more than 0, at most 1, and at least one of {len(times) - 1} steps")
    return times[len(times) - 1 - steps :].flip(0)
