"""diffusers' TaylorSeer hook around its own DiT with the weights of a default, in the same sampler.

Every setting is a point of error and speed-up; curves through each side's points are compared at equal error.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

import torch
from caching_equal import LEVELS, equal_error
from caching_theirs import Theirs
from kept import Kept
from pairs import rounds
from peer import error, require_equal
from torch import Tensor

from gencore.backbone import Backbone
from gencore.backbones.dit import DiT
from gencore.condition import Condition, Conditions
from gencore.context import Context
from gencore.pipeline import Pipeline
from gencore.tuning.audit import audit
from gencore.tuning.fidelity import fidelity

SETTINGS = [(2, 0, 3), (2, 1, 3), (2, 1, 6), (2, 2, 4), (3, 0, 3), (3, 1, 3), (3, 1, 6), (3, 2, 4), (4, 1, 3),
            (5, 1, 3), (6, 1, 4)]  # fmt: skip
"""Interval, order, warm-up, which both sides run."""

OWN = ["taylorseer:interval=2,order=1,warmup=2", "taylorseer:interval=3,order=1,warmup=4",
       "taylorseer:interval=3,order=2,warmup=4,basis=newton", "taylorseer:interval=4,order=1,warmup=4",
       "taylorseer:interval=3,order=1,warmup=4,lite=true", "first-block:threshold=0.1",
       "first-block:threshold=0.2"]  # fmt: skip
"""Further caches of this project, besides those `audit` finds on other samples."""

LABELS = [1, 3, 5, 8]
ROUNDS = 5


def against_diffusers(pipe: Pipeline, kept: Kept, *, quick: bool = False) -> dict[str, Any] | None:
    """Points of both sides, and their speed-ups at equal error; None where diffusers has no such network or hook.

    The quick run is of one setting and five steps, timed twice.

    Speed-ups are of the side's own uncached run, and under ``common`` of diffusers' uncached run, in each round by
    themselves.  ``same`` compares equal settings, ``all`` everything this project has.

    Raises:
        Unequal: the two networks do not compute the same.
    """
    ours = pipe.backbone
    if not isinstance(ours, DiT) or len(ours.patch) != 2 or list(ours.ports) != ["label"]:
        return None
    try:
        import diffusers.hooks.taylorseer_cache  # noqa: F401
    except ImportError:
        return None
    side = pipe.tokenizer.spec().sizes[-1]
    plain = Theirs(ours, side)
    x, t = torch.randn(2, *pipe.tokenizer.spec().sizes, generator=torch.Generator().manual_seed(0)), torch.rand(2) * 999
    with torch.no_grad():
        label: Conditions = {"label": Condition(torch.tensor([1, 3]))}
        require_equal(ours(x, t, label, Context()).pred, plain(x, t, label, Context()).pred, "the two networks")
    steps, count = (5, 2) if quick else (pipe.defaults.steps, ROUNDS)
    exact = _run(pipe, steps)
    points: dict[str, Any] = {}
    for interval, order, warmup in SETTINGS[:1] if quick else SETTINGS:
        hooked = Theirs(ours, side)
        hooked.enable(interval, order, warmup)
        text = f"taylorseer:interval={interval},order={order},warmup={warmup},schedule=diffusers"
        points[text] = kept.row(
            f"diffusers {text}", lambda h=hooked, s=text: _point(pipe, exact, plain, steps, count, s, h)
        )
        _say(text, points[text])
    found = [] if quick else [*OWN, *kept.row("diffusers audit", lambda: {"texts": _audited(pipe)})["texts"]]
    for text in found:
        points[text] = kept.row(f"diffusers {text}", partial(_point, pipe, exact, plain, steps, count, text))
        _say(text, points[text])
    return {"points": points, "equal": equal_error(points)}


def _audited(pipe: Pipeline) -> list[str]:
    """The front of an audit on samples of other seeds and labels than the compared ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = audit(
            pipe,
            seed=100,
            label=[0, 2, 4, 6],
            search=["taylorseer:order=1", "taylorseer:order=2,basis=newton"],
            caches=[],
        )
    return [point.text for point in done.front if min(LEVELS) - 5 < point.fidelity.mean < max(LEVELS) + 5]


def _point(pipe: Pipeline, exact: Tensor, plain: Theirs, steps: int, count: int, text: str,
           hooked: Theirs | None = None) -> dict[str, Any]:  # fmt: skip
    """Errors in dB, and seconds of the cached and uncached runs of both sides in every round."""
    bare = _with(pipe, plain)
    runs: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: _run(pipe, steps, text),
        "ours_uncached": lambda: _run(pipe, steps),
        "theirs_uncached": lambda: _run(bare, steps),
    }
    made = runs["ours"]()
    row: dict[str, Any] = {"psnr": fidelity(made, exact).mean}
    if hooked is not None:
        peer = _with(pipe, hooked)

        def theirs() -> Tensor:
            hooked.fresh()
            return _run(peer, steps)

        runs["theirs"], other = theirs, theirs()
        row |= {"peer_psnr": fidelity(other, exact).mean, "apart": error(made, other)}
    # All of them have run before, and a median of rounds forgets a slow first one.
    seconds = zip(*rounds(list(runs.values()), count, warm=0), strict=True)
    return {**row, "seconds": {name: list(values) for name, values in zip(runs, seconds, strict=True)}}


def _say(text: str, row: dict[str, Any]) -> None:
    seconds = {name: statistics.median(values) for name, values in row["seconds"].items()}
    said = f"{row['psnr']:.1f} dB, {seconds['ours_uncached'] / seconds['ours']:.2f} times faster than uncached"
    if "theirs" in seconds:
        said += (f"; theirs {row['peer_psnr']:.1f} dB, {seconds['theirs_uncached'] / seconds['theirs']:.2f} times; "
                 f"{seconds['ours'] / seconds['theirs']:.2f}x its time")  # fmt: skip
    print(f"caching against diffusers {text}: {said}", flush=True)


def _with(pipe: Pipeline, net: Backbone) -> Pipeline:
    other = copy(pipe)
    other.backbone = net
    return other


def _run(pipe: Pipeline, steps: int, *caches: str) -> Tensor:
    return pipe.generate(n=4, label=LABELS, seed=0, steps=steps, interceptors=list(caches)).tensor
