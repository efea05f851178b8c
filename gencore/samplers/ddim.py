"""DDIM (arXiv:2010.02502) between any two times, its stochastic family, and its inversion: the step on rising times.

    x_s = alpha_s x_0 + sqrt(sigma_s^2 - w^2) eps + w z,    w = eta sqrt(posterior variance of t -> s)

With eta = 0 this is the exponential-integrator Euler step in log-SNR.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from gencore.denoised import Denoised
from gencore.errors import InputError
from gencore.noise import Noise
from gencore.process import Coeffs
from gencore.processes.posterior import posterior
from gencore.sampler import Query, Sampler, State, Steps
from gencore.spec import broadcast_time


def ddim_update(d: Denoised, target: Coeffs, eta: float = 0.0, z: Tensor | None = None) -> Tensor:
    """The state at `target`'s time from prediction `d`; `z` like the state where eta > 0."""
    dtype = d.x_t.dtype
    if eta == 0 or z is None:
        return target.alpha.to(dtype) * d.x0 + target.sigma.to(dtype) * d.epsilon
    w = eta * posterior(d.coeffs, target).variance.sqrt()
    rest = (target.sigma**2 - w**2).clamp(min=0).sqrt()
    return target.alpha.to(dtype) * d.x0 + rest.to(dtype) * d.epsilon + w.to(dtype) * z


@dataclass(frozen=True)
class DDIM(Sampler):
    """First-order; deterministic at eta = 0, ancestral-like at eta = 1.

    Args:
        eta: share of the posterior's noise that is drawn anew.
        clip: bound of x_0 in both directions, or None; epsilon is re-derived from the clamped value.
    """

    eta: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.eta < 0:
            raise InputError("eta", self.eta, "0 or more")
        object.__setattr__(self, "draws", "normal" if self.eta > 0 else None)
        object.__setattr__(self, "order", 0 if self.eta > 0 else 1)

    @property
    def inverts(self) -> bool:
        return self.eta == 0

    def step(self, state: State, noise: Noise) -> Steps:
        d = yield Query(state.x, state.time(state.i))
        if self.clip is not None:
            d = d.clamp_x0(-self.clip, self.clip)
        z = noise.draw("normal", ("step", state.i), tuple(state.x.shape[1:])).to(state.x) if self.eta > 0 else None
        target = state.process.coeffs(broadcast_time(state.time(state.i + 1), state.x))
        return state.advance(ddim_update(d, target, self.eta, z), d)

    def config(self) -> dict[str, Any]:
        return asdict(self)
