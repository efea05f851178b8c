"""FlexAttention as a back end: the pattern's predicate becomes a block-sparse mask (arXiv:2412.05496)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from gencore.attend import keys_as_bias
from gencore.errors import InputError
from gencore.patterns import Full, Pattern


def flex(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, key_bias: Tensor | None) -> Tensor:
    """Attention by `torch.nn.attention.flex_attention`, for any pattern.

    Made for CUDA, where the operator is compiled on first use and skips blocks of keys no query of a block sees (no
    CUDA measurement stands behind this back end).  On a CPU it has no gradients.  Called eagerly there it is PyTorch's
    unfused fallback, about fifteen times slower than the default (1,024 tokens, 4 heads of 32, one core); inside
    ``torch.compile`` it is fused, and PyTorch 2.14 fails to compile `Segments`.

    Args:
        q, k, v: (B, H, Nq, D) and twice (B, H, Nk, D).
        pattern: which keys each query sees.
        key_bias: (B, Nk) added to the scores of each key, or None.

    Returns:
        (B, H, Nq, D).

    Raises:
        InputError: gradients are asked for on a CPU, which PyTorch does not have.
    """
    if q.device.type == "cpu" and any(x is not None and x.requires_grad for x in (q, k, v, key_bias)):
        hint = "leave attention at its default to train"
        raise InputError("attention", "flex with gradients on a CPU", "flex under torch.no_grad()", hint)
    make, operator = _block_mask, cast(Callable[..., Any], flex_attention)
    if not torch.compiler.is_compiling():
        pattern, key_bias = keys_as_bias(pattern, key_bias, k)
        # Patterns that hold tensors compare by identity: nothing to find again.
        if all(type(part).__eq__ is not object.__eq__ for part in pattern.parts()):
            make = _kept_block_mask
        operator = _compiled() if q.is_cuda else _unfused
    blocks = None if isinstance(pattern, Full) else make(pattern, q.shape[2], k.shape[2], q.device)
    score = None if key_bias is None else _adding(key_bias.expand(len(k), -1).to(q.dtype))
    return operator(q, k, v, score_mod=score, block_mask=blocks)


def _block_mask(pattern: Pattern, queries: int, keys: int, device: torch.device) -> BlockMask:
    pattern.check(queries, keys)
    shift = keys - queries

    def sees(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return pattern.sees(b, q + shift, k)

    return create_block_mask(sees, pattern.samples(), None, queries, keys, device=device)


# Making a block mask evaluates the predicate on every pair of positions.
_kept_block_mask = lru_cache(maxsize=64)(_block_mask)


def _adding(bias: Tensor) -> Callable[..., Tensor]:
    def score(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return score + bias[b, k]

    return score


@cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention)


def _unfused(*args: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        # The slowness it warns of is documented above.
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        return flex_attention(*args, **options)
