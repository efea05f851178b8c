"""VDT's mask kinds as published: fixed numbers of frames, one random stream a kind."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import torch
from torch import Tensor

from gencore.errors import unknown
from gencore.testing.cases import Got
from gencore_video.masks.complete import blocks
from gencore_video.masks.frames import ImageToVideo, Interpolate, RandomFrames, Unconditional, frame_mask

KINDS = ("predict", "backward", "interpolation", "unconditional", "single_frame", "random_frames", "spatial")
"""In the order that seeds them."""
FRAMES = 8


def published(kind: str, size: tuple[int, int, int], rng: Random) -> Tensor:
    """One published mask (T, H, W) bool, empty where the published rule leaves nothing to generate."""
    frames, height, width = size
    match kind:
        case "predict":
            mask = frame_mask(frames, range(min(FRAMES, frames)))
        case "backward":
            mask = frame_mask(frames, range(max(frames - FRAMES, 0), frames))
        case "interpolation":
            mask = Interpolate(4)(size, rng)
        case "unconditional":
            mask = Unconditional()(size, rng)
        case "single_frame":
            mask = ImageToVideo(None)(size, rng)
        case "random_frames":
            mask = RandomFrames(0.8)(size, rng)
        case "spatial":
            first, last = rng.randint(0, 3), rng.randint(0, 3)
            mask = torch.zeros(size, dtype=torch.bool)
            # A slice that ends at -0 is empty: the published rule generates nothing then.
            mask[first:-last] = blocks(height, width, height * width // 2, rng)
        case _:
            raise unknown("mask kind", kind, KINDS)
    return mask.expand(size)


def facts(meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """Every stored mask, and what the case says of them."""
    got: dict[str, Tensor] = {}
    for name in io:
        shape, _, kind = name.partition(".")
        t, h, w = map(int, shape.split("x"))
        got[name] = published(kind, (t, h, w), Random(meta["seed"] + KINDS.index(kind))).to(io[name].dtype)
    return Got(got, facts={("facts",): [_told(fact, got) for fact in meta["facts"]]})


def _told(fact: Mapping[str, Any], masks: Mapping[str, Tensor]) -> dict[str, Any]:
    shape = "x".join(map(str, fact["shape"]))
    named = {kind: masks[f"{shape}.{kind}"].flatten(1).bool() for kind in fact["generated_cells"]}
    return {
        "shape": list(fact["shape"]),
        "generated_cells": {kind: int(mask.sum()) for kind, mask in named.items()},
        "fully_generated_frames": {kind: _frames(mask.all(1)) for kind, mask in named.items()},
        "fully_given_frames": {kind: _frames(~mask.any(1)) for kind, mask in named.items()},
    }


def _frames(chosen: Tensor) -> list[int]:
    return chosen.nonzero().flatten().tolist()
