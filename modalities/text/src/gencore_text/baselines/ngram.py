"""Interpolated n-grams with modified Kneser-Ney smoothing (Kneser and Ney 1995; Chen and Goodman 1999).

    p_k(w | h) = max(c(h w) - D(c), 0) / c(h .) + gamma(h) p_{k-1}(w | h'),     p_0 = 1 / V
    gamma(h)   = (D_1 N_1(h .) + D_2 N_2(h .) + D_3 N_3+(h .)) / c(h .)

h' is h without its first token, and a context never seen leaves p_{k-1} as it is.  The longest k-grams have their
counts c; a shorter one is counted by the different tokens it was seen after.  The discounts of an order come from how
many of its k-grams were counted 1 to 4 times, n_1 .. n_4:  Y = n_1 / (n_1 + 2 n_2),  D_j = j - (j+1) Y n_{j+1} / n_j.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gencore.errors import InputError

Ids = NDArray[np.int64]
_ROOT = 0
_UNSEEN = -1
_FALLBACK, _LEAST = 0.5, 0.05


@dataclass(frozen=True)
class _Grams:
    """All k-grams of one length k; a k-gram's id is its row.

    Args:
        keys: (N,) sorted, context id * vocab + last token; the context is a (k-1)-gram's id.
        seen: (N,) occurrences.
        after: (N,) different tokens before it; empty for the longest.
        contexts: number of (k-1)-grams.
    """

    keys: Ids
    seen: Ids
    after: Ids
    contexts: int


@dataclass(frozen=True)
class _Order:
    """One line of the recursion: by k-gram max(c - D, 0) / c(h .), by context gamma(h), NaN where h was never seen."""

    keys: Ids
    kept: NDArray[np.float64]
    gamma: NDArray[np.float64]


@dataclass(frozen=True)
class NGram:
    """A fitted model of tokens 0..vocab - 1; see `fit_ngram`.

    >>> model = fit_ngram(np.array([0, 1, 0, 1, 0, 1, 0, 1]), vocab=2, order=2)
    >>> bool(model.log_probs(np.array([0, 1, 0]))[2] > np.log(0.8))
    True
    """

    vocab: int
    order: int
    grams: tuple[_Grams, ...]
    orders: tuple[_Order, ...]

    @property
    def name(self) -> str:
        return f"ngram-{self.order}"

    def at(self, order: int) -> NGram:
        """The model of a smaller order on the same text.

        Raises:
            InputError: an order outside 1..order.
        """
        if not 1 <= order <= self.order:
            raise InputError("order", order, f"1..{self.order}")
        grams = self.grams[:order]
        shorter = (*grams[:-1], replace(grams[-1], after=grams[-1].after[:0]))
        return NGram(self.vocab, order, shorter, tuple(_smoothed(g, self.vocab) for g in shorter))

    def log_probs(self, tokens: Ids) -> NDArray[np.float64]:
        """Log-probability, in nats, of every token of sequences (L,) or (B, L), each from the tokens before it.

        Raises:
            InputError: a token outside 0..vocab - 1.
        """
        x = np.atleast_2d(np.asarray(tokens, np.int64))
        _check(x, self.vocab)
        p = np.full(x.shape, 1 / self.vocab)
        # The ids of the (k-1)-grams that end just before each token.
        context: Ids = np.full(x.shape, _ROOT)
        for order in self.orders:
            gram = _find(order.keys, np.where(context == _UNSEEN, _UNSEEN, context * self.vocab + x))
            gamma = np.where(context == _UNSEEN, np.nan, order.gamma[np.maximum(context, 0)])
            kept = np.where(gram == _UNSEEN, 0.0, order.kept[np.maximum(gram, 0)])
            p = np.where(np.isnan(gamma), p, kept + gamma * p)
            context = np.concatenate([np.full((len(x), 1), _UNSEEN), gram[:, :-1]], axis=1)
        return np.log(p).reshape(np.shape(tokens))


def fit_ngram(tokens: Ids, *, vocab: int, order: int) -> NGram:
    """The n-grams of a text.

    Args:
        tokens: (N,) token ids.
        vocab: how many tokens there are; unseen ones keep a share.
        order: longest n-gram, 1 for single tokens.

    Raises:
        InputError: fewer tokens than the order, or tokens outside the vocabulary.
    """
    x = np.asarray(tokens, np.int64)
    if x.ndim != 1 or order < 1 or len(x) < order:
        raise InputError("order", f"{order} with tokens {x.shape}", "1 or more, and at least as many tokens in a row")
    _check(x, vocab)
    ends: Ids = np.full(len(x), _ROOT)
    contexts, found = 1, []
    for k in range(1, order + 1):
        # One token more: the (k-1)-gram that ends before a token, then that token.
        before = ends if k == 1 else ends[:-1]
        keys, first, ids, seen = np.unique(
            before * vocab + x[k - 1 :], return_index=True, return_inverse=True, return_counts=True
        )
        if k > 1:
            shorter = found[-1]
            after = np.bincount(ends[1:][first], minlength=len(shorter.keys))
            found[-1] = replace(shorter, after=after)
        found.append(_Grams(keys, seen, np.empty(0, np.int64), contexts))
        ends, contexts = ids, len(keys)
    return NGram(vocab, order, tuple(found), tuple(_smoothed(grams, vocab) for grams in found))


def choose_order(model: NGram, tokens: Ids) -> NGram:
    """The order of `model` or a smaller one that gives validation `tokens`, (L,) or (B, L), the highest likelihood."""
    return max((model.at(order) for order in range(1, model.order + 1)), key=lambda m: m.log_probs(tokens).mean())


def _smoothed(grams: _Grams, vocab: int) -> _Order:
    counts = grams.after if len(grams.after) else grams.seen
    discounts, context = _discounts(counts), grams.keys // vocab
    discount = np.where(counts == 0, 0.0, discounts[np.clip(counts, 1, 3) - 1])
    total = np.bincount(context, counts, grams.contexts)
    with np.errstate(invalid="ignore", divide="ignore"):
        gamma = np.where(total > 0, np.bincount(context, discount, grams.contexts) / total, np.nan)
        kept = np.where(total[context] > 0, np.maximum(counts - discount, 0) / total[context], 0.0)
    return _Order(grams.keys, kept, gamma)


def _discounts(counts: Ids) -> NDArray[np.float64]:
    """D_1, D_2, D_3+ of an order; 1/2 where some count of counts is zero, and never so small that nothing is left."""
    n1, n2, n3, n4 = (int((counts == j).sum()) for j in (1, 2, 3, 4))
    if not n1 * n2 * n3 * n4:
        return np.full(3, _FALLBACK)
    y = n1 / (n1 + 2 * n2)
    estimates = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.array([min(max(d, _LEAST), j) for j, d in enumerate(estimates, start=1)])


def _find(keys: Ids, wanted: Ids) -> Ids:
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, _UNSEEN)


def _check(x: Ids, vocab: int) -> None:
    if x.size and (x.min() < 0 or x.max() >= vocab):
        raise InputError("token id", int(x.min() if x.min() < 0 else x.max()), f"0..{vocab - 1}")
