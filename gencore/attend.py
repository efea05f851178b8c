"""The one attention function, on un-rotated queries and keys.

Which keys a query sees is a *pattern*, a value from `gencore.patterns`; who computes it is a back end that registers
by name.  Interceptors reach keys and values here, before the rotary embedding, so a cached key can be placed anew.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from gencore.context import Context
from gencore.errors import InputError, nearest
from gencore.patterns import Causal, Full, KeyMask, Pattern, intersection


class KV(NamedTuple):
    """Keys and values (B, H, N, D) and the keys' coordinates (N, A) or (B, N, A)."""

    k: Tensor
    v: Tensor
    pos: Tensor | None = None


class Rotary(Protocol):
    """A rotary embedding: (B, H, N, D) values at coordinates (N, A) or (B, N, A)."""

    def __call__(self, x: Tensor, pos: Tensor) -> Tensor: ...


BackEnd = Callable[[Tensor, Tensor, Tensor, Pattern, Tensor | None], Tensor]
"""(q, k, v, pattern, key_bias) -> (B, H, Nq, D), as `attend` defines it once queries and keys are rotated."""


def attend(q: Tensor, kv: KV, pos_q: Tensor | None = None, *, rope: Rotary | None = None, pattern: Pattern = Full(),
           key_bias: Tensor | None = None, ctx: Context | None = None, kind: str = "attn") -> Tensor:  # fmt: skip
    """softmax(q k^T / sqrt(D) + bias) v over the keys `pattern` allows; 0 for a query that sees no key.

    Args:
        q: (B, H, Nq, D) queries before any rotary embedding.
        kv: keys and values, (B, H, Nk, D).
        pos_q: coordinates of the queries, (Nq, A) or (B, Nq, A).
        rope: rotary embedding applied to queries and keys where both have coordinates, or None.
        pattern: which keys each query sees.
        key_bias: (B, Nk) added to the scores of each key; -inf hides it.
        ctx: the call's context: its interceptor sees `kv` (under `kind`), its `attention` names the back end.

    Returns:
        (B, H, Nq, D).

    Raises:
        InputError: only one of queries and keys has coordinates, the pattern is not defined for these counts, or
            there is no such back end.
    """
    name = ""
    if ctx is not None:
        name = ctx.attention
        if ctx.interceptor is not None:
            kv = ctx.interceptor.kv(kind, kv, ctx)
    k = kv.k
    if rope is not None:
        if (pos_q is None) != (kv.pos is None):
            missing = "queries" if pos_q is None else "keys"
            raise InputError("positions", f"none for the {missing}", "coordinates for queries and keys, or for neither")
        if pos_q is not None and kv.pos is not None:
            q, k = rope(q, pos_q), rope(k, kv.pos)
    return back_end(name)(q, k, kv.v, pattern, key_bias)


_SMALLEST_SLICE = 16
"""Mean queries per slice below which one masked attention beats a loop of small ones (measured on one CPU core)."""


def sdpa(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, key_bias: Tensor | None) -> Tensor:
    """PyTorch's fused attention; patterns that split run as smaller attentions, the others through a mask."""
    if key_bias is None and isinstance(pattern, Full):
        return _full(q, k, v)
    pattern, key_bias = keys_as_bias(pattern, key_bias, k)
    queries, keys = q.shape[2], k.shape[2]
    if (groups := pattern.regroup(queries, keys)) is not None:
        bias = None if key_bias is None else groups.split(key_bias.expand(len(k), -1)[:, None, :, None])[:, 0, :, 0]
        return groups.merge(sdpa(groups.split(q), groups.split(k), groups.split(v), groups.inner, bias))
    slices = pattern.slices(queries, keys) or ()
    if len(slices) == 1 or 0 < _SMALLEST_SLICE * len(slices) <= queries:
        parts = [
            sdpa(q[:, :, rows], _ranges(k, 2, seen), _ranges(v, 2, seen), Full(),
                 None if key_bias is None else _ranges(key_bias, 1, seen))
            for rows, seen in slices
        ]  # fmt: skip
        return torch.cat(parts, dim=2)
    if key_bias is None and isinstance(pattern, Full):
        return _full(q, k, v)
    if key_bias is None and isinstance(pattern, Causal) and queries == keys:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    bias, blind = score_bias(pattern, q, k, key_bias)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return out if blind is None else out.masked_fill(blind, 0)


