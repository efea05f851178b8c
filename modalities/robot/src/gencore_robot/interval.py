"""Wilson's interval of a success rate (E. B. Wilson, 1927).

(p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
"""

from __future__ import annotations

import math

from gencore.errors import InputError

Z = 1.959963984540054
"""Of 95 %."""


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of `successes` of `trials`.

    Raises:
        InputError: no trial, or more successes than trials.

    >>> [round(end, 4) for end in wilson(45, 50)]
    [0.7864, 0.9565]
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise InputError("trials", f"{successes} successes of {trials}", "0..trials of at least 1")
    rate, square = successes / trials, Z**2 / trials
    middle = rate + square / 2
    reach = Z * math.sqrt(rate * (1 - rate) / trials + square / (4 * trials))
    low, high = (middle - reach) / (1 + square), (middle + reach) / (1 + square)
    # Rounding would leave the ends of the scale by a bit.
    return 0.0 if successes == 0 else low, 1.0 if successes == trials else high
