"""Energy-based correction of a factorised denoiser, by parallel importance sampling (arXiv:2410.21357, algorithm 1).

A masked denoiser predicts every token on its own; an energy of the whole sequence restores how they go together:

    p(x_0 | x_t) = p_theta(x_0 | x_t) exp(-E(x_0, x_t)) / Z(x_t)

In a window of times, k candidates are drawn from p_theta, one is picked with weights softmax(-E / temperature), and
the prediction becomes certain of it.  With temperature 1 the law of the pick tends to p as k grows; any other
temperature tends to p_theta^(1 - 1/temperature) p^(1/temperature).  Candidates are drawn anew at every step, also
when no token was opened since the last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gencore.categorical import Categorical, draw
from gencore.context import StepInfo
from gencore.denoiser import NotFinite
from gencore.errors import InputError
from gencore.noise import Noise

Energy = Callable[[Tensor, Categorical], Tensor]
"""``energy(candidates (B, k, *sizes) int64, prediction) -> (B, k)``: lower is better, +inf refuses a candidate.  An
energy with a ``config()`` names itself in recipes."""


class Resampling(NamedTuple):
    """What happened in one step, for reports.

    Args:
        info: which step.
        candidates: (B, k, *sizes) int64.
        energy: (B, k) float64; +inf where a candidate was refused, or not wanted by this sample.
        weights: (B, k) float64, of sum 1.
        chosen: (B,) int64.
    """

    info: StepInfo
    candidates: Tensor
    energy: Tensor
    weights: Tensor
    chosen: Tensor

    @property
    def effective(self) -> Tensor:
        """(B,) effective number of candidates."""
        return effective_number(self.weights)


class EnergyCorrection:
    """A prediction transform that makes any absorbing model sample from its joint with an energy.

    >>> from gencore.categorical import TokenPrediction
    >>> from gencore.noise import Keyed
    >>> from gencore.processes.absorbing import Absorbing
    >>> x, t = torch.full((1, 3), 2), torch.ones(1, dtype=torch.float64)
    >>> fair = TokenPrediction(3, mask_id=2).read(torch.zeros(1, 3, 3), x, Absorbing(2), t)
    >>> equal = EnergyCorrection(lambda tokens, _: 50.0 * (tokens.amax(2) - tokens.amin(2)), candidates=32)
    >>> equal(fair, StepInfo(), Keyed([0])).x0.unique().numel()
    1

    Args:
        energy: of candidates, see `Energy`.
        candidates: k, drawn at a time.
        window: (start, end) with start >= t >= end: the times at which it acts.
        temperature: divides the energy.
        target: draw further k candidates, up to `most` in all, until a sample's effective number reaches this; None
            draws once.  Stopping by what was drawn costs a little of the exactness.
        most: candidates in all.
        report: called with every `Resampling`.

    Raises:
        InputError: fewer than one candidate, a window that is none, a temperature of 0 or less, or a target that
            `most` cannot reach.
    """

    def __init__(self, energy: Energy, candidates: int = 2, *, window: tuple[float, float] = (1.0, 0.0),
                 temperature: float = 1.0, target: float | None = None, most: int = 64,
                 report: Callable[[Resampling], None] | None = None) -> None:  # fmt: skip
        if candidates < 1:
            raise InputError("candidates", candidates, "1 or more")
        if len(window) != 2 or not 1 >= window[0] >= window[1] >= 0:
            raise InputError("energy window", "/".join(map(str, window)), "start/end with 1 >= start >= end >= 0")
        if not temperature > 0:
            raise InputError("energy temperature", temperature, "more than 0")
        if target is not None and not 1 <= target <= most:
            raise InputError("target", target, f"1..{most} effective candidates")
        self.energy, self.candidates, self.window, self.temperature = energy, candidates, window, temperature
        self.target, self.most, self.report = target, most, report

    def __call__(self, prediction: Categorical, info: StepInfo, noise: Noise) -> Categorical:
        """`prediction`, certain of the picked candidate in those samples whose time is in the window."""
        t = prediction.t.flatten(1).amax(1) if prediction.t.ndim > 1 else prediction.t
        acts = (self.window[0] >= t) & (t >= self.window[1])
        if not bool(acts.any()):
            return prediction
        candidates, energy = self._draw(prediction, info, noise)
        weights = self._weights(energy)
        at = (info.index, info.stage)
        chosen = draw(weights, noise.draw("exponential", ("pick", *at), tuple(weights.shape[1:])))
        if self.report is not None:
            self.report(Resampling(info, candidates, energy, weights, chosen))
        tokens = candidates[torch.arange(len(chosen), device=chosen.device), chosen]
        certain = prediction.certain(tokens)
        inside = acts.reshape(-1, *(1,) * tokens.ndim)
        return certain.with_log_probs(torch.where(inside, certain.log_probs, prediction.log_probs))

    def _draw(self, prediction: Categorical, info: StepInfo, noise: Noise) -> tuple[Tensor, Tensor]:
        """Candidates (B, k', *sizes) and their energies (B, k'), k' a multiple of k."""
        probs = prediction.probs[:, None]
        shape = (self.candidates, *probs.shape[2:])
        parts: list[tuple[Tensor, Tensor]] = []
        enough = torch.zeros(len(probs), dtype=torch.bool, device=probs.device)
        while True:
            key = ("candidates", info.index, info.stage, len(parts))
            drawn = draw(probs, noise.draw("exponential", key, shape))
            energy = self.energy(drawn, prediction).double()
            if energy.shape != drawn.shape[:2]:
                raise InputError("energy", f"shape {tuple(energy.shape)}", f"{tuple(drawn.shape[:2])}, one a candidate")
            if bool(torch.isnan(energy).any() | (energy == -torch.inf).any()):
                raise NotFinite(f"energy: not finite at step {info.index}; +inf refuses a candidate")
            # A sample that has enough draws no more, whatever the rest of its batch needs.
            parts.append((drawn, energy.masked_fill(enough[:, None], torch.inf)))
            energies = torch.cat([part[1] for part in parts], dim=1)
            if self.target is None or (len(parts) + 1) * self.candidates > self.most:
                break
            enough = effective_number(self._weights(energies)) >= self.target
            if bool(enough.all()):
                break
        return torch.cat([part[0] for part in parts], dim=1), energies

    def _weights(self, energy: Tensor) -> Tensor:
        """(B, k) softmax(-energy / temperature); equal weights where every candidate is refused."""
        refused = torch.isinf(energy).all(1, keepdim=True)
        return torch.softmax(torch.where(refused, 0.0, -energy / self.temperature), dim=1)

    def config(self) -> dict[str, Any]:
        name = getattr(self.energy, "config", None)
        described = name() if name else {"type": getattr(self.energy, "__qualname__", type(self.energy).__qualname__)}
        return {"energy": described, "candidates": self.candidates, "window": list(self.window),
                "temperature": self.temperature, "target": self.target, "most": self.most}  # fmt: skip


def effective_number(weights: Tensor) -> Tensor:
    """(...,) effective number of samples, (sum w)^2 / sum w^2, of weights (..., k).

    >>> effective_number(torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    tensor([2., 1.])
    """
    return weights.sum(-1).square() / weights.square().sum(-1)
