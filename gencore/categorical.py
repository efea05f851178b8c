"""The contract of networks over tokens: logits of x_0 for every position, read as log-probabilities.

| parameterisation | log p(x_0 | x_t) from logits z                                              | source           |
|------------------|-----------------------------------------------------------------------------|------------------|
| `subs`           | log-softmax without the mask; an open token is certain (carry-over)         | arXiv:2406.07524 |
| `d3pm`           | log-softmax, the mask included                                              | arXiv:2107.03006 |
| `sedd`           | z are log-ratios: log s = z - log(e^sigma - 1) - log(V - 1), p prop. to s   | arXiv:2310.16834 |

A score is the ratio s(v) = q_t(x with v here) / q_t(x).  At a masked position an exact denoiser gives p(v) / (e^sigma -
1), where 1 / (e^sigma - 1) = (1 - m) / m for the probability m of being masked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gencore.errors import InputError, unknown
from gencore.process import AbsorbingProcess
from gencore.spec import broadcast_time

Parameterization = Literal["subs", "d3pm", "sedd"]
NEVER = -1e6
"""Log-probability of what cannot be: finite, so that 0 times it is 0, and exp of it is exactly 0."""


@dataclass(frozen=True, slots=True)
class TokenPrediction:
    """What a network's logits mean.

    Args:
        vocab: V, the number of token ids with the mask; further columns of the logits are padding and never read.
        mask_id: of the mask token.
        parameterization: see the table of this module.
        subs_masking: for "d3pm": the mask is no possible x_0.
    """

    vocab: int
    mask_id: int
    parameterization: Parameterization = "subs"
    subs_masking: bool = False

    def __post_init__(self) -> None:
        if self.parameterization not in get_args(Parameterization):
            raise unknown("parameterization", self.parameterization, get_args(Parameterization))
        if not 0 <= self.mask_id < self.vocab:
            raise InputError("mask_id", self.mask_id, f"0..{self.vocab - 1}, a token of the vocabulary")
        if self.subs_masking and self.parameterization != "d3pm":
            raise InputError("subs_masking", f"with {self.parameterization}", "d3pm, which lacks it by itself")

    @property
    def kind(self) -> Literal["logits"]:
        return "logits"

    def split(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """All of an output is predicted: guidance may combine logits, since a softmax ignores a row's constant."""
        return output, None

    def read(self, output: Tensor, x_t: Tensor, process: AbsorbingProcess, t: Tensor) -> Categorical:
        """Logits (B, *sizes, >= V) for tokens `x_t` (B, *sizes) at times `t`, (B,) or broadcasting; neither changes.

        Raises:
            InputError: fewer columns than token ids, or a mask that is not the process's.
        """
        if output.shape[-1] < self.vocab or output.shape[:-1] != x_t.shape:
            raise InputError("network output", f"shape {tuple(output.shape)}", f"(*{tuple(x_t.shape)}, {self.vocab})")
        if process.mask_id != self.mask_id:
            raise InputError("mask_id", f"{process.mask_id} of the process", f"{self.mask_id}, the network's")
        z = output[..., : self.vocab]
        z = z if z.dtype == torch.float64 else z.float()
        if self.parameterization == "d3pm":
            log_probs = (without(z, self.mask_id) if self.subs_masking else z).log_softmax(-1)
            return Categorical(log_probs, x_t, process, t)
        log_probs = without(without(z, self.mask_id).log_softmax(-1), self.mask_id)
        log_probs = carried_over(log_probs, x_t, self.mask_id)
        if self.parameterization == "subs":
            return Categorical(log_probs, x_t, process, t)
        odds = log_odds(process, broadcast_time(t, x_t)).unsqueeze(-1).to(z.dtype)
        score = (z + odds - math.log(self.vocab - 1)).masked_fill(one_hot(x_t, self.vocab).bool(), 0.0)
        return Categorical(log_probs, x_t, process, t, score)

    def config(self) -> dict[str, Any]:
        return {"vocab": self.vocab, "mask_id": self.mask_id, "parameterization": self.parameterization,
                "subs_masking": self.subs_masking}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Categorical:
    """p(x_0 | x_t), position by position.

    Args:
        log_probs: (B, *sizes, V) log-probabilities, float32 or float64; impossible tokens have `NEVER`.
        x_t: (B, *sizes) int64, the tokens it is about.
        process: of `x_t`.
        t: its times, (B,) or broadcasting against `x_t`.
        native_log_score: (B, *sizes, V) log-ratios of a network trained on scores, which need not be normalised.

    >>> from gencore.processes.absorbing import Absorbing
    >>> x, t = torch.tensor([[3, 1]]), torch.tensor([0.5])
    >>> d = TokenPrediction(4, mask_id=3).read(torch.zeros(1, 2, 4), x, Absorbing(3), t)
    >>> d.x0.tolist(), [round(p, 3) for p in d.probs[0, 0].tolist()]
    ([[0, 1]], [0.333, 0.333, 0.333, 0.0])
    """

    log_probs: Tensor
    x_t: Tensor
    process: AbsorbingProcess
    t: Tensor
    native_log_score: Tensor | None = None

    @property
    def masked(self) -> Tensor:
        """(B, *sizes) bool, where `x_t` is the mask."""
        return self.x_t == self.process.mask_id

    @property
    def x0(self) -> Tensor:
        """(B, *sizes) int64: the likeliest token of every masked position, which is never the mask."""
        return torch.where(self.masked, without(self.log_probs, self.process.mask_id).argmax(-1), self.x_t)

    @property
    def probs(self) -> Tensor:
        """(B, *sizes, V) float64, what categorical draws are made from."""
        return self.log_probs.to(torch.float64).exp()

    @property
    def entropy(self) -> Tensor:
        """(B, *sizes) float64, nats."""
        log_probs = self.log_probs.to(torch.float64)
        return -(log_probs.exp() * log_probs).sum(-1)

    def log_prob(self, tokens: Tensor) -> Tensor:
        """log p of given `tokens`, position by position; the shape of `tokens`, in the dtype of `log_probs`.

        Args:
            tokens: (B, *sizes) int64, or (B, k, *sizes) for k candidates a sample.
        """
        table = self.log_probs
        if tokens.ndim > self.x_t.ndim:
            table = table.unsqueeze(1).expand(*tokens.shape, -1)
        return table.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)

    @property
    def score(self) -> Tensor:
        """The ratios s(v), (B, *sizes, V) float64: at a masked position p(v) / (e^sigma - 1) and 1 for the mask, or
        those of a network trained on scores.  At an open one, which no step changes, 1 for its token and, as published,
        e^sigma - 1 for the mask."""
        odds = log_odds(self.process, broadcast_time(self.t, self.x_t)).exp().unsqueeze(-1)
        hidden = self.masked.unsqueeze(-1)
        if self.native_log_score is None:
            score = torch.where(hidden, self.probs * odds, one_hot(self.x_t, self.log_probs.shape[-1]).double())
        else:
            score = self.native_log_score.to(torch.float64).exp()
            score = torch.where(hidden, score, one_hot(self.x_t, self.log_probs.shape[-1]).double())
        here = torch.zeros_like(score, dtype=torch.bool)
        here[..., self.process.mask_id] = True
        return torch.where(here, torch.where(hidden, 1.0, 1 / odds), score)

    def with_log_probs(self, log_probs: Tensor) -> Categorical:
        """The same question answered otherwise (temperature, resampling): `log_probs` (B, *sizes, V), normalised."""
        return replace(self, log_probs=log_probs, native_log_score=None)

    def certain(self, tokens: Tensor) -> Categorical:
        """All probability on `tokens` (B, *sizes)."""
        table = torch.full_like(self.log_probs, NEVER)
        return self.with_log_probs(table.scatter(-1, tokens.unsqueeze(-1), 0.0))

    def cells(self, part: slice) -> Categorical:
        """The positions `part` of every sample, counted in raster order: (B, n, V) about (B, n) tokens."""
        t = self.t if self.t.ndim == 1 else self.t.expand(self.x_t.shape).flatten(1)[:, part]
        tables = (None if a is None else a.flatten(1, -2)[:, part] for a in (self.log_probs, self.native_log_score))
        log_probs, native = tables
        assert log_probs is not None
        return Categorical(log_probs, self.x_t.flatten(1)[:, part], self.process, t, native)


