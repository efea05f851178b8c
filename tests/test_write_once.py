"""Written once, runs everywhere: every cache on the trained default of every installed modality.

``pytest -s tests/test_write_once.py`` prints the speed-up and error of each.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from functools import cache as once
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import gencore
from gencore import plugins
from gencore.cli.table import line, widths
from gencore.context import Context, Interceptor, Run
from gencore.interceptors.flops import BlockFlops
from gencore.interceptors.memory import Entry
from gencore.models import packaged_default, read_config
from gencore.pipeline import Pipeline
from gencore.stream import Hidden
from gencore.tuning.fidelity import fidelity

STEPS = 6
IDLE = ["taylorseer:interval=1", "taylorseer:interval=1,lite=true", "taylorseer:interval=1,abscissa=time",
        "reuse:interval=1", "delta-dit:interval=1", "delta-dit:interval=1,keep=one",
        "first-block:threshold=0"]  # fmt: skip
CACHES = ["taylorseer:interval=3", "taylorseer:interval=3,lite=true", "reuse:interval=2", "delta-dit:interval=2",
          "first-block:threshold=10"]  # fmt: skip


def installed() -> list[str]:
    """The modalities that have a trained default at hand."""
    names = []
    for name in plugins.provided("modality"):
        try:
            read_config(packaged_default(name))
        except gencore.GencoreError:
            continue
        names.append(name)
    return names


@once
def pipe(name: str) -> Pipeline:
    return gencore.load(name)


@once
def base(name: str) -> Tensor:
    return generate(name)


def generate(name: str, *caches: str | Interceptor) -> Tensor:
    made = pipe(name)
    words = made.modality.example(made, 2)
    return made.generate(**words, seed=0, steps=STEPS, interceptors=list(caches)).tensor


class Store(Interceptor):
    """Keeps the run's store, for a look at it afterwards."""

    def __init__(self) -> None:
        self.store: dict[tuple[str, ...], Any] = {}

    def span(self, ctx: Context, run: Run, h: Hidden, start: int, stop: int) -> Hidden:
        self.store = ctx.store
        return run(h, start, stop)


def test_some_modality_is_installed() -> None:
    assert installed()


@pytest.mark.parametrize("name", installed())
@pytest.mark.parametrize("idle", [*IDLE, ""])
def test_off_and_computing_every_step_are_the_network_bit_for_bit(name: str, idle: str) -> None:
    assert torch.equal(generate(name, idle or Interceptor()), base(name))


@pytest.mark.parametrize("name", installed())
def test_what_a_cache_saves_and_what_it_costs(name: str) -> None:
    """The table, of work in blocks and not of seconds, which a test machine has no say about."""
    whole = BlockFlops()
    generate(name, whole)
    rows = [(name, "speed-up", "worst", "mean", "")]
    for cache in CACHES:
        work = BlockFlops()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            near = fidelity(generate(name, cache, work), base(name))
        assert 0 < work.total < whole.total
        rows.append((cache, f"{whole.total / work.total:.2f}x", f"{near.worst:.1f}", f"{near.mean:.1f}", near.unit))
    columns = widths(rows)
    print("\n" + "\n".join(line(row, columns) for row in rows))


@pytest.mark.parametrize("name", plugins.provided("interceptor"))
def test_a_cache_is_one_short_file_that_names_no_modality(name: str) -> None:
    made = cast(Callable[..., Any], plugins.resolve("interceptor", name))
    text = inspect.getsource(inspect.getmodule(made))  # type: ignore[arg-type]
    assert len(text.splitlines()) <= 150
    words = set(re.findall(r"[a-z]+", text.lower()))
    assert not words & {form for known in plugins.provided("modality") for form in (known, known.removesuffix("s"))}


@pytest.mark.parametrize("name", installed())
@pytest.mark.parametrize("cache", CACHES)
def test_it_answers_calls_and_leaves_no_trace(name: str, cache: str) -> None:
    look = Store()
    cached = generate(name, cache, look)
    entries = [value for value in look.store.values() if isinstance(value, Entry)]
    assert entries and any(entry.answered for entry in entries)
    # A sampler of tokens may take a step more, to remove what noise is left.
    assert all(len(entry.steps) + entry.answered <= STEPS + 1 for entry in entries)
    assert torch.isfinite(cached.float()).all() and cached.shape == base(name).shape
    assert torch.equal(generate(name), base(name))
