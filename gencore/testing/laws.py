"""Discrete samplers against a law that is known: what `gencore.testing.orders` is to continuous ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gencore.denoiser import Denoiser
from gencore.known import MODES, Known
from gencore.noise import Kind, Noise, exponentials, normals, uniforms
from gencore.processes.absorbing import Absorbing
from gencore.run import Step, stream
from gencore.sampler import Sampler
from gencore.testing.failures import CheckFailed
from gencore.testing.joint import Joint, JointBackbone

SAMPLES, STEPS = 1024, 32
_STREAMS = {"normal": normals, "uniform": uniforms, "exponential": exponentials}


def _lopsided() -> Joint:
    i, j, k = torch.meshgrid(*[torch.arange(3, dtype=torch.float64)] * 3, indexing="ij")
    table = 1 + i + 2 * (j == (i + 1) % 3) + 3 * (k == j)
    return Joint(table / table.sum())


WORDS = _lopsided()
"""Three tokens out of three, each of which says much about its neighbour."""


class Bulk:
    """Noise for many samples at once, out of one stream: for laws, where no sample is asked for again."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.count, self._seed = count, seed

    def draw(self, kind: Kind, key: tuple[str | int, ...], shape: tuple[int, ...]) -> Tensor:
        values = _STREAMS[kind](self._seed, key, self.count * int(np.prod(shape)))
        return torch.from_numpy(values).reshape(self.count, *shape)


def walk(sampler: Sampler, noise: Noise, *, data: Joint = WORDS, steps: int = 6, schedule: str = "loglinear",
         **options: Any) -> Iterator[Step]:  # fmt: skip
    """Sample `data` with its exact network, step by step.

    Args:
        steps: given to ``sampler.times``.
        schedule: of the masking.
        options: of `gencore.run.stream`.
    """
    process = Absorbing(data.mask_id, schedule)
    denoise = Denoiser(JointBackbone(data), process, {})
    times = options.pop("times", None)
    times = sampler.times(process, "logits", steps) if times is None else times  # type: ignore[arg-type]
    return stream(denoise, sampler, data.spec, times, noise, **options)


def solve(sampler: Sampler, noise: Noise, **options: Any) -> Tensor:
    """The tokens `walk` ends with, (B, L) int64."""
    *_, last = walk(sampler, noise, **options)
    return last.x


def surprise(counts: Tensor, law: Tensor) -> float:
    """Pearson's chi-squared of `counts` under the probabilities `law`, in standard deviations above what is expected.

    Infinite where something that cannot occur does.

    >>> surprise(torch.tensor([50, 50]), torch.tensor([0.5, 0.5])) < 0
    True
    """
    expected = law.double() * counts.sum()
    if bool((counts[law == 0] > 0).any()):
        return float("inf")
    off = ((counts - expected) ** 2 / expected)[law > 0].sum().item()
    free = max(1, int((law > 0).sum()) - 1)
    return (off - free) / (2 * free) ** 0.5


def _hold(x: Tensor, law: Tensor, what: str) -> None:
    counts = WORDS.counts(x.clamp(max=WORDS.mask_id - 1))
    if (found := surprise(counts, law)) > 6:
        share = (counts / counts.sum() - law).abs().sum().item() / 2
        raise CheckFailed(f"{what} come out with another law: total variation {share:.3f}, {found:.0f} deviations")


def check_law(sampler: Sampler) -> None:
    if sampler.order > 0:
        x = solve(sampler, Bulk(SAMPLES), steps=STEPS)
        _hold(x, WORDS.table, f"{SAMPLES} sequences in {STEPS} steps")


def check_ends(sampler: Sampler) -> None:
    process = Absorbing(WORDS.mask_id)
    for n in (1, 5, STEPS):
        times = sampler.times(process, "logits", n)  # type: ignore[arg-type]
        if not bool((times[1:] < times[:-1]).all()) or times[0] > 1 or times[-1] < 0:
            raise CheckFailed(f"times for {n} steps are not falling within [0, 1]")
        x = solve(sampler, Bulk(64), steps=n)
        if x.dtype != torch.int64 or bool(((x < 0) | (x >= WORDS.mask_id)).any()):
            raise CheckFailed(f"after {n} steps {int((x == WORDS.mask_id).sum())} of {x.numel()} tokens are masked, "
                              f"dtype {x.dtype}")  # fmt: skip


def check_known(sampler: Sampler) -> None:
    """Given cells come back, and the law of the others is the one they leave."""
    # A prefix, a suffix, and cells on both sides of a given one.
    for given, mode in zip(((1, 3, 3), (3, 3, 0), (3, 2, 3)), MODES, strict=True):
        value = torch.tensor([given])
        mask = value == WORDS.mask_id
        left = WORDS.agreeing(value)[0]
        known = Known(value.masked_fill(mask, 0), mask, mode)
        x = solve(sampler, Bulk(SAMPLES), steps=STEPS, known=known)
        if not torch.equal(x[:, ~mask[0]], value[:, ~mask[0]].expand(len(x), -1)):
            raise CheckFailed(f"given cells change with known mode '{mode}'")
        if sampler.order > 0:
            _hold(x, left / left.sum(), f"cells beside given ones with known mode '{mode}'")
