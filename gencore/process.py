"""The forward noising: the only place that knows alpha, sigma or a mask probability.

Time is continuous, 0 = data and 1 = noise.  What a *network* was trained to see (an index, ``1 - t``, ``1000 t``) is
the checkpoint's convention and comes from `model_time`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor

from gencore.spec import broadcast_time


class Coeffs(NamedTuple):
    """x_t = alpha x_0 + sigma eps and the derivatives of both by t; float64, shaped like the time they came from."""

    alpha: Tensor
    sigma: Tensor
    d_alpha: Tensor
    d_sigma: Tensor


class Process(ABC):
    """What every forward process offers."""

    @abstractmethod
    def prior(self, eps: Tensor) -> Tensor:
        """The state at t = 1 from a standard draw `eps`."""

    @abstractmethod
    def corrupt(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t for data `x0` (B, ...), times `t` in [0, 1] of shape (B,) or broadcasting, and draw `eps` like `x0`."""

    @abstractmethod
    def model_time(self, t: Tensor) -> Tensor:
        """What the network sees at `t`; same shape as `t`, float64."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """JSON arguments that build an equal process."""


class GaussianProcess(Process):
    """x_t = alpha(t) x_0 + sigma(t) eps with eps ~ N(0, I)."""

    @abstractmethod
    def coeffs(self, t: Tensor) -> Coeffs:
        """alpha, sigma and their derivatives by t, in float64, each of the shape of `t`."""

    def prior(self, eps: Tensor) -> Tensor:
        return eps

    def corrupt(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        c = self.coeffs(broadcast_time(t, x0))
        return c.alpha.to(x0.dtype) * x0 + c.sigma.to(x0.dtype) * eps
