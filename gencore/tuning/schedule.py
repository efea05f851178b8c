"""Schedules of computed steps with the least error, by dynamic programming.

Let a_i be the error of the final sample when step i alone is forecast, measured by a run.  Step p + g of a gap between
the computed steps p and q is forecast from farther away, which a forecast of order k pays as its remainder does:

    r(g) = prod_{j=0..k} (g + j (q - p)) / (1 + j)

Errors inside a gap point the same way and add up, those of different gaps do not:

    cost(p, q) = (sum_{g=1..q-p-1} a_{p+g} r(g))^2,        minimise the sum of cost over the gaps

That is a model: it ranks schedules, and a run measures those it picks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def remainder(gap: int, length: int, order: int) -> float:
    """r(gap) of a forecast of `order` in a gap of `length` steps from one computed step to the next.

    >>> remainder(1, 1, 3), remainder(2, 4, 0), remainder(2, 4, 1)
    (1.0, 2.0, 6.0)
    """
    return math.prod((gap + j * length) / (1 + j) for j in range(order + 1))


def best_schedules(amplitude: Sequence[float], order: int) -> list[tuple[int, ...]]:
    """For every number of computed steps, those that cost least; the first step is always one of them.

    >>> best_schedules([0.0, 1.0, 2.0, 9.0, 1.5], 0)
    [(0,), (0, 3), (0, 2, 3), (0, 2, 3, 4), (0, 1, 2, 3, 4)]

    Args:
        amplitude: a_i of step i, n of them, counted from noise; that of step 0 is not read.
        order: of the forecast.

    Returns:
        n schedules, of 1 to n steps.
    """
    n = len(amplitude)
    cost = {(p, q): sum(amplitude[p + g] * remainder(g, q - p, order) for g in range(1, q - p)) ** 2
            for p in range(n) for q in range(p + 1, n + 1)}  # fmt: skip
    # least[q] after m rounds: (cost, computed steps) of the best way to have m of them before q.
    least: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    found = []
    for _ in range(n):
        ways = {q: [(before + cost[p, q], (*steps, p)) for p, (before, steps) in least.items() if p < q]
                for q in range(1, n + 1)}  # fmt: skip
        least = {q: min(way) for q, way in ways.items() if way}
        found.append(least.pop(n)[1])
    return found
