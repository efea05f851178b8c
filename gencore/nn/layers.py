"""Layers every transformer here is made of: modulated norms, self and cross attention, the feed-forward."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencore.attend import KV, Rotary, attend
from gencore.context import Context
from gencore.patterns import Full, KeyMask, Pattern
from gencore.stream import Stream

NormKind = Literal["layer", "rms"]


class Norm(nn.Module):
    """LayerNorm or RMSNorm without parameters unless `affine`."""

    def __init__(self, dim: int, kind: NormKind = "layer", *, affine: bool = False, eps: float = 1e-6) -> None:
        super().__init__()
        self.dim, self.kind, self.eps = (dim,), kind, eps
        self.weight = nn.Parameter(torch.ones(dim)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "layer":
            return F.layer_norm(x, self.dim, self.weight, None, self.eps)
        return F.rms_norm(x, self.dim, self.weight, self.eps)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift with (B, 1 or N, D) modulation (adaLN, arXiv:2212.09748)."""
    return torch.addcmul(shift, x, 1 + scale)


class SelfAttention(nn.Module):
    """Multi-head self attention with one fused projection.

    Args:
        qk_norm: "layer" or "rms" normalises each head's queries and keys with a learned scale (arXiv:2302.05442).
        bias: whether both projections have one.
    """

    def __init__(self, dim: int, heads: int, *, qk_norm: NormKind | None = None, bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias), nn.Linear(dim, dim, bias)
        self.q_norm = Norm(dim // heads, qk_norm, affine=True) if qk_norm else nn.Identity()
        self.k_norm = Norm(dim // heads, qk_norm, affine=True) if qk_norm else nn.Identity()

    def forward(self, x: Tensor, stream: Stream, ctx: Context, rope: Rotary | None = None,
                pattern: Pattern = Full(), kind: str = "attn") -> Tensor:  # fmt: skip
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if stream.mask is not None:
            pattern = pattern & KeyMask(stream.mask)
        kv = KV(self.k_norm(k), v, stream.pos)
        out = attend(self.q_norm(q), kv, stream.pos, rope=rope, pattern=pattern, ctx=ctx, kind=kind)
        return self.proj(out.transpose(1, 2).reshape(b, n, d))


class CrossAttention(nn.Module):
    """Multi-head attention of one stream over another."""

    def __init__(self, dim: int, heads: int, *, qk_norm: NormKind | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.proj = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.q_norm = Norm(dim // heads, qk_norm, affine=True) if qk_norm else nn.Identity()
        self.k_norm = Norm(dim // heads, qk_norm, affine=True) if qk_norm else nn.Identity()

    def forward(self, x: Tensor, context: Stream, ctx: Context) -> Tensor:
        b, n, d = x.shape
        q = self.q(x).view(b, n, self.heads, -1).transpose(1, 2)
        k, v = self.kv(context.x).view(b, context.x.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        pattern = Full() if context.mask is None else KeyMask(context.mask)
        out = attend(self.q_norm(q), KV(self.k_norm(k), v), pattern=pattern, ctx=ctx, kind="cross")
        return self.proj(out.transpose(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
    """Linear - tanh-approximated GELU - Linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
