from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from gencore.errors import InputError
from gencore.metrics.distances import (
    frechet_distance,
    gaussian_distance,
    gaussian_fit,
    nearest_distances,
    precision_recall,
)


def cloud(seed: int, n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def test_commuting_covariances_have_a_closed_form():
    a, b = np.array([1.0, 4.0, 9.0, 0.0]), np.array([4.0, 4.0, 0.0, 0.0])
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    expected = 1.0 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    got = gaussian_distance([0.5] * 4, turn * a @ turn.T, [0.0] * 4, turn * b @ turn.T)
    assert got == pytest.approx(expected, abs=1e-12)


def test_isotropic_gaussians():
    assert gaussian_distance([0, 0], np.eye(2), [3, 4], 9 * np.eye(2)) == pytest.approx(25 + 2 * 2**2, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_it_is_the_formula_with_the_matrix_square_root_of_a_product(seed, d):
    x, y = cloud(seed, 40, d), cloud(seed + 1, 50, d)
    (m, a), (n, b) = gaussian_fit(x), gaussian_fit(y)
    reference = ((m - n) ** 2).sum() + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet_distance(x, y) == pytest.approx(reference, rel=1e-6, abs=1e-6)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_a_shift_costs_its_square_and_a_set_is_no_distance_from_itself():
    x = cloud(3, 30, 8)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 2) == pytest.approx(4 * 8, rel=1e-9)


def test_fewer_rows_than_columns_stay_accurate():
    x = cloud(4, 5, 32)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, 3 * x) == pytest.approx(
        4 * (x.mean(0) ** 2).sum() + 4 * np.trace(gaussian_fit(x)[1]), rel=1e-9
    )


def test_fit_is_unbiased():
    mean, cov = gaussian_fit([[0.0, 1.0], [2.0, 1.0]])
    assert mean.tolist() == [1, 1] and cov.tolist() == [[2, 0], [0, 0]]
    assert gaussian_fit([[0.0], [2.0]])[1].tolist() == [[2.0]]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 9))
def test_neighbours_equal_the_full_distance_matrix(seed, k, chunk):
    x, y = cloud(seed, 17, 3) + 1e4, cloud(seed, 23, 3) + 1e4
    assert np.allclose(nearest_distances(x, y, k, chunk), np.sort(cdist(x, y), 1)[:, k - 1], atol=1e-4, rtol=1e-7)


def test_a_copy_is_at_distance_zero_far_from_the_origin():
    x = cloud(5, 50, 16) + 1e6
    assert nearest_distances(x[:7], x).max() < 1e-2 < nearest_distances(x, x, 2).min()


def test_precision_and_recall_on_a_line():
    real = np.array([[0.0], [1.0], [2.0], [3.0]])
    generated = np.array([[0.5], [0.6], [0.7], [9.0]])
    # k=1: real radii are 1, so three of four are inside; the ball of 9 has radius 8.3 and holds 1, 2 and 3.
    assert precision_recall(real, generated, k=1) == (0.75, 0.75)
    assert precision_recall(generated, real, k=1) == (0.75, 0.75)


def test_precision_and_recall_at_the_extremes():
    x = cloud(6, 60, 4)
    assert precision_recall(x, x) == (1.0, 1.0)
    assert precision_recall(x, x + 1e3) == (0.0, 0.0)
    one_mode = np.random.default_rng(1).normal(scale=1e-3, size=(60, 4)) + x[0]
    precision, recall = precision_recall(x, one_mode)
    assert precision == 1.0 and recall <= 1 / 60


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_chunks_do_not_change_the_answer(seed, chunk):
    x, y = cloud(seed, 25, 3), cloud(seed + 1, 31, 3)
    assert precision_recall(x, y, 3, chunk) == precision_recall(x, y)


def test_what_cannot_be_compared_is_refused():
    x = cloud(7, 5, 3)
    with pytest.raises(InputError, match="3 and 2 columns"):
        frechet_distance(x, x[:, :2])
    with pytest.raises(InputError, match="1 rows that are not finite"):
        frechet_distance(x, np.where(np.arange(5)[:, None] == 2, np.nan, x))
    with pytest.raises(InputError, match="N >= 2"):
        gaussian_fit(x[:1])
    with pytest.raises(InputError, match="N >= 4"):
        precision_recall(x, x[:3])
    with pytest.raises(InputError, match=r"1\.\.5"):
        nearest_distances(x, x, 6)
