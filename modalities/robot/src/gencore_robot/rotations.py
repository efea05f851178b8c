"""Rotations as matrices, as 6 numbers, as quaternions and as Euler angles.

The 6 numbers are the first and the second column of the matrix; back from any 6 numbers by Gram-Schmidt
(arXiv 1812.07035, in the order of arXiv 2410.07864):

    x = a1 / |a1|,   z = (x × a2) / |x × a2|,   y = z × x

Quaternions are (w, x, y, z) with w >= 0.  Euler angles are (roll, pitch, yaw), extrinsic xyz: R = Rz Ry Rx.
All functions take (..., n) floating tensors and keep their dtype and device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gencore.errors import InputError


def matrix_to_6d(matrix: Tensor) -> Tensor:
    """(..., 3, 3) rotations to (..., 6).

    >>> matrix_to_6d(torch.eye(3)).tolist()
    [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    """
    return torch.cat([matrix[..., 0], matrix[..., 1]], -1)


def matrix_from_6d(six: Tensor) -> Tensor:
    """(..., 6) numbers to the (..., 3, 3) rotations they stand for.

    Raises:
        InputError: the first three are 0 or the last three lie along them, so that no rotation is meant.

    >>> matrix_from_6d(torch.tensor([2.0, 0, 0, 5, 3, 0])).equal(torch.eye(3))
    True
    """
    x = unit(six[..., :3])
    z = unit(torch.linalg.cross(x, six[..., 3:]))
    return torch.stack([x, torch.linalg.cross(z, x), z], -1)


def unit(vector: Tensor) -> Tensor:
    """`vector` over its length along the last axis.

    Raises:
        InputError: a length of 0, or not a number.
    """
    length = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    if not bool((length > 1e-12).all()):
        raise InputError("rotation", "a vector of length 0 or NaN", "numbers that span a rotation")
    return vector / length


def matrix_from_euler(euler: Tensor) -> Tensor:
    """(..., 3) roll, pitch, yaw in rad to (..., 3, 3).

    >>> matrix_from_euler(torch.zeros(3)).equal(torch.eye(3))
    True
    """
    (sr, sp, sy), (cr, cp, cy) = euler.sin().unbind(-1), euler.cos().unbind(-1)
    rows = [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr,
            sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr,
            -sp, cp * sr, cp * cr]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def euler_from_matrix(matrix: Tensor) -> Tensor:
    """(..., 3, 3) to (..., 3) rad, pitch in [-pi/2, pi/2].

    The yaw is read after the roll is undone, so at pitch ±pi/2, where only their sum or difference is determined,
    the three still give back the matrix.

    >>> euler_from_matrix(matrix_from_euler(torch.tensor([0.25, -0.5, 1.0]))).allclose(torch.tensor([0.25, -0.5, 1.0]))
    True
    """
    roll = torch.atan2(matrix[..., 2, 1], matrix[..., 2, 2])
    pitch = torch.atan2(-matrix[..., 2, 0], torch.hypot(matrix[..., 2, 1], matrix[..., 2, 2]))
    second = roll.cos()[..., None] * matrix[..., 1] - roll.sin()[..., None] * matrix[..., 2]
    return torch.stack([roll, pitch, torch.atan2(-second[..., 0], second[..., 1])], -1)


def matrix_from_quaternion(quaternion: Tensor) -> Tensor:
    """(..., 4) w, x, y, z of any length above 0 to (..., 3, 3).

    Raises:
        InputError: a quaternion of length 0.

    >>> matrix_from_quaternion(torch.tensor([2.0, 0, 0, 0])).equal(torch.eye(3))
    True
    """
    w, x, y, z = unit(quaternion).unbind(-1)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def quaternion_from_matrix(matrix: Tensor) -> Tensor:
    """(..., 3, 3) to (..., 4) w, x, y, z of length 1 with w >= 0.

    q qᵀ is linear in the matrix; its column with the largest diagonal entry loses no digits.

    >>> quaternion_from_matrix(torch.eye(3)).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    m = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
    (a, b, c), one = (m[0][0], m[1][1], m[2][2]), torch.ones_like(m[0][0])
    wx, wy, wz = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[0][1] + m[1][0], m[0][2] + m[2][0], m[1][2] + m[2][1]
    rows = [one + a + b + c, wx, wy, wz, wx, one + a - b - c, xy, xz,
            wy, xy, one - a + b - c, yz, wz, xz, yz, one - a - b + c]  # fmt: skip
    outer = torch.stack(rows, -1).unflatten(-1, (4, 4))
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*outer.shape[:-1], 1)
    q = unit(outer.gather(-1, best).squeeze(-1))
    return torch.where(q[..., :1] < 0, -q, q)
