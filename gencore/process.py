"""The forward noising: the only place that knows alpha, sigma or a mask probability.

Time is continuous, 0 = data and 1 = noise.  What a *network* was trained to see (an index, ``1 - t``, ``1000 t``) is
the checkpoint's convention and comes from `model_time`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from gencore.noise import Kind, Noise
from gencore.spec import LatentSpec, broadcast_time


class Coeffs(NamedTuple):
    """x_t = alpha x_0 + sigma eps and the derivatives of both by t; float64, shaped like the time they came from."""

    alpha: Tensor
    sigma: Tensor
    d_alpha: Tensor
    d_sigma: Tensor


class Process(ABC):
    """What every forward process offers.

    Attributes:
        kind: of the latents it noises.
        draws: the kind of draw `corrupt` needs.
    """

    kind: Literal["continuous", "discrete"]
    draws: Kind

    @abstractmethod
    def prior(self, spec: LatentSpec, noise: Noise) -> Tensor:
        """The (B, *sizes) state at t = 1."""

    @abstractmethod
    def corrupt(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t for data `x0` (B, ...), times `t` in [0, 1] of shape (B,) or broadcasting, and draw `eps` like `x0`."""

    @abstractmethod
    def given(self, value: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """Known data `value` (B, ...) as a state at times `t` shows it, by one fixed draw per sample."""

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

    kind = "continuous"
    draws = "normal"

    def prior(self, spec: LatentSpec, noise: Noise) -> Tensor:
        return noise.draw("normal", ("init",), spec.sizes)

    def given(self, value: Tensor, t: Tensor, noise: Noise) -> Tensor:
        return self.corrupt(value, t, noise.draw("normal", ("init",), tuple(value.shape[1:])).to(value))

    def corrupt(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        c = self.coeffs(broadcast_time(t, x0))
        return c.alpha.to(x0.dtype) * x0 + c.sigma.to(x0.dtype) * eps


class AbsorbingProcess(Process):
    """Each token becomes the mask token with probability `move_chance(t)`, independently, and stays so.

    Attributes:
        mask_id: the token id of the mask.
    """

    kind = "discrete"
    draws = "uniform"
    mask_id: int

    @abstractmethod
    def move_chance(self, t: Tensor) -> Tensor:
        """Probability of being masked at `t`, float64, of the shape of `t`."""

    def prior(self, spec: LatentSpec, noise: Noise) -> Tensor:
        return torch.full(spec.shape(noise.count), self.mask_id)

    def corrupt(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return torch.where(eps < self.move_chance(broadcast_time(t, x0)), self.mask_id, x0)

    def given(self, value: Tensor, t: Tensor, noise: Noise) -> Tensor:
        # An open token carries over, so a given one is a valid part of the state at any time.
        return value