def log_odds(process: AbsorbingProcess, t: Tensor) -> Tensor:
    """-log(e^sigma - 1) = log((1 - m) / m) at times `t`, float64; the process's, whatever the network is told."""
    m = process.move_chance(t).clamp(min=1e-30)
    return torch.log1p(-m) - m.log()


def without(table: Tensor, token: int) -> Tensor:
    """`table` (..., V) with `NEVER` in the column of `token`."""
    column = torch.zeros(table.shape[-1], dtype=torch.bool, device=table.device)
    column[token] = True
    return table.masked_fill(column, NEVER)


def carried_over(log_probs: Tensor, x_t: Tensor, mask_id: int) -> Tensor:
    """`log_probs` (..., V) where an open token of `x_t` (...) is certain."""
    certain = torch.where(one_hot(x_t, log_probs.shape[-1]).bool(), 0.0, NEVER).to(log_probs.dtype)
    return torch.where((x_t == mask_id).unsqueeze(-1), log_probs, certain)


def draw(weights: Tensor, eps: Tensor) -> Tensor:
    """One token a position with probability proportional to `weights`: argmax of weight / exponential.

    Args:
        weights: (..., V) float64, 0 or more.
        eps: (..., V) float64 standard exponentials.  In float32 the tail of a distribution is never drawn.

    >>> draw(torch.tensor([[0.0, 1.0]]).double(), torch.tensor([[0.1, 9.0]]).double()).tolist()
    [1]
    """
    return (weights / eps).argmax(-1)
