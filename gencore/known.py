"""Known regions: parts of a sample that are given, with every sampler and in every modality.

One polarity everywhere: mask True (white) = generate, False (black) = given.  Samplers never see this: it acts on the
query, on the state between steps, and last of all copies the given cells over the result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gencore.errors import InputError, unknown
from gencore.noise import Noise
from gencore.process import Process
from gencore.sampler import Query, State
from gencore.spec import LatentSpec, broadcast_time

KnownMode = Literal["replace_state", "compose_input", "per_token_time"]
MODES = ("replace_state", "compose_input", "per_token_time")


@dataclass(frozen=True)
class Known:
    """Given cells of a latent.

    Args:
        value: (B or 1, ...) latent whose cells count where `mask` is False.
        mask: bool, broadcasting against `value`; True = generate.
        mode: "replace_state" keeps given cells of the state at the noise level of each step (works with any
            network); "compose_input" shows the network clean given cells (for networks trained so);
            "per_token_time" also tells it that their time is 0 (for networks with a time per token).
    """

    value: Tensor
    mask: Tensor
    mode: KnownMode = "replace_state"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("known mode", self.mode, MODES)
        if self.mask.dtype != torch.bool:
            raise InputError("mask", str(self.mask.dtype), "bool, True = generate")
        try:
            # torch's function of this name imports sympy, a third of a second before the first step.
            fits = np.broadcast_shapes(self.mask.shape, self.value.shape) == self.value.shape
        except ValueError:
            fits = False
        if not fits:
            raise InputError(
                "mask", f"shape {tuple(self.mask.shape)}", f"one that broadcasts to {tuple(self.value.shape)}"
            )
        if not bool(torch.isfinite(self.value).all()):
            raise InputError("known", "a value that is not finite", "finite cells")

    @property
    def share(self) -> float:
        """The share of cells that is given."""
        return 1 - self.mask.expand(self.value.shape).float().mean().item()

    def rows(self, part: slice) -> Known:
        """The given cells of some of the samples."""
        value = self.value[part] if len(self.value) > 1 else self.value
        mask = self.mask[part] if self.mask.ndim == self.value.ndim and len(self.mask) > 1 else self.mask
        return replace(self, value=value, mask=mask)

    def paste(self, x: Tensor) -> Tensor:
        """`x` with its given cells copied from the known value, bit for bit."""
        return torch.where(self.mask, x, self.value.to(x.dtype))

    def at(self, x: Tensor, t: Tensor, process: Process, noise: Noise) -> Tensor:
        """`x` with its given cells brought to time `t` by one fixed draw per sample, clean ones at t = 0."""
        noisy = process.given(self.value.to(x.dtype).expand_as(x), t, noise)
        clean = broadcast_time(t, x) <= 0
        return torch.where(self.mask, x, torch.where(clean, self.value.to(x.dtype), noisy))

    def query(self, q: Query, spec: LatentSpec) -> Query:
        """The query as the network should see it."""
        if self.mode == "replace_state":
            return q
        x = self.paste(q.x)
        if self.mode == "compose_input":
            return q._replace(x=x)
        if not spec.time_axes:
            raise InputError("known mode", "per_token_time", "replace_state or compose_input",
                             "this latent has one time a sample")  # fmt: skip
        # A cell's time is 0 only where all its components along the axes without a time of their own are given.
        mask = self.mask.expand(x.shape)
        shared = [i for i, a in enumerate(spec.names) if i > 0 and a not in spec.time_axes]
        free = mask.amax(dim=shared, keepdim=True)
        return q._replace(x=x, t=torch.where(free, broadcast_time(q.t, x), 0.0))

    def state(self, state: State, noise: Noise) -> State:
        """The state a step starts from."""
        if self.mode != "replace_state":
            return state
        return replace(state, x=self.at(state.x, state.now, state.process, noise))
