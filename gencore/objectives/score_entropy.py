"""The score entropy of masked diffusion (SEDD, arXiv:2310.16834, eq. 6 and 8).

At a masked position, with r = 1 / (e^sigma - 1) the true ratio of the token that was there,

    L = sigma'(t) ( sum_{v != mask} s(v) - r log s(x_0) + r (log r - 1) )  >=  0,  and 0 elsewhere
"""

from __future__ import annotations

import torch
from torch import Tensor

from gencore.categorical import Categorical, log_odds, without
from gencore.errors import InputError
from gencore.processes.absorbing import Absorbing
from gencore.spec import broadcast_time


def score_entropy(d: Categorical, x0: Tensor, process: Absorbing) -> Tensor:
    """The loss of every position (B, *sizes), nats, in the dtype of the scores.

    Args:
        d: of a network trained on scores.
        x0: (B, *sizes) int64, the clean tokens.

    Raises:
        InputError: a prediction without scores.
    """
    log_score = d.native_log_score
    if log_score is None:
        raise InputError("parameterization", "no scores", "sedd")
    t = broadcast_time(d.t, x0)
    # The total noise is the process's: a network without a time sees 0, where its ratio would be infinite.
    log_r = log_odds(process, t).to(log_score.dtype)
    r = log_r.exp()
    total = without(log_score, process.mask_id).exp().sum(-1)
    own = log_score.gather(-1, x0.unsqueeze(-1)).squeeze(-1)
    each = process.d_sigma(t).to(r.dtype) * (total - r * own + r * (log_r - 1))
    return torch.where(d.masked, each, 0.0)
