"""Views that are missing now and then in training, so that a camera may be missing later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from gencore.condition import Condition, Port, null_of
from gencore.errors import InputError
from gencore.noise import Noise


def dropped_views(condition: Condition, port: Port, rates: Sequence[float], noise: Noise, name: str = "images"
                  ) -> Condition:  # fmt: skip
    """`condition` with every view, independently, replaced by its null with its own probability.

    Args:
        condition: (B, V * N, ...) tokens of V views, or (B, V, ...) pictures, V the number of `rates`.
        rates: probability of each view, the cameras of the oldest frame first.
        name: of the condition, for draws and errors.

    Raises:
        InputError: tokens that V views cannot share equally, or a condition without a null.
    """
    value, views = condition.value, len(rates)
    if value.shape[1] % views:
        raise InputError(f"condition '{name}'", f"{value.shape[1]} tokens", f"a multiple of the {views} views")
    drop = noise.draw("uniform", ("view", name), (views,)).to(value.device) < torch.tensor(rates, device=value.device)
    where = drop.repeat_interleave(value.shape[1] // views, dim=1).reshape(len(value), -1, *(1,) * (value.ndim - 2))
    return replace(condition, value=torch.where(where, null_of(name, condition, port), value))
