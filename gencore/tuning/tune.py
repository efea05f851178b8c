"""The fastest cache within an error budget, measured on the user's model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gencore.errors import Negative
from gencore.tuning.audit import CACHES, SEARCH, Audit, Report, Runs, audit
from gencore.tuning.cache_plan import CachePlan
from gencore.tuning.fidelity import read_budget, within

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline


def tune(pipe: Pipeline, budget: str | float = "35dB", on: int | Sequence[Any] | None = None, *,
         caches: Sequence[str] = CACHES, search: Sequence[str] = SEARCH, callback: Report | None = None,
         **options: Any) -> CachePlan:  # fmt: skip
    """The fastest of the audited caches whose worst sample stays within a budget.

    Fast means few floating-point operations in blocks.  Equal calls give equal plans.

    Args:
        budget: ``"35dB"``, a PSNR to the uncached sample, or for tokens ``"90%"``, the share that is equal; a number is
            taken in the unit of the data.
        on: samples to compare, or one ``{word: value}`` a sample; more of them promise more.
        caches, search, callback, options: of `gencore.tuning.audit.audit`, which says what a run costs.

    Raises:
        Negative: the budget is out of reach; the text says how near the best came.
        InputError: a budget or options that cannot be used.
    """
    read_budget(budget)
    audited = audit(pipe, on, caches=caches, search=search, callback=callback, **options)
    return choose(pipe, audited, budget)


def choose(pipe: Pipeline, audited: Audit, budget: str | float) -> CachePlan:
    """The plan for one budget of an audit, after two runs with seeds it has not seen.

    Raises:
        Negative, InputError: as `tune`.
    """
    least = within(budget, audited.unit)
    point = audited.fastest(least)
    if point is None:
        best = max(audited.points, key=lambda point: (point.fidelity.worst, -point.share))
        reached = f"{best.fidelity.worst:.1f} {audited.unit}"
        raise Negative(f"budget unreachable: best {reached}, short of {least:g}, by {best.text}")
    seeds = audited.recipe["seeds"]
    other = [max(seeds) + 1 + i for i in range(len(seeds))]
    held_out = Runs(pipe, {**audited.options, "seed": other}).compare(point.interceptor)
    assert held_out is not None
    return CachePlan(point.interceptor, audited.steps, point.share, point.fidelity._asdict(),
                held_out._asdict(), least, audited.recipe)  # fmt: skip
