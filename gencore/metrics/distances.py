"""How far two sets of features are apart: Frechet distance, precision and recall, nearest neighbours.

All work on features (N, D) of a *named* extractor, in float64, on the CPU.  The Frechet distance is the squared
2-Wasserstein distance of two Gaussian fits (Dowson and Landau 1982); a published score with a similar name also fixes
an extractor and a preprocessing, so numbers from here carry the name of theirs and are compared only with their like.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gencore.errors import InputError

Array = NDArray[np.float64]


def gaussian_fit(features: ArrayLike) -> tuple[Array, Array]:
    """Mean (D,) and unbiased covariance (D, D) of `features` (N, D), N >= 2.

    Raises:
        InputError: not two-dimensional, fewer than two rows, or not finite.
    """
    x = _checked("features", features, 2)
    return x.mean(0), np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1])


def gaussian_distance(mean_a: ArrayLike, cov_a: ArrayLike, mean_b: ArrayLike, cov_b: ArrayLike) -> float:
    """|m_a - m_b|^2 + tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2, for covariances A, B (D, D) of any rank.

    The last trace is the sum of singular values of A^1/2 B^1/2, which stays accurate when A or B is singular.

    >>> gaussian_distance([0.0], [[1.0]], [3.0], [[4.0]])
    10.0
    """
    a, b = np.asarray(cov_a, np.float64), np.asarray(cov_b, np.float64)
    gap = np.asarray(mean_a, np.float64) - np.asarray(mean_b, np.float64)
    cross = np.linalg.svd(_root(a) @ _root(b), compute_uv=False).sum()
    return float(gap @ gap + np.trace(a) + np.trace(b) - 2 * cross)


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    """Frechet distance of the Gaussian fits of features `a` (N, D) and `b` (M, D).

    It is biased upwards for small N and M: compare only values at equal numbers of rows.

    Raises:
        InputError: as `gaussian_fit`, or different D.
    """
    x, y = _pair(a, b, 2)
    return gaussian_distance(*gaussian_fit(x), *gaussian_fit(y))


def nearest_distances(queries: ArrayLike, reference: ArrayLike, k: int = 1, chunk: int = 1024) -> Array:
    """Euclidean distance (N,) from each query (N, D) to its k-th nearest row of `reference` (M, D).

    Among itself a set finds itself first, so its own k-th neighbour is asked for as k + 1.

    Args:
        chunk: queries handled at once; memory is chunk * M numbers.

    Raises:
        InputError: unequal D, not finite, or k outside 1..M.
    """
    x, y = _pair(queries, reference, 1)
    if not 1 <= k <= len(y):
        raise InputError("k", k, f"1..{len(y)}")
    return np.concatenate([np.sqrt(np.partition(square, k - 1, axis=1)[:, k - 1]) for square in _squares(x, y, chunk)])


def precision_recall(real: ArrayLike, generated: ArrayLike, k: int = 3, chunk: int = 1024) -> tuple[float, float]:
    """Improved precision and recall (arXiv:1904.06991), each in [0, 1].

    Precision is the share of `generated` (M, D) inside some ball around a row of `real` (N, D) whose radius is the
    distance to that row's k-th neighbour in its own set; recall is the same with the sets exchanged.

    Raises:
        InputError: as `nearest_distances`, or a set with no more than k rows.
    """
    x, y = _pair(real, generated, k + 1)
    return _covered(y, x, k, chunk), _covered(x, y, k, chunk)


def _covered(queries: Array, manifold: Array, k: int, chunk: int) -> float:
    radius = nearest_distances(manifold, manifold, k + 1, chunk) ** 2
    inside = [(square <= radius).any(axis=1) for square in _squares(queries, manifold, chunk)]
    return float(np.concatenate(inside).mean())


def _squares(x: Array, y: Array, chunk: int) -> Iterator[Array]:
    # Centred, so that |x|^2 + |y|^2 - 2xy does not cancel for features far from the origin.
    centre = y.mean(0)
    x, y = x - centre, y - centre
    norms = (y * y).sum(1)
    for start in range(0, len(x), chunk):
        part = x[start : start + chunk]
        yield np.maximum((part * part).sum(1)[:, None] + norms - 2 * part @ y.T, 0)


def _root(cov: Array) -> Array:
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    # Rounding noise of a singular covariance is 1e-16, but its root would be 1e-8.
    noise = len(values) * np.finfo(np.float64).eps * np.abs(values).max()
    return vectors * np.sqrt(np.where(values > noise, values, 0)) @ vectors.T


def _checked(name: str, features: ArrayLike, rows: int) -> Array:
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or len(x) < rows:
        raise InputError(name, f"shape {x.shape}", f"(N, D) with N >= {rows}")
    if not np.isfinite(x).all():
        raise InputError(name, f"{int((~np.isfinite(x)).any(1).sum())} rows that are not finite", "finite numbers")
    return x


def _pair(a: ArrayLike, b: ArrayLike, rows: int) -> tuple[Array, Array]:
    x, y = _checked("features", a, rows), _checked("features", b, rows)
    if x.shape[1] != y.shape[1]:
        raise InputError("features", f"{x.shape[1]} and {y.shape[1]} columns", "two sets of the same extractor")
    return x, y
