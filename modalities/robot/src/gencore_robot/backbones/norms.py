"""The two readings of RDT's norm, by name.

    rms:       y = x / sqrt(mean(x^2) + eps) w                                        (arXiv:1910.07467)
    timm_var:  y = x / sqrt(var(x) + eps) w,   var unbiased and of centred x, x itself not centred

The published weights were trained with timm 1.0.3, whose ``RmsNorm`` without apex computes the second; with apex, or
with another timm, the same code computes the first.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from gencore.errors import unknown
from gencore.nn.layers import Norm

NormName = Literal["timm_var", "rms"]
EPS = 1e-6


class VarianceNorm(nn.Module):
    """The reading ``timm_var`` above, over the last axis with a learned scale.

    >>> VarianceNorm(2)(torch.tensor([[1.0, 3.0]])).detach().round(decimals=3)
    tensor([[0.7070, 2.1210]])
    """

    def __init__(self, dim: int, eps: float = EPS) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.var(dim=-1, keepdim=True) + self.eps) * self.weight


def norm(name: NormName, dim: int) -> nn.Module:
    """A norm over the last `dim` values with a learned scale.

    Raises:
        InputError: an unknown name.
    """
    if name not in get_args(NormName):
        raise unknown("norm", name, get_args(NormName))
    return VarianceNorm(dim) if name == "timm_var" else Norm(dim, "rms", affine=True, eps=EPS)
