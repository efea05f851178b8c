"""Compare this project with its peer on this machine: ``python benchmarks/run.py [--only NAME] [--quick]``."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from machine import machine

BENCHMARKS = {
    "calls": "cost of an unattached site, and of the driver in a step",
    "graphs": "graphs torch.compile makes of a run",
    "forward": "a forward of the same weights here and in diffusers",
    "sampling": "ten DDIM steps of the same weights here and in diffusers",
    "peak": "share of the machine's matrix-multiply peak",
    "cold": "gencore generate from a cold process",
    "compiled": "compiled, bfloat16 and int8 forwards",
    "caching": "caches on every trained default: work and time saved, and the error; diffusers' TaylorSeer",
    "video": "a forward of the video transformer here and in plain PyTorch; memory over the number of frames",
    "inversion": "round trips of DDIM, RF-Solver and BDIA at equal calls, in closed form and on every trained default",
    "robot": "control by chunks of actions, and a loop that predicts at every tick; cold start of a chunk",
    "text": "text sampled with and without calls for unchanged tokens; energy correction at equal quality",
}
RESULTS = Path(__file__).parent / "results"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks and keep each one's figures in ``results/NAME.json``.

    Args:
        argv: the words of the command line; None takes those of this process.
    """
    listing = "; ".join(f"{name}: {text}" for name, text in BENCHMARKS.items())
    parser = argparse.ArgumentParser(description="Compare this project with diffusers.", epilog=listing)
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="equality on tiny shapes; no figure is kept")
    args = parser.parse_args(argv)
    where = machine()
    print(json.dumps(where), flush=True)
    if where["load"] > 0.5 and not args.quick:
        print(f"the machine is busy (load {where['load']}): figures will scatter", flush=True)
    for name in args.only or BENCHMARKS:
        started = time.perf_counter()
        rows = import_module(name).measure(args.quick)
        seconds = round(time.perf_counter() - started, 1)
        if not args.quick:
            _keep(RESULTS / f"{name}.json", {"machine": where, "seconds": seconds, "rows": rows})
            print(f"-- {name}: {seconds:.0f} s", flush=True)
    return 0


def _keep(path: Path, result: dict[str, object]) -> None:
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(fresh, path)


if __name__ == "__main__":
    raise SystemExit(main())
