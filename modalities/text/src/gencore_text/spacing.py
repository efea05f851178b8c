"""A space that was given before a blank, kept by the piece that fills it.

Vocabularies of pieces hold the space at the front of a word: "the man" is "the" and " man".  So the space before a
blank is no token of its own; it is a condition on the token that comes there, which loses no word.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from gencore.categorical import NEVER, Categorical
from gencore.context import StepInfo
from gencore.noise import Noise


class SpaceFirst:
    """A prediction transform: tokens at some places are pieces that begin with a space.

    >>> from gencore.categorical import TokenPrediction
    >>> from gencore.noise import Keyed
    >>> from gencore.processes.absorbing import Absorbing
    >>> x, t = torch.full((1, 2), 3), torch.ones(1, dtype=torch.float64)
    >>> fair = TokenPrediction(4, mask_id=3).read(torch.zeros(1, 2, 4), x, Absorbing(3), t)
    >>> spaced = SpaceFirst([1], {0, 2}, x, torch.ones(1, 2, dtype=torch.bool))
    >>> [[round(p, 2) for p in row] for row in spaced(fair, StepInfo(), Keyed([0])).probs[0].tolist()]
    [[0.33, 0.33, 0.33, 0.0], [0.5, 0.0, 0.5, 0.0]]

    Args:
        places: positions.
        spaced: token ids that begin with a space.
        given: (1, L) int64, the layout the places are of.  It acts on no other text, as in later windows of a long one.
        free: (1, L) bool, where nothing is given.
    """

    def __init__(self, places: Iterable[int], spaced: Iterable[int], given: Tensor, free: Tensor) -> None:
        self.places, self.spaced, self.given, self.free = [*places], sorted(spaced), given, free

    def __call__(self, prediction: Categorical, info: StepInfo, noise: Noise) -> Categorical:
        """`prediction` with the probability at the places shared out among such pieces."""
        x, log_probs = prediction.x_t, prediction.log_probs
        given, free = (part[:, : x.shape[1]].to(x.device) for part in (self.given, self.free))
        ours = ((x == given) | free | prediction.masked).all(1, keepdim=True)
        here = ours & prediction.masked[:, self.places]
        other = torch.ones(log_probs.shape[-1], dtype=torch.bool, device=x.device)
        other[self.spaced] = False
        rows = log_probs[:, self.places]
        kept = rows.masked_fill(other, NEVER).log_softmax(-1).masked_fill(other, NEVER)
        changed = log_probs.clone()
        changed[:, self.places] = torch.where(here[..., None], kept, rows)
        return prediction.with_log_probs(changed)

    def config(self) -> dict[str, Any]:
        return {"places": self.places}
