"""The transformer block all networks here are made of (arXiv:2406.07524), with or without adaLN.

    (s1, a1, g1, s2, a2, g2) = Linear(c)
    x <- x + g1 drop(Attn(LN(x) (1 + a1) + s1)),   x <- x + g2 drop(MLP(LN(x) (1 + a2) + s2))

Norms have a scale, attention has no bias, queries and keys are rotated in the half-split layout.  Without adaLN
shifts and scales are 0 and gates 1.
"""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor, nn

from gencore.backbone import Block
from gencore.context import Context
from gencore.errors import InputError
from gencore.nn.layers import Mlp, Norm, SelfAttention, modulate
from gencore.nn.rope import Rope
from gencore.patterns import Causal, Full
from gencore.stream import Hidden, Mod, Stream

MAIN = "x"
NORM_EPS = 1e-5


class Dropout(nn.Module):
    """Dropout whose masks are keyed by what the network is shown, so a resumed run draws the same ones.

    Args:
        rate: share of features set to 0 in training.

    Raises:
        InputError: a rate outside [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise InputError("dropout", rate, "a number from 0 up to, not including, 1")
        self.rate = rate
        self._generator: torch.Generator | None = None

    def key(self, shown: Tensor) -> None:
        """Take the masks of the coming call from `shown`, the tokens (B, L) of a training step."""
        if self.rate and self.training:
            digest = blake2b(shown.detach().cpu().contiguous().numpy().tobytes(), digest_size=7).digest()
            self._generator = torch.Generator(shown.device).manual_seed(int.from_bytes(digest, "little"))

    def forward(self, x: Tensor) -> Tensor:
        if not (self.rate and self.training):
            return x
        keep = torch.empty_like(x).bernoulli_(1 - self.rate, generator=self._generator)
        return x * keep / (1 - self.rate)


class TransformerBlock(Block):
    """One block over the main stream.

    Args:
        width, heads, mlp_ratio: its size.
        cond_dim: of the modulation vector; None for a block without adaLN.
        causal: whether each position sees itself and what is before it only.
        rope, dropout: shared by all blocks of a network.
    """

    def __init__(self, width: int, heads: int, *, mlp_ratio: float, cond_dim: int | None, causal: bool = False,
                 rope: Rope, dropout: Dropout) -> None:  # fmt: skip
        super().__init__()
        self.norm1, self.norm2 = (Norm(width, affine=True, eps=NORM_EPS) for _ in range(2))
        self.attn = SelfAttention(width, heads, bias=False)
        self.mlp = Mlp(width, round(width * mlp_ratio))
        self.modulation = None if cond_dim is None else zero_linear(cond_dim, 6 * width)
        self.pattern = Causal() if causal else Full()
        self.rope, self.dropout = rope, dropout

    def _attn(self, x: Tensor, stream: Stream, ctx: Context, *shift_scale: Tensor) -> Tensor:
        y = self.norm1(x)
        return self.dropout(self.attn(modulate(y, *shift_scale) if shift_scale else y, stream, ctx, self.rope,
                                      self.pattern))  # fmt: skip

    def _mlp(self, x: Tensor, *shift_scale: Tensor) -> Tensor:
        y = self.norm2(x)
        return self.dropout(self.mlp(modulate(y, *shift_scale) if shift_scale else y))

    def forward(self, h: Hidden, mod: Mod, ctx: Context) -> Hidden:
        stream = h[MAIN]
        x = stream.x
        if self.modulation is None:
            x = x + ctx.site("attn", self._attn, x, stream, ctx)
            x = x + ctx.site("mlp", self._mlp, x)
        else:
            s1, a1, g1, s2, a2, g2 = self.modulation(mod.c).chunk(6, dim=-1)
            x = torch.addcmul(x, g1, ctx.site("attn", self._attn, x, stream, ctx, s1, a1))
            x = torch.addcmul(x, g2, ctx.site("mlp", self._mlp, x, s2, a2))
        return {**h, MAIN: stream._replace(x=x)}


class Readout(nn.Module):
    """LN, optional adaLN (shift, scale), Linear: hidden states (B, L, width) to (B, L, out).

    The linear and the modulation start at 0.
    """

    def __init__(self, width: int, out: int, cond_dim: int | None) -> None:
        super().__init__()
        self.norm = Norm(width, affine=True, eps=NORM_EPS)
        self.modulation = None if cond_dim is None else zero_linear(cond_dim, 2 * width)
        self.linear = zero_linear(width, out)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        y = self.norm(x)
        if self.modulation is not None:
            y = modulate(y, *self.modulation(c).chunk(2, dim=-1))
        return self.linear(y)


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that gives 0 until it is trained."""
    linear = nn.Linear(inputs, outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def token_embedding(vocab: int, width: int) -> nn.Embedding:
    """Token vectors uniform in +-1/sqrt(width) (kaiming-uniform with a = sqrt 5)."""
    table = nn.Embedding(vocab, width)
    nn.init.kaiming_uniform_(table.weight, a=5**0.5)
    return table


def check_heads(width: int, heads: int) -> None:
    """Refuse a width that does not split into heads of an even number of features.

    Raises:
        InputError: names the width and what it must be a multiple of.
    """
    if heads < 1 or width % (2 * heads):
        raise InputError("width", width, f"a multiple of {2 * max(heads, 1)}: {heads} heads of an even width")
