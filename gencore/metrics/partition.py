"""The normaliser of an energy correction, between two estimates (arXiv:2410.21357, theorem 1; arXiv:2004.11714).

    Z(x_t) = E_{x_0 ~ p_theta(. | x_t)} exp(-E(x_0)),    T_n = log (1/n) sum_j exp(-E_j)

T_n is below log Z in expectation, since the logarithm is concave; and its bias falls like 1/n, so extrapolating it
with T_{n-1}, the mean over leaving one out, to (2n - 1) T_n - 2(n - 1) T_{n-1} overshoots, from some n on.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gencore.categorical import Categorical, draw
from gencore.errors import InputError
from gencore.transforms.edlm import Energy


class Bounds(NamedTuple):
    """Estimates of log Z, (...) float64: `lower` and `upper` in expectation; `leave_one_out` is T_{n-1}."""

    lower: Tensor
    upper: Tensor
    leave_one_out: Tensor


def log_partition(energy: Tensor) -> Bounds:
    """Bounds of log Z from the energies (..., n) of n >= 2 samples of the denoiser.

    >>> bounds = log_partition(torch.tensor([0.0, 0.0, 0.0]))
    >>> bounds.lower.item(), bounds.upper.item()
    (0.0, 0.0)

    Raises:
        InputError: fewer than two samples, or every one of them refused (+inf).
    """
    n = energy.shape[-1] if energy.ndim else 0
    if n < 2:
        raise InputError("energy", f"{n} samples", "2 or more")
    log_w = -energy.double()
    if bool(torch.isinf(log_w).all(-1).any()):
        raise InputError("energy", "only refused candidates", "at least one finite energy a row")
    lower = log_w.logsumexp(-1) - math.log(n)
    others = torch.where(torch.eye(n, dtype=torch.bool, device=energy.device), -torch.inf, log_w[..., None, :])
    one_out = (others.logsumexp(-1) - math.log(n - 1)).mean(-1)
    return Bounds(lower, (2 * n - 1) * lower - 2 * (n - 1) * one_out, one_out)


class Interval(NamedTuple):
    """Two estimates between which a quantity lies in expectation, (...) float64 nats."""

    lower: Tensor
    upper: Tensor


def joint_nll(prediction: Categorical, x0: Tensor, energy: Energy, eps: Tensor) -> Interval:
    """-log p(x_0 | x_t) of the corrected joint, (B,): -log p_theta(x_0 | x_t) + E(x_0) + log Z(x_t).

    With nothing open yet (t = 1) that is the likelihood of the sampler that opens every token at once.  The paper
    averages it over all t with the weights of the ELBO and calls that the perplexity (its equation 9); see
    `marginal_nll` for why that is no bound.

    >>> from gencore.categorical import TokenPrediction
    >>> from gencore.processes.absorbing import Absorbing
    >>> fair = TokenPrediction(3, 2).read(torch.zeros(1, 1, 3), torch.tensor([[2]]), Absorbing(2), torch.ones(1))
    >>> eps, none = torch.ones(1, 2, 1, 3, dtype=torch.float64), lambda tokens, _: torch.zeros(tokens.shape[:2])
    >>> [round(end.item(), 4) for end in joint_nll(fair, torch.tensor([[0]]), none, eps)]
    [0.6931, 0.6931]

    Args:
        x0: (B, *sizes) int64 data.
        eps: (B, n, *sizes, V) float64 standard exponentials, for n >= 2 samples of the denoiser.
    """
    z = log_partition(energy(draw(prediction.probs[:, None], eps), prediction))
    base = energy(x0[:, None], prediction)[:, 0].double() - prediction.log_prob(x0).double().flatten(1).sum(1)
    return Interval(base + z.lower, base + z.upper)


def marginal_nll(prediction: Categorical, x0: Tensor, energy: Energy, cell: Tensor, eps: Tensor) -> Interval:
    """-log p(x_0 at one masked cell | x_t) under the corrected joint, (B,).

    Opening tokens one after another, a sampler's likelihood depends on the joint through these marginals alone, and
    sum over masked cells, weighted by d_sigma / (e^sigma - 1) and averaged over t, is its ELBO.  The joint itself in
    their place gives less than the entropy of the data where tokens depend on each other: two equal coins cost half
    a bit instead of one.  With p_l the denoiser's marginal and the expectation over its other cells:

        p(v at l) = p_l(v) A_l(v) / Z,   A_l(v) = E[exp(-E(x)) | x_l = v]

    >>> from gencore.categorical import TokenPrediction
    >>> from gencore.processes.absorbing import Absorbing
    >>> fair = TokenPrediction(3, 2).read(torch.zeros(1, 1, 3), torch.tensor([[2]]), Absorbing(2), torch.ones(1))
    >>> eps, none = torch.ones(1, 4, 1, 3, dtype=torch.float64), lambda tokens, _: torch.zeros(tokens.shape[:2])
    >>> [round(end.item(), 4) for end in marginal_nll(fair, torch.tensor([[0]]), none, torch.tensor([0]), eps)]
    [0.6931, 0.6931]

    Args:
        x0: (B, *sizes) int64 data.
        cell: (B,) int64, a masked cell of each sample, counted in raster order.
        eps: (B, 2 n, *sizes, V) float64 standard exponentials, for n >= 2 samples of either expectation.
    """
    drawn = draw(prediction.probs[:, None], eps)
    free, held = drawn.chunk(2, dim=1)
    at = cell[:, None, None].expand(-1, held.shape[1], 1)
    token = x0.flatten(1).gather(1, cell[:, None])
    held = held.flatten(2).scatter(2, at, token[:, None].expand_as(at)).view_as(held)
    z, a = (log_partition(energy(candidates, prediction)) for candidates in (free, held))
    base = -prediction.log_prob(x0).double().flatten(1).gather(1, cell[:, None])[:, 0]
    return Interval(base + z.lower - a.upper, base + z.upper - a.lower)
