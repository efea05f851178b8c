"""Caches on the trained default of every installed modality: work saved, time saved, and the error of the result.

Each setting is compared with the uncached run of the same seeds, and with a run of fewer steps, which needs no cache.
An interrupted run is taken up where it was.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from caching_peer import against_diffusers
from kept import Kept
from machine import machine
from pairs import interleave
from torch import Tensor

import gencore
from gencore import plugins
from gencore.context import Interceptor
from gencore.interceptors.flops import BlockFlops
from gencore.pipeline import Pipeline
from gencore.tuning.fidelity import UNITS, fidelity, loss

SETTINGS = [
    *(f"reuse:interval={k}" for k in (2, 3)),
    *(f"taylorseer:interval={k},order={order},warmup={w}" for k, w in ((2, 2), (3, 2), (3, 4), (4, 4), (5, 4))
      for order in (1, 2)),
    "taylorseer:interval=3,order=0,warmup=4", "taylorseer:interval=3,order=3,warmup=4",
    "taylorseer:interval=3,order=1,warmup=4,abscissa=time", "taylorseer:interval=3,order=2,warmup=4,basis=newton",
    "taylorseer:interval=3,order=1,warmup=4,lite=true", "taylorseer:interval=5,order=1,warmup=3,schedule=diffusers",
    *(f"delta-dit:interval={k},order={order}" for k in (2, 3) for order in (0, 1)),
    "delta-dit:interval=2,residual=false",
    *(f"first-block:threshold={threshold}" for threshold in (0.05, 0.1, 0.2)),
]  # fmt: skip
FEW = ["reuse:interval=2", "taylorseer:interval=2,order=1,warmup=2", "taylorseer:interval=3,order=1,warmup=4",
       "delta-dit:interval=2,order=0", "first-block:threshold=0.1", "first-block:threshold=0.2"]  # fmt: skip
"""Of tokens, whose samplers draw noise at every step, which no forecast foresees."""

BUDGETS = (30, 35, 40)
SAMPLES = 4
UNFINISHED = Path(__file__).parent / "results" / "caching.unfinished.jsonl"


def measure(quick: bool) -> dict[str, Any]:
    """Rows by modality and setting, the best of them at each error budget, and diffusers' own cache where it fits.

    A modality without a trained default has the reason under ``skipped``.
    """
    rows, where = dict[str, Any](), machine()
    pipes = dict[str, Pipeline]()
    for name in plugins.provided("modality"):
        try:
            pipes[name] = gencore.load(name, device="cpu")
        except (gencore.GencoreError, ImportError) as fault:
            rows[name] = {"skipped": str(fault)}
            print(f"caching {name}: skipped, {fault}", flush=True)
    # The load of the machine changes from run to run; what else is the same must be.
    mark = {**{key: where[key] for key in where if key != "load"}, "samples": SAMPLES,
            "weights": {name: pipe.hash() for name, pipe in pipes.items()}}  # fmt: skip
    kept = Kept(None if quick else UNFINISHED, mark)
    for name, pipe in pipes.items():
        if quick:
            rows[name] = _modality(name, pipe, kept, SETTINGS[:1], pairs=2, steps=3)
        else:
            tokens = pipe.process.kind == "discrete"
            rows[name] = _modality(name, pipe, kept, FEW if tokens else SETTINGS, pairs=3 if tokens else 5)
        if (peer := against_diffusers(pipe, kept, quick=quick)) is not None:
            rows[f"{name} against diffusers"] = peer
    kept.done()
    return rows


def _modality(name: str, pipe: Pipeline, kept: Kept, settings: list[str], *, pairs: int, steps: int | None = None
              ) -> dict[str, Any]:  # fmt: skip
    steps = steps or pipe.defaults.steps
    flops = BlockFlops()
    exact, unit = _made(pipe, steps, flops), ""
    rows: dict[str, Any] = {}
    fewer = dict.fromkeys(f"{k} steps" for k in (2 * steps // 3, steps // 2, steps // 3))
    for text in [*settings, *fewer]:
        count, caches = (int(text.split()[0]), []) if text.endswith("steps") else (steps, [text])

        def make(count: int = count, caches: list[str] = caches) -> dict[str, Any]:
            own = BlockFlops()
            near = fidelity(_made(pipe, count, *caches, own), exact)
            compared = interleave(lambda: _made(pipe, count, *caches), lambda: _made(pipe, steps), pairs, warm=0)
            return {"flops": flops.total / own.total, "speed": 1 / compared.ratio.median, "fidelity": near.mean,
                    "worst": near.worst, "error": loss(near.mean, near.unit), "unit": UNITS[near.unit],
                    **compared.row()}  # fmt: skip

        rows[text] = row = kept.row(f"{name} {text}", make)
        unit = row["unit"]
        print(f"caching {name} {text}: {row['flops']:.2f} times fewer block FLOPs, {row['speed']:.2f} times faster "
              f"({1 / row['ratio']['high']:.2f}..{1 / row['ratio']['low']:.2f}), {row['fidelity']:.1f} {unit}, "
              f"error {row['error']:.2%}", flush=True)  # fmt: skip
    best = _best(name, rows) if exact.is_floating_point() else {}
    return {"steps": steps, "samples": SAMPLES, "unit": unit, "settings": rows, "best": best}


def _best(name: str, rows: dict[str, Any]) -> dict[str, str]:
    """By budget and kind of cache, the setting with the fewest FLOPs whose mean fidelity is within it."""
    best: dict[str, str] = {}
    for budget in BUDGETS:
        fit = [text for text, row in rows.items() if row["fidelity"] >= budget]
        for kind in dict.fromkeys(map(_kind, fit)):
            top = max((text for text in fit if _kind(text) == kind), key=lambda text: rows[text]["flops"])
            best[f"{budget} dB {kind}"] = top
            print(f"caching {name} best {kind} at {budget} dB: {top}, {rows[top]['flops']:.2f} times fewer block "
                  f"FLOPs, {rows[top]['speed']:.2f} times faster", flush=True)  # fmt: skip
    return best


def _kind(text: str) -> str:
    """``taylorseer`` of its settings, ``steps`` of ``12 steps``."""
    return text.partition(":")[0].split()[-1]


def _made(pipe: Pipeline, steps: int, *caches: str | Interceptor) -> Tensor:
    words = pipe.modality.example(pipe, SAMPLES)
    # What a cache assumes of a sampler is measured here, so its warnings say nothing new.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return pipe.generate(**words, seed=0, steps=steps, interceptors=list(caches)).tensor
