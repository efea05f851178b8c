"""Caches on the trained default of every installed modality: work saved, time saved, and the error of the result.

Each setting is compared with the uncached run of the same seeds, and with a run of fewer steps, which needs no cache.
"""

from __future__ import annotations

from typing import Any

from caching_peer import against_diffusers
from pairs import interleave
from torch import Tensor

import gencore
from gencore import plugins
from gencore.context import Interceptor
from gencore.interceptors.flops import BlockFlops
from gencore.models import packaged_default, read_config
from gencore.pipeline import Pipeline
from gencore.tuning.fidelity import UNITS, fidelity

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
BUDGETS = (30, 35, 40)
SAMPLES = 4


def measure(quick: bool) -> dict[str, Any]:
    """Rows by modality and setting, the best of them at each error budget, and diffusers' own cache where it fits."""
    rows: dict[str, Any] = {}
    for name in plugins.provided("modality"):
        try:
            read_config(packaged_default(name))
        except gencore.GencoreError:
            continue
        pipe = gencore.load(name)
        if quick:
            rows[name] = _modality(name, pipe, SETTINGS[:1], 2, steps=3)
            continue
        rows[name] = _modality(name, pipe, SETTINGS, 5)
        if (peer := against_diffusers(pipe, 5)) is not None:
            rows[f"{name} against diffusers"] = peer
    return rows


def _modality(name: str, pipe: Pipeline, settings: list[str], pairs: int, steps: int | None = None) -> dict[str, Any]:
    steps = steps or pipe.defaults.steps
    exact, work = _made(pipe, steps), _work(pipe, steps)
    rows: dict[str, Any] = {}
    for text in [*settings, *(f"{k} steps" for k in (2 * steps // 3, steps // 2, steps // 3))]:
        count, caches = (int(text.split()[0]), []) if text.endswith("steps") else (steps, [text])
        compared = interleave(lambda n=count, c=caches: _made(pipe, n, *c), lambda: _made(pipe, steps), pairs)
        saved, near = 1 - _work(pipe, count, *caches) / work, fidelity(_made(pipe, count, *caches), exact)
        rows[text] = {"saved": saved, "fidelity": near.mean, **compared.row()}
        print(f"caching {name} {text}: {saved:.0%} of block FLOPs saved, {rows[text]['fidelity']:.1f} "
              f"{UNITS[near.unit]}, time {compared}", flush=True)  # fmt: skip
    best = {}
    for budget in BUDGETS if exact.is_floating_point() else ():
        fit = {text: row for text, row in rows.items() if row["fidelity"] >= budget}
        for family in dict.fromkeys(text.partition(":")[0].split()[-1] for text in fit):
            own = [text for text in fit if text.partition(":")[0].split()[-1] == family]
            best[f"{budget} dB {family}"] = top = max(own, key=lambda text: fit[text]["saved"])
            print(f"caching {name} best {family} at {budget} dB: {top}, {fit[top]['saved']:.0%} saved, "
                  f"{fit[top]['ratio']['median']:.2f}x the time", flush=True)  # fmt: skip
    unit = UNITS[fidelity(exact, exact).unit]
    return {"steps": steps, "samples": SAMPLES, "unit": unit, "settings": rows, "best": best}


def _made(pipe: Pipeline, steps: int, *caches: str | Interceptor) -> Tensor:
    return pipe.generate(n=SAMPLES, seed=0, steps=steps, interceptors=list(caches)).tensor


def _work(pipe: Pipeline, steps: int, *caches: str) -> int:
    flops = BlockFlops()
    _made(pipe, steps, *caches, flops)
    return flops.total
