"""Several tasks in one: each sample draws a mask kind of its own, by weight (arXiv:2305.13311, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from torch import Tensor

from gencore import components
from gencore.errors import InputError
from gencore.mask import MaskKind, Size


class Mixture:
    """A kind drawn by weight for every sample.

    >>> import torch
    >>> def everything(size, rng): return torch.ones(size, dtype=torch.bool)
    >>> def half(size, rng): return torch.arange(size[0]) < size[0] // 2
    >>> draws = [Mixture([(3, everything), (1, half)])((4,), Random(i)).sum().item() for i in range(400)]
    >>> 0.7 < draws.count(4) / 400 < 0.8
    True

    Args:
        kinds: (weight, kind) pairs; weights are relative.

    Raises:
        InputError: no kind, or weights that are not positive.
    """

    def __init__(self, kinds: Sequence[tuple[float, MaskKind]]) -> None:
        if not kinds or not all(weight > 0 for weight, _ in kinds):
            raise InputError("mixture", [weight for weight, _ in kinds], "kinds of positive weight")
        self.kinds = tuple((float(weight), kind) for weight, kind in kinds)

    def __call__(self, size: Size, rng: Random) -> Tensor:
        weights, choices = zip(*self.kinds, strict=True)
        (kind,) = rng.choices(choices, weights)
        return kind(size, rng)

    def config(self) -> dict[str, Any]:
        return {"kinds": [[weight, components.describe("mask", kind)] for weight, kind in self.kinds]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Mixture:
        return cls([(weight, components.build("mask", kind)) for weight, kind in config["kinds"]])
