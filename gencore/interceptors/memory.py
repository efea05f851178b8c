"""What a cache remembers of a run: one entry for every request, guidance branch, solver stage and site."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gencore.context import Context
from gencore.errors import InputError
from gencore.interceptors.polynomial import Fit
from gencore.sampler import Sampler

Features = Mapping[str, Tensor]
"""Tensors (B, ...) by name: of a sub-layer, or of the streams of a range of blocks."""

Store = Mapping[tuple[str, ...], Any]


@dataclass
class Entry:
    """One site of one branch.

    Args:
        shapes: of the input, for one branch.
        steps: that were computed, counted over the whole run; the last one is the latest.
        fits: by name of the feature.
        answered: calls that were not computed.
        misses: relative distances between what the cache would have answered and what was computed, 0-dim.
    """

    shapes: tuple[tuple[str | int, ...], ...]
    steps: list[int] = field(default_factory=list)
    fits: dict[str, Fit] = field(default_factory=dict)
    answered: int = 0
    misses: list[Tensor] = field(default_factory=list)


def shapes(features: Features, lanes: int) -> tuple[tuple[str | int, ...], ...]:
    """Their shapes for one of `lanes` equal shares of the rows."""
    return tuple((name, x.shape[0] // lanes, *x.shape[1:]) for name, x in features.items())


def keys(ctx: Context, kind: str, tag: str) -> list[tuple[str, ...]]:
    """Where the entries of a call are, one for every lane; `tag` tells interceptors apart."""
    return [(*ctx.key(kind, branch), tag) for branch in ctx.lanes]


def entries(ctx: Context, kind: str, tag: str, like: Features) -> list[Entry] | None:
    """The entries of all lanes, or None where one is missing, or not of an earlier step of this trajectory with this
    input shape.

    Raises:
        InputError: a call that a cache cannot answer: under differentiation, or with steps of no fixed number.
    """
    if ctx.info.n == 0:
        raise InputError("sampler", "one that chooses its own steps", "a fixed number of steps, which caches count")
    if any(_differentiated(x) for x in like.values()):
        raise InputError("interceptors", "a cache under differentiation", "none: what is cached has no derivative")
    found = [ctx.store.get(key) for key in keys(ctx, kind, tag)]
    expected = shapes(like, len(ctx.lanes))
    fit = all(e is not None and e.shapes == expected and began(ctx) <= e.steps[-1] < ctx.info.index for e in found)
    return found if fit else None  # type: ignore[return-value]


def began(ctx: Context) -> int:
    """The first step of the call's trajectory, counted over the whole run."""
    return ctx.info.index - ctx.info.i


def renewed(old: Entry | None, ctx: Context, like: Features) -> Entry:
    """The entry to learn into: `old`, without what it knows of another trajectory; a new one for another shape or a
    run that began anew."""
    shape = shapes(like, len(ctx.lanes))
    if old is None or old.shapes != shape or old.steps[-1] >= ctx.info.index:
        return Entry(shape)
    if old.steps[-1] < began(ctx):
        old.fits.clear()
    return old


def _differentiated(x: Tensor) -> bool:
    return (torch.is_grad_enabled() and x.requires_grad) or forward_ad.unpack_dual(x).tangent is not None


def distance(got: Tensor, wanted: Tensor) -> Tensor:
    """|got - wanted| / |wanted|, 0-dim."""
    return torch.linalg.vector_norm((got - wanted).float()) / torch.linalg.vector_norm(wanted.float()).clamp(min=1e-30)


def report(store: Store, tag: str, sampler: Sampler | None) -> dict[str, Any]:
    """What the interceptor `tag` did in a run.

    Returns:
        ``computed`` and ``answered`` calls of sites, counted once for every branch; ``steps`` computed at the first
        site, over the whole run; ``error``, the median relative distance of an answer from what was computed at the
        next computed step, None where none came later;
        ``bytes`` held at the end; ``sites``: {branch, stage and name: bytes of every order}.
    """
    own = {" ".join(filter(None, key[1:4])): entry for key, entry in _own(store, tag)}
    misses = [miss for entry in own.values() for miss in entry.misses]
    error = float(torch.stack(misses).median()) if misses else None
    sites = {name: _bytes(entry) for name, entry in own.items()}
    answered = sum(entry.answered for entry in own.values())
    if not own:
        warnings.warn(f"{tag.partition('#')[0]}: this network has no such site; nothing was cached", stacklevel=2)
    elif answered and sampler is not None and sampler.draws is not None:
        found = "nothing was computed later to tell how far off its answers were" if error is None else (
            f"its answers were {error:.1%} off what was computed next")  # fmt: skip
        warnings.warn(
            f"{tag.partition('#')[0]}: {type(sampler).__name__} draws noise at every step, which no cache foresees: "
            f"{found}; a sampler that draws none suits it better",
            stacklevel=2,
        )
    return {
        "computed": sum(len(entry.steps) for entry in own.values()), "answered": answered,
        "steps": next((entry.steps for entry in own.values()), []), "error": error,
        "bytes": sum(map(sum, sites.values())), "sites": sites,
    }  # fmt: skip


def _own(store: Store, tag: str) -> Iterator[tuple[tuple[str, ...], Entry]]:
    return ((key, value) for key, value in store.items() if key[-1] == tag and isinstance(value, Entry))


def _bytes(entry: Entry) -> list[int]:
    depth = max((len(fit.terms) for fit in entry.fits.values()), default=0)
    sizes = [[term.nbytes for term in fit.terms] for fit in entry.fits.values()]
    return [sum(size[i] for size in sizes if i < len(size)) for i in range(depth)]
