"""Energies for `gencore.transforms.edlm`: from another model of the same data, from a trained network, from a score.

residual   E = -log p_other(x_0) + log p_theta(x_0 | x_t)      the joint is the other model's law
network    E = a network trained by `gencore.objectives.nce`
score      E = -strength * score(x_0)                          the joint is p_theta tilted towards high scores
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from gencore.backbone import Backbone
from gencore.categorical import Categorical
from gencore.errors import InputError
from gencore.objectives.autoregressive import token_nll
from gencore.process import AbsorbingProcess

ROWS = 64
"""Sequences shown to a network at a time."""


class ResidualEnergy:
    """E = -log p_other(x_0) + log p_theta(x_0 | x_t), which needs no training.

    Args:
        log_probs: log-probability of each token under the other model, (N, *sizes) int64 -> (N, *sizes).
        carry_over: count tokens that are open in x_t as certain under the other model too, as they are under p_theta.
    """

    def __init__(self, log_probs: Callable[[Tensor], Tensor], *, carry_over: bool = False) -> None:
        self.log_probs, self.carry_over = log_probs, carry_over

    def __call__(self, candidates: Tensor, prediction: Categorical) -> Tensor:
        """(B, k) float64 energies of `candidates` (B, k, *sizes)."""
        rows = candidates.flatten(0, 1)
        other = torch.cat([self.log_probs(part) for part in rows.split(ROWS)]).double()
        other = other.unflatten(0, candidates.shape[:2])
        if self.carry_over:
            other = torch.where(prediction.masked[:, None], other, 0.0)
        own = prediction.log_prob(candidates).double()
        return own.flatten(2).sum(2) - other.flatten(2).sum(2)

    def config(self) -> dict[str, Any]:
        name = getattr(self.log_probs, "config", None)
        return {"type": "residual", "model": name() if name else None, "carry_over": self.carry_over}


class AutoregressiveLogProbs:
    """Log-probability of each token given those before it, from a network whose logits at a place depend on those.

    Args:
        net: an autoregressive backbone over tokens.
        process: names the mask token, which is no outcome.
        name: what tells the network in recipes, for instance the hash of its weights.
    """

    def __init__(self, net: Backbone, process: AbsorbingProcess, name: str = "") -> None:
        self.net, self.process, self.name = net, process, name

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> Tensor:
        """(N, *sizes) of `tokens` (N, *sizes) int64."""
        return -token_nll(self.net, self.process, tokens)

    def config(self) -> dict[str, Any]:
        return {"type": "autoregressive", "model": self.name}


class EnergyNetwork(Protocol):
    """A network with an energy of whole sequences."""

    def energy(self, candidates: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """(B, k) energies of `candidates` (B, k, *sizes) for the state `x_t` (B, *sizes) at network times `t` (B,)."""
        ...


class NetworkEnergy:
    """The energy a network was trained for.

    Args:
        net: see `EnergyNetwork`.
        name: what tells the network in recipes.
    """

    def __init__(self, net: EnergyNetwork, name: str = "") -> None:
        self.net, self.name = net, name

    @torch.no_grad()
    def __call__(self, candidates: Tensor, prediction: Categorical) -> Tensor:
        t = prediction.process.model_time(prediction.t)
        at_once = max(1, ROWS // len(candidates))
        return torch.cat([self.net.energy(c, prediction.x_t, t) for c in candidates.split(at_once, dim=1)], dim=1)

    def config(self) -> dict[str, Any]:
        return {"type": "network", "model": self.name}


class ScoreEnergy:
    """E = -strength * score(x_0): any judge of whole sequences, a grammar, a classifier, a reward.

    >>> energy = ScoreEnergy(lambda tokens: (tokens == 1).sum(1), strength=2.0)
    >>> energy(torch.tensor([[[1, 1, 0], [0, 0, 0]]]), None).tolist()
    [[-4.0, -0.0]]

    Args:
        score: (N, *sizes) int64 tokens to (N,) scores, higher is better, -inf refuses.
        strength: how much of the score counts, more than 0.
    """

    def __init__(self, score: Callable[[Tensor], Tensor], strength: float = 1.0) -> None:
        if not strength > 0:
            raise InputError("strength", strength, "more than 0")
        self.score, self.strength = score, strength

    def __call__(self, candidates: Tensor, prediction: Categorical | None) -> Tensor:
        scores = self.score(candidates.flatten(0, 1))
        return -self.strength * scores.reshape(candidates.shape[:2])

    def config(self) -> dict[str, Any]:
        name = getattr(self.score, "__qualname__", type(self.score).__qualname__)
        return {"type": "score", "score": name, "strength": self.strength}
