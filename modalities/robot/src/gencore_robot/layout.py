"""The entries of a state or an action as one linear map and a few rotations.

slot = (value - offset) / scale,   value = slot scale + offset
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gencore.errors import InputError
from gencore_robot import rotations
from gencore_robot.embodiments.field import Field
from gencore_robot.slots import SLOTS


class Layout:
    """Entries in the robot's order, laid out in the unified space.

    Args:
        entries: at least one; no slot twice.
        what: ``state`` or ``action``, for errors.

    Attributes:
        width: numbers of the robot's own.
        valid: (128,) bool, the slots it fills.
        low, high: (width,) float64 limits, infinite where there are none.
        velocity: (width,) bool, True where repeating a value keeps the robot moving.
    """

    def __init__(self, entries: Sequence[Field], what: str) -> None:
        self.what, self.names = what, [entry.name for entry in entries for _ in range(entry.width)]
        self.width = len(self.names)
        self.valid = torch.zeros(SLOTS, dtype=torch.bool)
        self.rotations: list[tuple[str, slice, slice]] = []
        numbers: list[tuple[int, int, Field]] = []
        low, high, moves = [], [], []
        start = 0
        for entry in entries:
            first = entry.targets[0]
            self.valid[[target.index for target in entry.targets]] = True
            own = slice(start, start + entry.width)
            if entry.rotation:
                self.rotations.append((entry.rotation, own, slice(first.index, first.index + 6)))
            else:
                numbers.append((start, first.index, entry))
            low += [float("-inf") if entry.low is None else entry.low] * entry.width
            high += [float("inf") if entry.high is None else entry.high] * entry.width
            moves += [first.velocity] * entry.width
            start = own.stop
        self.own, self.slot = [n[0] for n in numbers], [n[1] for n in numbers]
        self.scale = torch.tensor([n[2].divisor for n in numbers], dtype=torch.float64)
        self.offset = torch.tensor([n[2].offset for n in numbers], dtype=torch.float64)
        self.low, self.high = torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
        self.velocity = torch.tensor(moves)

    def encode(self, values: Tensor) -> Tensor:
        """(..., width) in the robot's units to (..., 128), 0 in slots it lacks.

        Raises:
            InputError: another width, integers, or NaN or infinite values; the entry is named.
        """
        self.check(values)
        out = values.new_zeros(*values.shape[:-1], SLOTS)
        out[..., self.slot] = ((values[..., self.own].double() - self.offset.to(values.device))
                               / self.scale.to(values.device)).to(values.dtype)  # fmt: skip
        for kind, own, slots in self.rotations:
            out[..., slots] = rotations.matrix_to_6d(TO_MATRIX[kind](values[..., own]))
        return out

    def decode(self, values: Tensor) -> Tensor:
        """(..., 128) to (..., width) in the robot's units; what lies in other slots is not read.

        Raises:
            InputError: another width, or 6 numbers that mean no rotation.
        """
        if values.ndim < 1 or values.shape[-1] != SLOTS or not values.is_floating_point():
            raise InputError(
                f"unified {self.what}", f"{values.dtype} of shape {tuple(values.shape)}", "(..., 128) floats"
            )
        out = values.new_zeros(*values.shape[:-1], self.width)
        out[..., self.own] = (values[..., self.slot].double() * self.scale.to(values.device)
                              + self.offset.to(values.device)).to(values.dtype)  # fmt: skip
        for kind, own, slots in self.rotations:
            out[..., own] = FROM_MATRIX[kind](rotations.matrix_from_6d(values[..., slots]))
        return out

    def check(self, values: Tensor) -> None:
        """Refuse what `encode` cannot read."""
        if values.ndim < 1 or values.shape[-1] != self.width or not values.is_floating_point():
            raise InputError(self.what, f"{values.dtype} of shape {tuple(values.shape)}", f"(..., {self.width}) floats")
        if not bool((finite := values.isfinite()).all()):
            at = int((~finite).reshape(-1, self.width).any(0).nonzero()[0])
            raise InputError(f"{self.what} '{self.names[at]}'", "NaN or infinity", "finite values")

    def check_limits(self, values: Tensor) -> None:
        """Refuse values outside the robot's limits, by more than rounding in float32.

        Raises:
            InputError: which entry, its value, and its limits.
        """
        self.check(values)
        wide = values.detach().double().cpu()
        slack = 1e-6 * torch.where(self.low.isfinite() & self.high.isfinite(), self.high - self.low, 1.0)
        outside = ((wide < self.low - slack) | (wide > self.high + slack)).reshape(-1, self.width)
        if bool(outside.any()):
            row, at = (int(i) for i in outside.nonzero()[0])
            given = float(wide.reshape(-1, self.width)[row, at])
            raise InputError(f"{self.what} '{self.names[at]}'", given, f"{float(self.low[at])}..{float(self.high[at])}")

    def check_round_trip(self) -> None:
        """Encode and decode probes in float64, at the limits and between them.

        Raises:
            InputError: a value comes back changed by more than 1e-9 of its size.
        """
        low, high = self.low.clamp(min=-1e3), self.high.clamp(max=1e3)
        probes = torch.stack([low, 0.7 * low + 0.3 * high, high])
        for kind, own, _ in self.rotations:
            probes[:, own] = FROM_MATRIX[kind](rotations.matrix_from_euler(TURNS))
        back = self.decode(self.encode(probes))
        wrong = ((back - probes).abs() > 1e-9 * (1 + probes.abs())).any(0)
        if bool(wrong.any()):
            at = int(wrong.nonzero()[0])
            raise InputError(f"{self.what} '{self.names[at]}'", "values that come back changed",
                             "a scale and an offset that lose no digits")  # fmt: skip


TURNS = torch.tensor([[0.3, -0.4, 0.5], [-3.0, 1.2, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
"""Euler angles that probe a rotation."""


def flat(matrix: Tensor) -> Tensor:
    return matrix.flatten(-2)


TO_MATRIX: dict[str, Callable[[Tensor], Tensor]] = {
    "rot6d": rotations.matrix_from_6d,
    "matrix": lambda own: own.unflatten(-1, (3, 3)),
    "quaternion_wxyz": rotations.matrix_from_quaternion,
    "quaternion_xyzw": lambda own: rotations.matrix_from_quaternion(own.roll(1, -1)),
    "euler_xyz": rotations.matrix_from_euler,
}
FROM_MATRIX: dict[str, Callable[[Tensor], Tensor]] = {
    "rot6d": rotations.matrix_to_6d,
    "matrix": flat,
    "quaternion_wxyz": rotations.quaternion_from_matrix,
    "quaternion_xyzw": lambda matrix: rotations.quaternion_from_matrix(matrix).roll(-1, -1),
    "euler_xyz": rotations.euler_from_matrix,
}
