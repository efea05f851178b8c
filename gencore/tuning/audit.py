"""An audit: what every candidate cache saves on a model, and how far its samples are from the uncached ones.

Candidates do not depend on a budget: those of a list, and for each order of forecast the irregular schedules that
`gencore.tuning.schedule` finds from runs that forecast one step each.  All of them are measured by real runs with the
same seeds, so a looser budget never picks a slower one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from gencore import components
from gencore.context import Interceptor
from gencore.errors import InputError
from gencore.interceptors.flops import BlockFlops
from gencore.request import Request, request
from gencore.settings import parse, spell
from gencore.tuning.fidelity import Fidelity, fidelity, loss
from gencore.tuning.schedule import best_schedules

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline

CACHES = (
    "reuse:interval=2", "reuse:interval=3", "taylorseer:interval=2", "taylorseer:interval=3,warmup=4",
    "taylorseer:interval=4,warmup=4", "taylorseer:interval=5,warmup=4", "taylorseer:interval=3,warmup=4,lite=true",
    "delta-dit:interval=2", "delta-dit:interval=2,order=1", "delta-dit:interval=3,order=1",
    "first-block:threshold=0.05", "first-block:threshold=0.1", "first-block:threshold=0.2",
)  # fmt: skip
"""Candidates with regular schedules."""

SEARCH = ("taylorseer:order=0", "taylorseer:order=1", "taylorseer:order=2,basis=newton", "delta-dit")
"""Caches that take a list of ``steps``, whose irregular schedules are searched."""

SAMPLES = 4
"""Audited samples, where nothing says how many."""

PROBES = 12
"""Steps between the second and the last whose own error is measured for one cache; the others are interpolated."""

SCHEDULES = 16
"""Irregular schedules of one cache that are measured, at most."""

Report = Callable[[int, int, str], None]
"""``report(index, total, what was run)``."""


@dataclass(frozen=True)
class Point:
    """One measured candidate.

    Args:
        interceptor: ``{"type": name, **settings}``.
        share: of the uncached run's block FLOPs.
        fidelity: to the uncached samples.
    """

    interceptor: dict[str, Any]
    share: float
    fidelity: Fidelity

    @property
    def text(self) -> str:
        """As ``--cache`` takes it."""
        return spell(self.interceptor)

    @property
    def rank(self) -> tuple[float, float]:
        """The fastest first, and of equally fast ones the nearest."""
        return self.share, -self.fidelity.worst


@dataclass(frozen=True)
class Audit:
    """What was measured on one model.

    Args:
        points: in the order they ran.
        refused: why a candidate is no point, by its text: it cannot run, or saves nothing.
        options: of `Pipeline.generate`, that gave the uncached run.
        recipe: of that run.
        steps: of that run.
        unit: of the figures, "dB" or "%".
    """

    points: tuple[Point, ...]
    refused: Mapping[str, str]
    options: Mapping[str, Any]
    recipe: dict[str, Any]
    steps: int
    unit: str

    @property
    def front(self) -> list[Point]:
        """The Pareto front, the fastest first: points that nothing as fast or faster is nearer than."""
        front: list[Point] = []
        for point in sorted(self.points, key=lambda point: point.rank):
            if not front or point.fidelity.worst > front[-1].fidelity.worst:
                front.append(point)
        return front

    def fastest(self, least: float) -> Point | None:
        """The fastest point whose worst sample is within `least`, if there is one."""
        return next((point for point in self.front if point.fidelity.worst >= least), None)


@dataclass
class Runs:
    """Runs of one request with and without caches; the uncached one comes first, and all others are compared with it.

    Args:
        pipe: the pipeline.
        options: of `Pipeline.generate`, without interceptors.
        report: told of every run.
        total: runs that are expected.
    """

    pipe: Pipeline
    options: Mapping[str, Any]
    report: Report = lambda index, total, note: None
    total: int = 0
    done: int = 0
    exact: Tensor = field(init=False, repr=False)
    work: int = field(init=False)
    refused: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counter = BlockFlops()
        self.exact = self._made("uncached", counter)
        self.work = counter.total
        if not self.work:
            raise InputError("model", "blocks without matrix products", "one whose work can be counted")

    def measure(self, interceptor: Mapping[str, Any]) -> Point | None:
        """What one cache does; None where it cannot run or saves nothing, and `refused` says why."""
        counter = BlockFlops()
        compared = self.compare(interceptor, counter)
        if compared is None:
            return None
        if counter.total >= self.work:
            self.refused[spell(dict(interceptor))] = "saves nothing here"
            return None
        return Point(dict(interceptor), round(counter.total / self.work, 6), compared)

    def compare(self, interceptor: Mapping[str, Any], *further: Interceptor) -> Fidelity | None:
        """As `measure`, the fidelity alone."""
        text = spell(dict(interceptor))
        try:
            return fidelity(self._made(text, text, *further), self.exact)
        except InputError as fault:
            self.refused[text] = str(fault)
            return None

    def _made(self, note: str, *interceptors: str | Interceptor) -> Tensor:
        # What a cache assumes of a sampler is measured here, so its warnings say nothing new.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            made = self.pipe.generate(**self.options, interceptors=list(interceptors)).tensor
        self.done += 1
        self.report(self.done, max(self.total, self.done), note)
        return made


def audit(pipe: Pipeline, on: int | Sequence[Any] | None = None, *, caches: Sequence[str] = CACHES,
          search: Sequence[str] = SEARCH, callback: Report | None = None, **options: Any) -> Audit:  # fmt: skip
    """Measure caches on a pipeline.

    Args:
        on: samples to compare, or one ``{word: value}`` a sample (bare values where the pipeline has one word); None
            takes as many as the words in `options` say, and 4 where they say one.
        caches: further candidates, ``"name:key=value"``.
        search: caches that take ``steps``, whose irregular schedules are searched; each costs up to 29 runs.
        callback: called after every run.
        options: of `Pipeline.generate`; the seed is 0 unless said.

    Raises:
        InputError: options or candidates that cannot be used, or none that runs and saves work.
    """
    said, asked = _request(pipe, on, options)
    n, searched = len(asked.times) - 1, [parse(text, "search") for text in search]
    wanted = [parse(text, "caches") for text in caches]
    for interceptor in (*wanted, *({**settings, "steps": [0]} for settings in searched)):
        components.build("interceptor", interceptor)
    probes = sorted({2, *(1 + round(k * (n - 2) / (PROBES - 1)) for k in range(PROBES))} & set(range(1, n)))
    counts = sorted({max(1, round(k * n / SCHEDULES)) for k in range(1, SCHEDULES + 1)} - {n})
    total = 1 + len(wanted) + len(searched) * (len(probes) + len(counts))
    runs = Runs(pipe, said, callback or (lambda index, total, note: None), total)
    found = [runs.measure(interceptor) for interceptor in wanted]
    for settings in searched:
        found += _searched(runs, settings, n, probes, counts)
    points = tuple(point for point in found if point is not None)
    if not points:
        reasons = dict.fromkeys(runs.refused.values())
        raise InputError("caches", "; ".join(reasons) or "none", "candidates that run and save work")
    return Audit(points, runs.refused, said, asked.recipe, n, points[0].fidelity.unit)


def _request(pipe: Pipeline, on: int | Sequence[Any] | None, options: Mapping[str, Any]
             ) -> tuple[dict[str, Any], Request]:  # fmt: skip
    """The options of `Pipeline.generate` and what they ask for."""
    if "interceptors" in options:
        raise InputError("interceptors", "some", "none: the audit attaches its own")
    said = {"seed": 0, **{name: value for name, value in options.items() if value is not None}}
    if isinstance(on, int):
        said["n"] = on
    elif on is not None:
        said |= _words(pipe, on)
    asked = request(pipe, **{name: value for name, value in said.items() if name != "batch"})
    if on is None and "n" not in said and len(asked.seeds) == 1 and isinstance(said["seed"], int):
        return _request(pipe, SAMPLES, options)
    return said, asked


def _words(pipe: Pipeline, on: Sequence[Any]) -> dict[str, list[Any]]:
    words = pipe.conditioner.words
    rows = [dict(item) if isinstance(item, Mapping) else {words[0]: item} if len(words) == 1 else None for item in on]
    if isinstance(on, str) or not rows or any(row is None or row.keys() != (rows[0] or {}).keys() for row in rows):
        example = f"[{{'{words[0]}': ...}}, ...]" if words else "a number of samples: this pipeline takes no words"
        raise InputError("on", repr(on), f"a number of samples, or the same words for each, as {example}")
    return {word: [row[word] for row in rows if row is not None] for word in rows[0] or {}}


def _searched(runs: Runs, settings: Mapping[str, Any], n: int, probes: Sequence[int], counts: Sequence[int]
              ) -> list[Point | None]:  # fmt: skip
    """Points of the best schedules of `counts` computed steps, by the errors of the `probes`, each on its own."""
    measured = {}
    for i in probes:
        alone = runs.compare({**settings, "steps": [step for step in range(n) if step != i]})
        if alone is None:
            return []
        measured[i] = loss(alone.worst, alone.unit)
    amplitude = np.interp(range(n), list(measured), list(measured.values())) if measured else [0.0] * n
    order = components.build("interceptor", {**settings, "steps": [0]}).config().get("order", 0)
    schedules = best_schedules([float(a) for a in amplitude], order)
    return [runs.measure({**settings, "steps": list(schedules[count - 1])}) for count in counts]
