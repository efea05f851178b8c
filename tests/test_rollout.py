"""Roll-outs: windows of one run, whose caches share a memory and no knowledge."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gencore.context import Interceptor
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.interceptors.delta_dit import DeltaDiT
from gencore.interceptors.memory import Entry
from gencore.interceptors.taylorseer import TaylorSeer
from gencore.noise import Keyed, Noise
from gencore.rollout import Rollout, rollout
from gencore.samplers.runge_kutta import euler
from gencore.schedules import uniform
from gencore.testing.tiny import tiny_pipeline

PIPE, STEPS = tiny_pipeline(), 6
SPEC = PIPE.tokenizer.spec()
TIMES = uniform(STEPS)


def rolled(cache: Interceptor | None = None, length: int = 20, store: dict[tuple[str, ...], Any] | None = None
           ) -> Tensor:  # fmt: skip
    """Two pictures that grow downwards in windows of 8 rows, each given 4 rows of the one before."""
    conditions = PIPE.conditioner({"label": [3, 5]}, None)[1]

    def denoiser(noise: Noise) -> Denoiser:
        caches = [] if cache is None else [cache]
        return Denoiser(PIPE.backbone, PIPE.process, conditions, interceptors=caches, store=store)

    *_, last = rollout(Rollout("h", length, 4), denoiser, euler(), SPEC, TIMES, Keyed([0, 1]))
    return last.x


@pytest.mark.parametrize("make", [lambda: TaylorSeer(3), lambda: DeltaDiT(3, 0.5, 1)], ids=["taylorseer", "delta-dit"])
def test_windows_that_share_a_store_are_windows_with_one_each(make) -> None:  # type: ignore[no-untyped-def]
    store: dict[tuple[str, ...], Any] = {}
    cache = make()
    shared, apart = rolled(cache, store=store), rolled(make())
    assert torch.equal(shared, apart) and not torch.equal(shared, rolled())
    entries = [value for value in store.values() if isinstance(value, Entry)]
    # Every window computes its own first step, and the memory is that of one window.
    assert all({k * STEPS for k in range(4)} <= set(entry.steps) for entry in entries)
    one: dict[tuple[str, ...], Any] = {}
    rolled(again := make(), 8, one)
    assert cache.report(store)["bytes"] == again.report(one)["bytes"] > 0
    assert cache.report(store)["answered"] == 4 * again.report(one)["answered"] > 0


def test_a_longer_one_begins_with_the_shorter() -> None:
    short, long = rolled(length=13), rolled(length=20)
    assert short.shape == (2, 1, 13, 8) and torch.equal(long[:, :, :13], short)


def test_lengths_and_contexts_that_cannot_be() -> None:
    for plan, told in (
        (Rollout("h", 20, 8), "context"),
        (Rollout("h", 20, 0), "context"),
        (Rollout("h", 7, 4), "length"),
    ):
        with pytest.raises(InputError, match=told):
            plan.starts(8)
