"""A limit on how far a joint moves in one published step.

    n = max_j ceil(|cur_j - prev_j| / step_j),   out_k = prev + (cur - prev) k / n,   k = 1..n

(github.com/thu-ml/RoboticsDiffusionTransformer, deployment loop.)
"""

from __future__ import annotations

import numpy as np

from gencore.errors import InputError


def substeps(prev: np.ndarray, cur: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The (n, A) equally spaced points after `prev` up to and including `cur`, n >= 1.

    Args:
        prev, cur: (A,) actions.
        step: (A,) largest move per point, > 0; infinite where there is no limit.  A shorter one is repeated: the 7
            steps of one arm serve both.

    Raises:
        InputError: steps not above 0, or of a length that does not divide A.

    >>> substeps(np.zeros(2), np.array([1.0, 0.1]), np.array([0.5])).tolist()
    [[0.5, 0.05], [1.0, 0.1]]
    """
    if not len(step) or len(cur) % len(step):
        raise InputError("max_step", f"{len(step)} values", f"one, or a divisor of {len(cur)} values")
    limit = np.tile(step, len(cur) // len(step))
    if not (limit > 0).all():
        raise InputError("max_step", limit.min(), "values above 0")
    n = max(1, int(np.ceil(np.abs(cur - prev) / limit).max()))
    points = prev + (cur - prev) * (np.arange(1, n + 1) / n)[:, None]
    points[-1] = cur
    return points
