"""Text: what calling the network only where tokens changed saves, and what an energy correction buys at equal quality.

Quality is bits a token under an n-gram of the packaged excerpt, which neither network nor energy has seen; the entropy
of the tokens stands beside it, since repetition lowers both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pairs import Comparison, interleave

import gencore
from gencore.context import Interceptor
from gencore.nn.init import seeded
from gencore.pipeline import Pipeline
from gencore.transforms.edlm import Energy, EnergyCorrection
from gencore_text.baselines.ngram import fit_ngram
from gencore_text.data import open_text
from gencore_text.energies import PACKAGED, named
from gencore_text.figures.quality import sampled, speed_up
from gencore_text.presets import tiny

STEPS = (4, 8, 16, 32)
CANDIDATES, SAMPLES, ORDER = 4, 8, 4


def measure(quick: bool) -> dict[str, Any]:
    """Rows ``cached`` and, by energy, ``edlm``; the quick run is of an untrained network and of the first alone."""
    pipe = _untrained() if quick else gencore.load("text", device="cpu")
    rows: dict[str, Any] = {"cached": _cached(pipe, (60,) if quick else (64, 256), 2 if quick else 5)}
    if quick:
        return rows
    data = open_text(None, pipe.tokenizer)
    judges = {"ngram": fit_ngram(data.tokens.astype(np.int64), vocab=pipe.tokenizer.spec().vocab or 0,
                                 order=ORDER).log_probs}  # fmt: skip
    plain = {steps: sampled(pipe, judges, n=SAMPLES, steps=steps, seed=0) for steps in (*STEPS, 2 * STEPS[-1])}
    for steps, row in plain.items():
        print(f"plain, {steps} steps: {_said(row)}", flush=True)
    rows |= {"plain": {str(steps): row for steps, row in plain.items()}, "edlm": {}}
    for name in PACKAGED:
        try:
            energy = named(name, pipe)
        except gencore.GencoreError as fault:
            print(f"{name}: left out, {fault}", flush=True)
            continue
        rows["edlm"][name] = _corrected(pipe, energy, name, plain, judges)
    return rows


def _untrained() -> Pipeline:
    pipe = tiny(open_text(None)).pipeline
    with seeded(0), torch.no_grad():
        for tensor in pipe.backbone.parameters():
            if not bool(tensor.any()):
                torch.nn.init.normal_(tensor, std=0.1)
    return pipe


def _cached(pipe: Pipeline, grids: tuple[int, ...], pairs: int) -> dict[str, Any]:
    """Ancestral sampling in `grids` steps with the network asked only where a token changed, and at every step.

    With anyone listening to its sub-layers a network is always called: that is the plain sampler.
    """
    length, rows = pipe.tokenizer.spec().sizes[0], {}
    for steps in grids:

        def run(steps: int = steps, **options: Any) -> Any:
            return pipe.generate(seed=0, steps=steps, sampler="ancestral", **options)

        ours, theirs = run(), run(interceptors=[Interceptor()])
        if not torch.equal(ours.tensor, theirs.tensor):
            raise AssertionError(f"{steps} steps: the cached text is another one")
        found = interleave(run, lambda: run(interceptors=[Interceptor()]), pairs)
        rows[str(steps)] = {
            "calls": ours.timing["calls"], "plain_calls": theirs.timing["calls"],
            "tokens_per_second": length / found.seconds.median,
            "plain_tokens_per_second": length / found.peer_seconds.median, **found.row(),
        }  # fmt: skip
        print(f"{steps} steps of {length} tokens: equal text, {ours.timing['calls']:.0f} of "
              f"{theirs.timing['calls']:.0f} calls, {_rates(found, length)}, {found}", flush=True)  # fmt: skip
    return rows


def _corrected(pipe: Pipeline, energy: Energy, name: str, plain: dict[int, Any], judges: dict[str, Any]
               ) -> dict[str, Any]:  # fmt: skip
    """Each number of steps with the plain run that is as good, in calls, passes and seconds."""
    rows: dict[str, Any] = {}
    for steps in STEPS:
        row = sampled(pipe, judges, n=SAMPLES, steps=steps, seed=0, energy=energy, candidates=CANDIDATES)
        for cost in ("calls", "passes"):
            curve = [(float(other[cost]), other["ngram_bits"]) for other in plain.values()]
            row[f"fewer_{cost}"] = speed_up(curve, row[cost], row["ngram_bits"])
        print(
            f"{name}, {steps} steps, {CANDIDATES} candidates: {_said(row)}, at equal quality "
            f"{_times(row['fewer_calls'])} fewer calls and {_times(row['fewer_passes'])} fewer passes",
            flush=True,
        )
        equal = next((n for n, other in plain.items() if other["ngram_bits"] <= row["ngram_bits"]), None)
        if equal is not None:
            transform = EnergyCorrection(energy, CANDIDATES)
            found = interleave(lambda: pipe.generate(seed=0, n=2, steps=steps, transforms=[transform]),  # noqa: B023
                               lambda: pipe.generate(seed=0, n=2, steps=equal), 3, warm=0)  # noqa: B023  # fmt: skip
            row |= {"equal_steps": equal, "time": found.row()}
            made = 2 * pipe.tokenizer.spec().sizes[0]
            print(f"   against {equal} plain steps: {_rates(found, made)}, {found}", flush=True)
        rows[str(steps)] = row
    return rows


def _rates(found: Comparison, tokens: int) -> str:
    ours, theirs = (tokens / side.median for side in (found.seconds, found.peer_seconds))
    return f"{ours:.0f} and {theirs:.0f} tokens/s"


def _said(row: dict[str, Any]) -> str:
    calls = f"{row['calls']} calls, " if "calls" in row else ""
    return f"{calls}{row['ngram_bits']:.3f} bits ({row['ngram_stderr']:.3f}), entropy {row['entropy']:.2f}"


def _times(value: float | None) -> str:
    return "no number of times" if value is None else f"{value:.2f} times"
