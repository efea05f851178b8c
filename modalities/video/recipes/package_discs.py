"""From finished runs to the packaged default: choose a sampler, measure, compare, write the model and its card.

    gencore train video --preset discs -o RUNS/discs
    python modalities/video/recipes/package_discs.py --runs RUNS

`ABLATIONS` of the same folder are compared where they exist; the card names those that do not.  The sampler is chosen
on clips of seeds 500,000 on; every reported figure is of the packaged held-out clips.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import torch

from gencore import load
from gencore.pipeline import Defaults, Pipeline
from gencore_video.evaluation import TASKS, Maker, evaluate, task
from gencore_video.figures import Truth, truth, unevenness
from gencore_video.physics.clips import PhysicsClips, Simulated, physics_clips

HERE = Path(__file__).parent
TARGET = HERE.parent / "src" / "gencore_video" / "default" / "discs"
CHOICES = (("ddim", 12), ("ddim", 24), ("ddim", 48), ("dpmpp", 12), ("dpmpp", 24), ("dpmpp", 48))
SHORT, FRAMEWISE = "discs-short", "discs-framewise"
SPECIALISTS = {name: f"discs-{name}" for name in TASKS}
ABLATIONS = (SHORT, FRAMEWISE, *SPECIALISTS.values(), "discs-unconditional")


def choose(pipe: Pipeline, n: int) -> tuple[Defaults, dict[str, float]]:
    """The cheapest of `CHOICES` whose position error, mean over prediction and interpolation, is within 2 % of best."""
    clips = PhysicsClips(Simulated(range(500_000, 500_000 + n), 16), 16, (32, 32), "choosing")
    true = truth(clips, n)
    found: dict[Defaults, float] = {}
    for sampler, steps in CHOICES:
        pipe.defaults = Defaults(sampler=sampler, steps=steps, known_mode="compose_input")
        errors = [task(Maker(pipe, 500_000), true, TASKS[name])["model"] for name in ("predict", "interpolate")]
        found[pipe.defaults] = sum(e["position_error"] for e in errors) / 2
        print(f"{sampler:<6} {steps:>3} steps: position error {found[pipe.defaults]:.3f} px", flush=True)
    good = [defaults for defaults, error in found.items() if error <= 1.02 * min(found.values())]
    return min(good, key=lambda d: d.steps), {f"{d.sampler}, {d.steps} steps": error for d, error in found.items()}


def figures(pipe: Pipeline, true: Truth, tasks: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Task figures of one model."""
    return {name: task(Maker(pipe, 0), true, TASKS[name])["model"] for name in tasks}


def spontaneous(pipe: Pipeline, true: Truth) -> float:
    """The unevenness of unconditional samples."""
    everything = torch.ones_like(true.clips[:, :1], dtype=torch.bool)
    return unevenness(Maker(pipe, 0)(torch.zeros_like(true.clips), everything))


def compare(runs: Path, defaults: Defaults, n: int) -> dict[str, Any]:
    """One model for all tasks, one a task, and one without temporal attention, at equal total budgets."""
    true, names = truth(physics_clips(held_out=True), n), tuple(TASKS)
    report: dict[str, Any] = {"clips": n, "missing": [name for name in ABLATIONS if not (runs / name).exists()]}

    def opened(name: str) -> Pipeline | None:
        if name in report["missing"]:
            return None
        pipe = load("video", runs / name / "model")
        pipe.defaults = defaults
        report.setdefault("training", {})[name] = pipe.card["training"]
        return pipe

    for name in (SHORT, FRAMEWISE):
        if pipe := opened(name):
            report[name] = {**figures(pipe, true, names), "unconditional unevenness": spontaneous(pipe, true)}
            print(f"{name}: measured", flush=True)
    for name, run in SPECIALISTS.items():
        if pipe := opened(run):
            report.setdefault("specialists", {}).update(figures(pipe, true, (name,)))
            print(f"{run}: measured", flush=True)
    if pipe := opened("discs-unconditional"):
        report["specialists"]["unconditional unevenness"] = spontaneous(pipe, true)
    return report


def rounded(value: Any) -> Any:
    """`value` with four significant digits in every number."""
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder with the run 'discs' and the ablations")
    parser.add_argument("-n", type=int, default=64, help="held-out clips of every figure")
    parser.add_argument("--choose", type=int, default=16, help="clips per sampler candidate")
    parser.add_argument("--output", type=Path, default=TARGET)
    args = parser.parse_args()

    pipe = load("video", args.runs / "discs" / "model")
    training = pipe.card["training"]
    pipe.defaults, chosen = choose(pipe, args.choose)
    card = json.loads((HERE / "discs-card.json").read_text())
    card |= {"training": training, "sampler chosen on seeds 500,000 on, position error": rounded(chosen)}
    # What is measured is what is shipped: the weights in half precision.
    pipe.save_pretrained(args.output, dtype=torch.float16, force=True)
    pipe = load("video", args.output)
    card["figures"] = rounded(evaluate(pipe, physics_clips(held_out=True), n=args.n))
    card["comparison"] = rounded(compare(args.runs, pipe.defaults, args.n))
    pipe.card = card
    pipe.save_pretrained(args.output, dtype=torch.float16, force=True)
    for name in ("discs", *ABLATIONS):
        if (log := args.runs / name / "metrics.csv").exists():
            thin(log, HERE / f"{name}-log.csv")
    print(json.dumps({key: card[key] for key in ("figures", "comparison")}, indent=1))


def thin(log: Path, target: Path, every: int = 50) -> None:
    """The mean loss of every `every` steps."""
    rows = list(csv.DictReader(log.open()))
    with target.open("w") as file:
        file.write("step,loss\n")
        for start in range(0, len(rows), every):
            part = rows[start : start + every]
            file.write(f"{part[-1]['step']},{sum(float(r['loss']) for r in part) / len(part):.5f}\n")


if __name__ == "__main__":
    main()
