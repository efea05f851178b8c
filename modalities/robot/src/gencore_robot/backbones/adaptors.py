"""Adaptors from the width of an encoder to that of the network: ``linear``, or ``mlpNx_gelu`` of N linears."""

from __future__ import annotations

import re

from torch import nn

from gencore.errors import InputError


def adaptor(name: str, dims: int, width: int) -> nn.Module:
    """A network (..., dims) -> (..., width) with biases throughout.

    >>> [type(layer).__name__ for layer in adaptor("mlp2x_gelu", 4, 8)]
    ['Linear', 'GELU', 'Linear']

    Args:
        name: ``"linear"``, or ``"mlpNx_gelu"`` for N linears with a tanh-approximated GELU between neighbours.

    Raises:
        InputError: another name.
    """
    if name == "linear":
        return nn.Linear(dims, width)
    match = re.fullmatch(r"mlp([1-9]\d*)x_gelu", name)
    if match is None:
        raise InputError("adaptor", repr(name), "linear, or mlpNx_gelu with N of 1 or more")
    layers: list[nn.Module] = [nn.Linear(dims, width)]
    for _ in range(int(match[1]) - 1):
        layers += [nn.GELU(approximate="tanh"), nn.Linear(width, width)]
    return nn.Sequential(*layers)
