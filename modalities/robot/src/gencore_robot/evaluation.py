"""Predicted actions against demonstrated ones.

Every figure stands beside the same figure of what a policy must beat: holding the last action that was commanded, and
the mean action of the data.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from gencore.data import Data
from gencore.errors import InputError
from gencore_robot.codec import ActionCodec
from gencore_robot.readers.chunks import ActionChunks, UnifiedChunks
from gencore_robot.robots import bound, executed

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline

_TOGETHER = 64


def evaluate(pipe: Pipeline, data: Data, *, n: int, seed: int = 0,
             progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:  # fmt: skip
    """Errors over `n` items spread evenly over `data`; sample i has the seed ``seed + i``.

    Returns:
        ``items``, ``seeds``, ``sampler``; ``model``, ``hold`` and ``mean``: ``mse``, over standardised slots the robot
        has, ``mse_executed`` of the actions that are executed before the next prediction, and ``mae`` of each entry in
        the robot's units; ``seconds``.  Of a network of several robots, this for each by name, `n` items each.

    Raises:
        InputError: fewer items than `n`.
    """
    if isinstance(data, UnifiedChunks):
        return {part.codec.embodiment.name: evaluate(bound(pipe, part.codec.embodiment), part, n=n, seed=seed,
                                                     progress=progress) for part in data.parts}  # fmt: skip
    if not isinstance(pipe.tokenizer, ActionCodec) or not isinstance(data, ActionChunks):
        raise InputError("data", type(data).__name__, "chunks of the model's robot")
    if not 1 <= n <= len(data):
        raise InputError("n", n, f"1..{len(data)}, the items of the data")
    started, codec = perf_counter(), pipe.tokenizer
    chosen = np.linspace(0, len(data) - 1, n).round().astype(int)
    true, held, made = [], [], []
    words = [word for word in pipe.conditioner.words if word != "observation"]
    for start in range(0, n, _TOGETHER):
        part = chosen[start : start + _TOGETHER]
        items = [data[int(i)] for i in part]
        batch = default_collate(items)
        said = {word: batch[word] for word in words if word in batch}
        out = pipe.generate(n=len(part), seed=list(range(seed + start, seed + start + len(part))), **said)
        true.append(batch["data"])
        made.append(out.tensor)
        held += [data.before(int(i)) for i in part]
        if progress is not None:
            progress(start + len(part), n)
    real, hold = torch.cat(true), torch.stack(held)[:, None].expand(-1, codec.horizon, -1)
    mean = real.mean((0, 1)).expand_as(real)
    execute = executed(pipe) or codec.horizon
    return {
        "items": n, "seeds": [seed, seed + n - 1], "sampler": f"{pipe.defaults.sampler}, {pipe.defaults.steps} steps",
        **{name: _errors(guess, real, codec, execute)
           for name, guess in (("model", torch.cat(made)), ("hold", hold), ("mean", mean))},
        "seconds": round(perf_counter() - started, 1),
    }  # fmt: skip


def _errors(guess: Tensor, real: Tensor, codec: ActionCodec, execute: int) -> dict[str, Any]:
    valid = codec.action.valid
    gap = (codec.latent(codec.action.encode(guess)) - codec.latent(codec.action.encode(real)))[..., valid] ** 2
    each = (guess - real).abs().mean((0, 1))
    return {
        "mse": float(gap.mean()), "mse_executed": float(gap[:, :execute].mean()),
        "mae": {name: float(value) for name, value in zip(codec.action.names, each, strict=True)},
    }  # fmt: skip
