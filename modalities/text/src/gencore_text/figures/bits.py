"""Bits a character of a text under a masked model, its energy corrections, and what they must beat.

A sampler of N steps opens every token in one of them, each as likely, by itself.  With S the tokens of a step,

    -log p(x_0) <= E[sum over steps of -log p(x_S | x_t)],

which for the plain sampler is a sum over tokens, and for an energy correction with k candidates, of which one is
picked with weights w = softmax(-E), the law of the pick (arXiv:2410.21357, algorithm 1) at S:

    p_k(x_S | x_t) = p_theta(x_S | x_t) k E[w_1 | candidate 1 holds x_S]

Its gain, log k E[w_1], is at most log k a step whatever the energy; averages inside the logarithm estimate it from
below.  So the corrected bound lies between those two, an interval that needs no normaliser.

The published figure (its equation 9) is the other one here: the corrected joint of all hidden tokens with estimates
of log Z from both sides, averaged over t.  It leaves out what the tokens tell of each other, so it is less than the
entropy of any text whose tokens depend on each other, and its ends are bounds for large n only: where the effective
number of samples is near 1, log Z is far from known.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gencore.categorical import draw
from gencore.context import Context
from gencore.metrics.elbo import MaskedBound, TokenBits, token_bits
from gencore.metrics.partition import log_partition
from gencore.noise import Keyed
from gencore.transforms.edlm import Energy, effective_number

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline

_BATCH = 4


class Texts(NamedTuple):
    """Held-out items.

    Args:
        tokens: (N, L) int64.
        characters: (N,) of each: equally many tokens are not equally many characters.
    """

    tokens: Tensor
    characters: Tensor

    @property
    def total(self) -> int:
        """Characters in all."""
        return int(self.characters.sum())

    @property
    def rate(self) -> float:
        """Tokens a character."""
        return self.tokens.numel() / self.total


class Hidden(NamedTuple):
    """Texts in the middle of a run.

    Args:
        prediction: of the denoiser.
        opened: (B, L) bool, the tokens that this step opens.
        share: (B,) float64, the chance that a hidden token is one of them.
        noise: keyed by text.
    """

    prediction: Any
    opened: Tensor
    share: Tensor
    noise: Keyed


def of_nll(nll: Tensor, texts: Texts, draws: int = 1) -> TokenBits:
    """Bits a character from -log p of each text (N,) in nats, with the standard error of the choice of texts."""
    return token_bits(nll.cpu(), texts.characters, draws)


def of_log_probs(log_probs: np.ndarray, texts: Texts) -> dict[str, Any]:
    """The same, JSON-able, from log-probabilities (N, L) in nats."""
    return row(of_nll(torch.from_numpy(-log_probs.sum(1)), texts))


def row(found: TokenBits) -> dict[str, Any]:
    """``bits`` and ``stderr``."""
    return {"bits": found.bits, "stderr": found.stderr}


def bound(pipe: Pipeline, texts: Texts, *, draws: int, seed: int = 0, batch: int = 32) -> TokenBits:
    """The bound of a denoiser in continuous time, in bits a character; the arguments are those of `at_steps`."""
    measure = MaskedBound(pipe.backbone, pipe.process, draws=draws)  # type: ignore[arg-type]
    parts = []
    for i in range(0, len(texts.tokens), batch):
        rows = texts.tokens[i : i + batch]
        noise = Keyed(range(seed + i, seed + i + len(rows)), prefix=("bound",), device=rows.device)
        parts.append(measure.nll(rows, torch.ones_like(rows, dtype=torch.bool), {}, noise))
    return of_nll(torch.cat(parts), texts, draws)


def at_steps(pipe: Pipeline, texts: Texts, steps: int, *, draws: int, seed: int = 0, batch: int = 32) -> TokenBits:
    """The bound of the plain ancestral sampler of `steps` steps, in bits a character.

    Args:
        draws: steps tried for each text, stratified over them.
        seed: text i draws from seed + i.
        batch: texts at a time.
    """
    x0, parts = texts.tokens, []
    for i in range(0, len(x0), batch):
        rows = x0[i : i + batch]
        nll = torch.zeros(len(rows), dtype=torch.float64)
        for k in range(draws):
            h = _hidden(pipe, rows, i, steps, seed, (k, draws))
            # Every hidden token stands for those that the step opens: the same mean with less noise.
            nll -= h.prediction.log_prob(rows).double().sum(1) * h.share * steps / draws
        parts.append(nll)
    return of_nll(torch.cat(parts), texts, draws)


@torch.no_grad()
def of_correction(pipe: Pipeline, energy: Energy, plain: TokenBits, free: TokenBits, texts: Texts, *, steps: int,
                  candidates: int, repeats: int = 6, seed: int = 0) -> dict[str, Any]:  # fmt: skip
    """The interval of a corrected sampler, and the published one.

    Args:
        plain: `at_steps` of the same texts.
        free: `bound` of the same texts.
        candidates: k.
        repeats: sets of candidates whose weights are averaged inside the logarithm, 2 or more; two of them are also
            the samples of log Z.
        seed: text i draws from seed + i.

    Returns:
        ``bits``: (low, high) bits a character, ``stderr`` of the high end's gain; ``steps``, ``candidates``,
        ``texts``; ``published``: (low, high), and ``published_effective``, of 2 k samples.
    """
    x0, length = texts.tokens, texts.tokens.shape[1]
    rows = [_step(pipe, energy, x0[i : i + _BATCH], i, len(x0), steps, candidates, repeats, seed)
            for i in range(0, len(x0), _BATCH)]  # fmt: skip
    gain, low, high, effective = (torch.cat(column) for column in zip(*rows, strict=True))
    a_character = steps / length / math.log(2) * texts.rate
    error = gain.std().item() / math.sqrt(len(gain)) * a_character
    published = [free.bits + end.mean().item() / math.log(2) * texts.rate for end in (low, high)]
    base = plain.bits
    return {"bits": (base - math.log(candidates) * a_character, base - gain.mean().item() * a_character),
            "stderr": math.hypot(error, plain.stderr), "steps": steps, "candidates": candidates,
            "texts": len(x0), "published": tuple(published),
            "published_effective": effective.mean().item()}  # fmt: skip


def _step(pipe: Pipeline, energy: Energy, x0: Tensor, start: int, of: int, steps: int, k: int, repeats: int, seed: int
          ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Of each text: the gain in nats of a step; both ends of the published change, in nats a hidden token; and the
    effective number of its samples."""
    h = _hidden(pipe, x0, start, steps, seed, (0, 1), of)
    d = h.prediction
    shape = (repeats * k, x0.shape[1], d.log_probs.shape[-1])
    drawn = draw(d.probs[:, None], h.noise.draw("exponential", ("candidates",), shape))
    free = energy(drawn[:, : 2 * k], d).double()
    sets = drawn.unflatten(1, (repeats, k)).clone()
    sets[:, :, 0] = torch.where(h.opened[:, None], x0[:, None], sets[:, :, 0])
    log_w = torch.log_softmax(-energy(sets.flatten(1, 2), d).double().unflatten(1, (repeats, k)), dim=2)[:, :, 0]
    gain = torch.where(h.opened.any(1), math.log(k) + log_w.logsumexp(1) - math.log(repeats), 0.0)
    z, own = log_partition(free), energy(x0[:, None], d)[:, 0].double()
    # Where nothing is hidden there is nothing to share out either.
    count = d.masked.sum(1).clamp(min=1)
    return gain, (own + z.lower) / count, (own + z.upper) / count, effective_number(torch.softmax(-free, dim=1))