def _full(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    # The CPU kernel's backward is slow on small attentions: 49 tokens took 48 ms there and 5 ms written out.
    if q.requires_grad and q.device.type == "cpu" and q.shape[2] * k.shape[2] <= 256**2:
        return math(q, k, v, Full(), None)
    return F.scaled_dot_product_attention(q, k, v)


def math(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, key_bias: Tensor | None) -> Tensor:
    """Written out in plain operations: the reference of every other back end, and differentiable in forward mode."""
    bias, blind = score_bias(pattern, q, k, key_bias)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    out = (scores if bias is None else scores + bias).softmax(-1) @ v
    return out if blind is None else out.masked_fill(blind, 0)


def keys_as_bias(pattern: Pattern, key_bias: Tensor | None, k: Tensor) -> tuple[Pattern, Tensor | None]:
    """`pattern` without its masks over keys alone, which become -inf in `key_bias` (1 or B, Nk): no (Nq, Nk) needed."""
    masks = [part for part in pattern.parts() if isinstance(part, KeyMask)]
    if not masks:
        return pattern, key_bias
    for mask in masks:
        mask.check(0, k.shape[2])
    seen = reduce(Tensor.logical_and, (mask.seen.to(k.device) for mask in masks))
    bias = k.new_zeros(()) if key_bias is None else key_bias
    rest = intersection([part for part in pattern.parts() if not isinstance(part, KeyMask)])
    return rest, torch.where(seen, bias, float("-inf"))


def score_bias(pattern: Pattern, q: Tensor, k: Tensor, key_bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """What to add to the scores, and which queries see no key at all.

    Returns:
        (Nq, Nk) or (1 or B, 1, 1 or Nq, Nk) in q's dtype, 0 throughout for a query that sees no key so that its softmax
        stays finite, and bool with 1 for Nk, True for those queries.  Both are None when nothing is to be added.
    """
    allowed = pattern.mask(q.shape[2], k.shape[2], q.device)
    if allowed is None and key_bias is None:
        return None, None
    if allowed is not None and allowed.ndim == 3:
        allowed = allowed[:, None]
    bias = q.new_zeros(())
    if key_bias is not None:
        bias = key_bias[:, None, None].to(q.dtype)
        finite = bias > float("-inf")
        bias = bias.where(finite, 0)
        allowed = finite if allowed is None else allowed & finite
    assert allowed is not None
    blind = ~allowed.any(-1, keepdim=True)
    return torch.where(allowed | blind, bias, float("-inf")), blind


def _ranges(x: Tensor, axis: int, ranges: tuple[slice, ...]) -> Tensor:
    parts = [x.narrow(axis, r.start, r.stop - r.start) for r in ranges]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=axis)


_BACK_ENDS: dict[str, BackEnd] = {"": sdpa, "sdpa": sdpa, "math": math}


def register(name: str, fn: BackEnd) -> None:
    """Make a back end known in this process; a distribution declares one as ``provides={"attention": {name: ...}}``.

    Raises:
        InputError: the name means another back end already.
    """
    if _BACK_ENDS.setdefault(name, fn) is not fn:
        raise InputError("attention", repr(name), "a name that is not taken")


def back_end(name: str = "") -> BackEnd:
    """The back end called `name`, or the default for the empty name.

    Raises:
        InputError: neither this process nor a plug-in knows it.
        PluginError: its plug-in fails.
    """
    if name not in _BACK_ENDS:
        from gencore import plugins

        try:
            _BACK_ENDS[name] = cast(BackEnd, plugins.resolve("attention", name))
        except InputError as error:
            names = sorted({*filter(None, _BACK_ENDS), *plugins.provided("attention")})
            raise InputError("attention", repr(name), ", ".join(names), nearest(name, names) or error.hint) from None
    return _BACK_ENDS[name]
