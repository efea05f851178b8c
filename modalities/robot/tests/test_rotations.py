"""Rotations there and back, gimbal lock included, against closed forms and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gencore.errors import InputError
from gencore_robot import rotations as rot

ANGLE = st.floats(-math.pi, math.pi)
PITCH = st.one_of(
    st.floats(-math.pi / 2, math.pi / 2),
    st.sampled_from([math.pi / 2, -math.pi / 2]),
    st.floats(-1e-6, 1e-6).map(lambda gap: math.pi / 2 - abs(gap)),
)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() < 1e-9)


def matrix(roll: float, pitch: float, yaw: float) -> torch.Tensor:
    return rot.matrix_from_euler(torch.tensor([roll, pitch, yaw], dtype=torch.float64))


@given(ANGLE, PITCH, ANGLE)
def test_every_form_gives_the_matrix_back_also_at_gimbal_lock(roll: float, pitch: float, yaw: float) -> None:
    m = matrix(roll, pitch, yaw)
    assert same(m @ m.T, torch.eye(3, dtype=torch.float64)) and same(torch.linalg.det(m), torch.ones(()))
    assert same(rot.matrix_from_euler(rot.euler_from_matrix(m)), m)
    assert same(rot.matrix_from_quaternion(rot.quaternion_from_matrix(m)), m)
    assert same(rot.matrix_from_6d(rot.matrix_to_6d(m)), m)


@given(ANGLE, st.floats(-1.5, 1.5), ANGLE)
def test_euler_angles_come_back_away_from_gimbal_lock(roll: float, pitch: float, yaw: float) -> None:
    back = rot.euler_from_matrix(matrix(roll, pitch, yaw))
    gap = (back - torch.tensor([roll, pitch, yaw], dtype=torch.float64) + math.pi).remainder(2 * math.pi) - math.pi
    assert gap.abs().max() < 1e-9


@given(ANGLE, PITCH, ANGLE)
def test_matrices_and_quaternions_are_those_of_scipy(roll: float, pitch: float, yaw: float) -> None:
    theirs, m = Rotation.from_euler("xyz", [roll, pitch, yaw]), matrix(roll, pitch, yaw)
    assert np.allclose(m.numpy(), theirs.as_matrix(), atol=1e-12)
    x, y, z, w = theirs.as_quat()
    q = rot.quaternion_from_matrix(m).numpy()
    assert q[0] >= 0 and np.linalg.norm(q) == pytest.approx(1) and abs(q @ [w, x, y, z]) == pytest.approx(1)


@given(st.lists(st.floats(-5, 5), min_size=6, max_size=6).filter(
    lambda a: np.linalg.norm(np.cross(a[:3], a[3:])) > 1e-2
))  # fmt: skip
def test_any_six_numbers_give_a_rotation_along_the_first_three(six: list[float]) -> None:
    m = rot.matrix_from_6d(torch.tensor(six, dtype=torch.float64))
    assert same(m @ m.T, torch.eye(3, dtype=torch.float64)) and float(torch.linalg.det(m)) == pytest.approx(1)
    first, second = torch.tensor(six, dtype=torch.float64).split(3)
    assert same(m[:, 0] * first.norm(), first) and float(m[:, 1] @ second) > 0 and abs(float(m[:, 2] @ second)) < 1e-9


def test_six_numbers_are_columns_not_rows() -> None:
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert rot.matrix_to_6d(quarter).tolist() == [0, 1, 0, -1, 0, 0]


@pytest.mark.parametrize("six", [[0.0] * 6, [1.0, 0, 0, 2, 0, 0], [float("nan"), 0, 0, 0, 1, 0]])
def test_six_numbers_that_span_no_rotation_are_refused(six: list[float]) -> None:
    with pytest.raises(InputError, match="span a rotation"):
        rot.matrix_from_6d(torch.tensor(six))


def test_a_quaternion_of_length_zero_is_refused() -> None:
    with pytest.raises(InputError, match="rotation"):
        rot.matrix_from_quaternion(torch.zeros(4))
