"""Caches on the trained default of every installed modality: work saved, time saved, and the error of the result.

Each setting is compared with the uncached run of the same seeds, and with a run of fewer steps, which needs no cache.
"""

from __future__ import annotations

import math
from typing import Any

from caching_peer import against_diffusers
from pairs import interleave
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import gencore
from gencore import plugins
from gencore.context import Context, Interceptor, Run
from gencore.models import packaged_default, read_config
from gencore.pipeline import Pipeline
from gencore.stream import Hidden

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


class BlockFlops(Interceptor):
    """Counts the floating-point operations of the block loop: matrix products and attention."""

    def __init__(self) -> None:
        self.total = 0

    def span(self, ctx: Context, run: Run, h: Hidden, start: int, stop: int) -> Hidden:
        with FlopCounterMode(display=False) as counter:
            h = run(h, start, stop)
        self.total += counter.get_total_flops()
        return h


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
        saved = 1 - _work(pipe, count, *caches) / work
        rows[text] = {"saved": saved, "fidelity": _fidelity(_made(pipe, count, *caches), exact), **compared.row()}
        print(f"caching {name} {text}: {saved:.0%} of block FLOPs saved, {rows[text]['fidelity']:.1f} "
              f"{_unit(exact)}, time {compared}", flush=True)  # fmt: skip
    best = {}
    for budget in BUDGETS if exact.is_floating_point() else ():
        fit = {text: row for text, row in rows.items() if row["fidelity"] >= budget}
        for family in dict.fromkeys(text.partition(":")[0].split()[-1] for text in fit):
            own = [text for text in fit if text.partition(":")[0].split()[-1] == family]
            best[f"{budget} dB {family}"] = top = max(own, key=lambda text: fit[text]["saved"])
            print(f"caching {name} best {family} at {budget} dB: {top}, {fit[top]['saved']:.0%} saved, "
                  f"{fit[top]['ratio']['median']:.2f}x the time", flush=True)  # fmt: skip
    return {"steps": steps, "samples": SAMPLES, "unit": _unit(exact), "settings": rows, "best": best}


def _made(pipe: Pipeline, steps: int, *caches: str | Interceptor) -> Tensor:
    return pipe.generate(n=SAMPLES, seed=0, steps=steps, interceptors=list(caches)).tensor


def _work(pipe: Pipeline, steps: int, *caches: str) -> int:
    flops = BlockFlops()
    _made(pipe, steps, *caches, flops)
    return flops.total


def _unit(exact: Tensor) -> str:
    return "dB PSNR" if exact.is_floating_point() else "% equal"


def _fidelity(got: Tensor, exact: Tensor) -> float:
    """PSNR against `exact` over its range, dB; for tokens the share that is equal, percent."""
    if not exact.is_floating_point():
        return 100 * (got == exact).float().mean().item()
    error = (got - exact).double().square().mean().item()
    return 10 * math.log10((exact.max() - exact.min()).item() ** 2 / error) if error else math.inf
