"""The exact law of one resampled step from all masks, by enumeration of every set of candidates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations_with_replacement, islice
from typing import Any

import torch
from torch import Tensor

from gencore.categorical import Categorical, TokenPrediction
from gencore.processes.absorbing import Absorbing
from gencore.testing.cases import Got
from gencore.transforms.energies import ResidualEnergy
from gencore_text.golden.forced import resampled
from gencore_text.golden.setting import numbered

_AT_ONCE = 1 << 15


def toy(meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got:
    """The laws for every k of the case, their distances to the joint and to what they tend to."""
    vocab, length, temperature = (meta["config"][key] for key in ("vocab", "length", "temp"))
    joint = io["joint"].double()
    states = torch.cartesian_prod(*[torch.arange(vocab)] * length).reshape(-1, length)
    marginals = torch.zeros(length, vocab, dtype=torch.float64)
    for row, tokens in zip(marginals, states.T, strict=True):
        row.index_add_(0, tokens, joint)
    prediction = all_masked(marginals)
    energy = ResidualEnergy(lambda tokens: log_joint(tokens, joint, vocab))
    whole = states[:, None]
    rows = repeated(prediction, len(states))
    found = resampled(energy, rows, whole, temperature)
    proposal = rows.log_prob(whole).sum(-1)[:, 0].exp()
    limit = proposal ** (1 - 1 / temperature) * joint ** (1 / temperature)
    got = {"states": states, "marginals": marginals, "proposal": proposal, "energy": found.energy[:, 0],
           "limit": limit / limit.sum()}  # fmt: skip
    for k, name in numbered(list(io), r"k(\d+)/dist").items():
        law = resampled_law(prediction, states, proposal, energy, k, temperature)
        got |= {name: law, f"k{k}/sum": law.sum(), f"k{k}/tv": (law - joint).abs().sum() / 2,
                f"k{k}/tv_limit": (law - got["limit"]).abs().sum() / 2}  # fmt: skip
    return Got({name: value for name, value in got.items() if name in io}, inputs=("joint",))


def log_joint(tokens: Tensor, joint: Tensor, vocab: int) -> Tensor:
    """log p of whole states (N, L), written as the token log-probabilities (N, L) of a model that knows it at once."""
    places = vocab ** torch.arange(tokens.shape[1] - 1, -1, -1)
    first = joint[(tokens * places).sum(-1)].log()[:, None]
    return torch.cat([first, torch.zeros(len(tokens), tokens.shape[1] - 1, dtype=torch.float64)], dim=1)


def all_masked(marginals: Tensor) -> Categorical:
    """The exact factorised answer (1, L, V + 1) for masks alone; the mask is an id after the last."""
    length, vocab = marginals.shape
    logits = torch.cat([marginals.log(), torch.zeros(length, 1, dtype=torch.float64)], dim=1)[None]
    masks = torch.full((1, length), vocab)
    return TokenPrediction(vocab + 1, vocab).read(logits, masks, Absorbing(vocab), torch.ones(1, dtype=torch.float64))


def repeated(prediction: Categorical, rows: int) -> Categorical:
    return Categorical(prediction.log_probs.expand(rows, -1, -1), prediction.x_t.expand(rows, -1), prediction.process,
                       prediction.t.expand(rows))  # fmt: skip


def resampled_law(prediction: Categorical, states: Tensor, proposal: Tensor, energy: ResidualEnergy, k: int,
                  temperature: float) -> Tensor:  # fmt: skip
    """(S,) probability of picking each state among k candidates drawn from `proposal`."""
    law = torch.zeros(len(states), dtype=torch.float64)
    for chosen, orders in _sets(len(states), k):
        found = resampled(energy, repeated(prediction, len(chosen)), states[chosen], temperature)
        chance = orders * proposal[chosen].prod(dim=1)
        law.index_add_(0, chosen.flatten(), (chance[:, None] * found.weights).flatten())
    return law


def _sets(count: int, k: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Multisets of k of `count` states (N, k), and in how many orders each can be drawn."""
    sets = combinations_with_replacement(range(count), k)
    while some := list(islice(sets, _AT_ONCE)):
        orders = [math.factorial(k) / math.prod(map(math.factorial, Counter(part).values())) for part in some]
        yield torch.tensor(some), torch.tensor(orders, dtype=torch.float64)
