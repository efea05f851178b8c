"""The exact bound of a masked diffusion model on -log p(x), in bits a token, with its standard error.

The continuous-time bound of arXiv:2406.07524 is an integral over the masked share m, the same for every schedule,

    int_0^1 dm / m  E[sum over masked positions of -log p(x_i | x_t)]  =  L / n  E[the same for n masked positions],

where n is uniform on 1 .. L and the n positions are any (arXiv:2502.09992, eq. 6; autoregression in any order:
arXiv:2110.02037).  The right-hand side needs no time and has no noise in n, so it is what is estimated: n stratified
over the draws of a sequence, positions keyed.  A network with a time is shown the one at which n tokens are masked on
average, which bounds its samples token by token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gencore.backbone import Backbone
from gencore.condition import Condition
from gencore.context import Context
from gencore.errors import InputError
from gencore.noise import Keyed, Noise
from gencore.processes.absorbing import Absorbing


@dataclass(frozen=True, slots=True)
class TokenBits:
    """A figure in bits a token.

    Args:
        bits: the mean over all counted tokens.
        stderr: its standard error: of the choice of sequences and of the draws together; nan for one sequence.
        tokens, sequences, draws: what it was measured on.
    """

    bits: float
    stderr: float
    tokens: int
    sequences: int
    draws: int

    @property
    def perplexity(self) -> float:
        return 2.0**self.bits


def token_bits(nll: Tensor, tokens: Tensor, draws: int = 1) -> TokenBits:
    """The figure of sequences with `nll` (N,) nats over `tokens` (N,) tokens each.

    >>> token_bits(math.log(2) * torch.tensor([2.0, 4.0]).double(), torch.tensor([1, 2]))
    TokenBits(bits=2.0, stderr=0.0, tokens=3, sequences=2, draws=1)
    """
    total, count, n = nll.double() / math.log(2), tokens.double(), len(nll)
    bits = (total.sum() / count.sum()).item()
    off = total - bits * count
    spread = math.sqrt(n / (n - 1) * off.square().sum().item()) if n > 1 else math.nan
    return TokenBits(bits, spread / count.sum().item(), int(count.sum()), n, draws)


class MaskedBound:
    """The bound on data of a discrete modality.

    Args:
        net: a network over tokens, in evaluation mode.
        process: of its masking.
        draws: numbers of masked positions tried for each sequence.
        batch: sequences a network call.
        seed: sequence i draws from seed + i alone: the figure does not depend on the batch.

    Raises:
        InputError: draws or batch below 1.
    """

    def __init__(self, net: Backbone, process: Absorbing, *, draws: int = 8, batch: int = 32, seed: int = 0) -> None:
        if draws < 1 or batch < 1:
            raise InputError("draws" if draws < 1 else "batch", min(draws, batch), "1 or more")
        self.net, self.process, self.draws, self.batch, self.seed = net, process, draws, batch, seed

    def __call__(self, x0: Tensor, valid: Tensor | None = None, conditions: Mapping[str, Condition] | None = None,
                 progress: Callable[[int, int], None] | None = None) -> TokenBits:  # fmt: skip
        """The figure for tokens `x0` (N, *sizes) int64.

        Args:
            valid: bool, broadcasting against `x0`; other positions are shown as they are and not counted.
            conditions: N rows for every port of the network.
            progress: called with sequences done and N.

        Raises:
            InputError: a mask token inside the data, or a sequence of which nothing counts.
        """
        counted = torch.ones_like(x0, dtype=torch.bool) if valid is None else valid.expand(x0.shape)
        tokens = counted.flatten(1).sum(1)
        if not bool(tokens.all()):
            raise InputError("data", "a sequence without valid tokens", "one token or more in each")
        if bool((counted & (x0 == self.process.mask_id)).any()):
            raise InputError("data", f"the mask token {self.process.mask_id}", "clean tokens")
        parts = []
        for start in range(0, len(x0), self.batch):
            part = slice(start, start + self.batch)
            seeds = range(self.seed + start, self.seed + start + len(x0[part]))
            rows = {name: Condition(c.value[part], None if c.mask is None else c.mask[part], c.null)
                    for name, c in (conditions or {}).items()}  # fmt: skip
            parts.append(self.nll(x0[part], counted[part], rows, Keyed(seeds, prefix=("bound",), device=x0.device)))
            if progress is not None:
                progress(min(part.stop, len(x0)), len(x0))
        return token_bits(torch.cat(parts), tokens, self.draws)

    @torch.no_grad()
    def nll(self, x0: Tensor, counted: Tensor, conditions: Mapping[str, Condition], noise: Noise) -> Tensor:
        """The bound on -log p of each sequence, estimated, (B,) float64 nats; `counted` is bool like `x0`."""
        length = counted.flatten(1).sum(1)
        turn = noise.draw("uniform", ("count",), ()).to(torch.float64)
        total = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
        for k in range(self.draws):
            count = ((turn + k) / self.draws * length).long().clamp(max=length - 1) + 1
            order = noise.draw("exponential", ("order", k), tuple(x0.shape[1:]))
            place = order.masked_fill(~counted, torch.inf).flatten(1).argsort(1).argsort(1).reshape(x0.shape)
            hidden = place < count.reshape(-1, *(1,) * (x0.ndim - 1))
            t = self.process.time_at(count / length)
            x_t = torch.where(hidden, self.process.mask_id, x0)
            out = self.net(x_t, self.process.model_time(t), dict(conditions), Context()).pred
            log_p = self.net.prediction.read(out, x_t, self.process, t).log_prob(x0).to(torch.float64)
            nll = -torch.where(hidden, log_p, 0.0).flatten(1).sum(1)
            total += nll * length / count
        return total / self.draws
