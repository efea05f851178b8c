"""A mask kind: a rule that says, for one sample, which cells are generated (True) and which are given (False).

A kind is any callable ``(size, rng) -> bool mask``, so a plain function will do.  Kinds with settings are frozen
dataclasses with a `config`; a plug-in declares one as ``provides={"mask": {name: "module:Class"}}``, and then
``components.build("mask", settings.parse("predict:given=4", "mask"))`` builds it from text.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.noise import Noise

Size = tuple[int, ...]
"""Sizes of the grid axes, of data or of latents: (T, H, W) of a clip."""

MaskKind = Callable[[Size, Random], Tensor]
"""(size, rng) -> bool that broadcasts to `size`, True = generate.  Whatever is random in it comes from `rng`."""

_DIGITS = 2**24


def draw_masks(kind: MaskKind, size: Size, noise: Noise) -> Tensor:
    """One mask a sample, (B, 1, *size) bool, True = generate; a sample's mask depends on its seed alone.

    >>> from gencore.noise import Keyed
    >>> def one_cell(size, rng): return torch.arange(size[0]) == rng.randrange(size[0])
    >>> draw_masks(one_cell, (4,), Keyed([7, 8])).sum(-1).tolist()
    [[1], [1]]

    Raises:
        InputError: settings that do not suit `size`, or a mask that is not bool, does not fit or generates nothing.
    """
    words = (noise.draw("uniform", ("mask",), (2,)).double().cpu() * _DIGITS).long().tolist()
    found = []
    for high, low in words:
        mask = kind(size, Random(high * _DIGITS + low))
        fits = mask.ndim == len(size) and all(n in (1, s) for n, s in zip(mask.shape, size, strict=True))
        if mask.dtype != torch.bool or not fits:
            given = f"{mask.dtype} of shape {tuple(mask.shape)}"
            raise InputError(f"mask of {_name(kind)}", given, f"bool that broadcasts to {tuple(size)}")
        found.append(mask.expand(*size))
    masks = torch.stack(found)[:, None]
    if not bool(masks.flatten(1).any(1).all()):
        raise InputError(f"mask of {_name(kind)}", "nothing to generate", "at least one cell that is True")
    return masks


def _name(kind: MaskKind) -> str:
    return getattr(kind, "__name__", type(kind).__name__)