@torch.no_grad()
def _hidden(pipe: Pipeline, x0: Tensor, start: int, steps: int, seed: int, part: tuple[int, int], of: int = 1
            ) -> Hidden:  # fmt: skip
    """Texts at a step of the ancestral sampler, stratified over the `part` (k-th of K draws) and `of` texts."""
    process, net = pipe.process, pipe.backbone
    count, length = x0.shape
    at, draws = part
    noise = Keyed(range(seed + start, seed + start + count), prefix=("bits", at), device=x0.device)
    turn = noise.draw("uniform", ("step",), ()).double()
    if of > 1:
        turn = (torch.arange(start, start + count, device=x0.device) + turn) / of
    step = ((at + turn) / draws * steps).long().clamp(max=steps - 1)
    # Token i is opened in step `when`; in a step whatever is not opened before it is hidden.
    when = (noise.draw("uniform", ("when",), (length,)).double() * steps).long().clamp(max=steps - 1)
    hidden = when >= step[:, None]
    left = (steps - step).double()
    x_t = torch.where(hidden, process.mask_id, x0)  # type: ignore[union-attr]
    t = process.time_at(left / steps)  # type: ignore[union-attr]
    prediction = net.prediction.read(net(x_t, process.model_time(t), {}, Context()).pred, x_t, process, t)
    return Hidden(prediction, when == step[:, None], 1 / left, noise)
