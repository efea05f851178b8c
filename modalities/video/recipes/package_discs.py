"""From finished runs to the packaged default: choose a sampler, measure, compare, write the model, its card and README.

    gencore train video --preset discs -o RUNS/discs
    python modalities/video/recipes/package_discs.py --runs RUNS

Of `ABLATIONS`, those that lie in the same folder are compared and the others named as missing:

    gencore train video --preset discs --steps 1000 -o RUNS/discs-short
    gencore train video --preset discs-framewise --steps 1000 -o RUNS/discs-framewise
    gencore train video --preset discs-predict --steps 143 -o RUNS/discs-predict        (and each of the other six)
    gencore train video --preset discs-predict --steps 1000 -o RUNS/discs-predict-alone

The sampler is chosen on clips of seeds 500,000 on; every reported figure is of the packaged held-out clips.  What was
measured is kept in RUNS/measured.json by weights, sampler and number of clips, so that the same command goes on where
it was stopped; remove that file after a change of how figures are computed.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from discs_report import lines, sentences, table, write_between

from gencore import load
from gencore.media.files import atomic_write
from gencore.pipeline import Defaults, Pipeline
from gencore_video.evaluation import TASKS, parts, put, sampler_of, task_mask
from gencore_video.figures import Truth, truth, unevenness
from gencore_video.figures import compare as against
from gencore_video.physics.clips import PhysicsClips, Simulated, physics_clips
from gencore_video.prediction import Maker

HERE = Path(__file__).parent
TARGET = HERE.parent / "src" / "gencore_video" / "default" / "discs"
README = HERE.parent / "README.md"
CHOICES = [(name, steps) for name in ("ddim", "dpmpp") for steps in (8, 12, 24)]
# Cheaper than the one chosen may be: what is compared is training, with one sampler for all runs.
COMPARING = Defaults(sampler="ddim", steps=12, known_mode="compose_input")
SHORT, FRAMEWISE, ALONE = "discs-short", "discs-framewise", "discs-predict-alone"
SPECIALISTS = {name: f"discs-{name}" for name in (*TASKS, "unconditional")}
ABLATIONS = (SHORT, FRAMEWISE, ALONE, *SPECIALISTS.values())


class Measured:
    """Figures by what was measured, kept in a file after each one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}

    def __call__(self, pipe: Pipeline, n: int, what: str, make: Callable[[], Any]) -> Any:
        """What `make` returns for `pipe`'s weights and sampler and `n` clips, as JSON; made once."""
        key = f"{what}; {n} clips; {sampler_of(pipe)}; {pipe.hash()}"
        if key not in self.found:
            started = perf_counter()
            value = make()
            self.found[key] = {"value": value, "seconds": round(perf_counter() - started, 1)}
            with atomic_write(self.path, "w", force=True) as file:
                json.dump(self.found, file, indent=1)
            print(f"{what}: {self.found[key]['seconds']} s", flush=True)
        return json.loads(json.dumps(self.found[key]["value"]))


def choose(pipe: Pipeline, n: int, measured: Measured) -> tuple[Defaults, dict[str, float]]:
    """The cheapest of `CHOICES` whose position error, mean over prediction and interpolation, is within 2 % of best."""
    clips = PhysicsClips(Simulated(range(500_000, 500_000 + n), 16), 16, (32, 32), "choosing")
    true, found = truth(clips, n), dict[Defaults, float]()
    for sampler, steps in CHOICES:
        pipe.defaults = Defaults(sampler=sampler, steps=steps, known_mode="compose_input")

        def error() -> float:
            masks = [task_mask(true, TASKS[name]) for name in ("predict", "interpolate")]
            made = [against(Maker(pipe, 500_000)(true.clips, mask), true, mask) for mask in masks]
            return sum(figures["position_error"] for figures in made) / 2

        found[pipe.defaults] = measured(pipe, n, "choosing", error)
    good = [defaults for defaults, error in found.items() if error <= 1.02 * min(found.values())]
    return min(good, key=lambda d: d.steps), {f"{d.sampler}, {d.steps} steps": error for d, error in found.items()}


def figures(pipe: Pipeline, n: int, measured: Measured) -> dict[str, Any]:
    """What ``gencore evaluate video -n N --seed 0`` prints, without its seconds."""
    data = physics_clips(held_out=True)
    report: dict[str, Any] = {"clips": n, "seeds": [0, n - 1], "sampler": sampler_of(pipe)}
    for place, part in parts(Maker(pipe, 0), data, truth(data, n)).items():
        put(report, place, measured(pipe, n, " ".join(place), part))
    return report


def compare(runs: Path, n: int, measured: Measured) -> dict[str, Any]:
    """Figures by run and task: one model for all tasks, one a task, and one without temporal attention."""
    true = truth(physics_clips(held_out=True), n)
    report: dict[str, Any] = {"clips": n, "sampler": f"{COMPARING.sampler}, {COMPARING.steps} steps", "missing": []}
    of_run = {SHORT: tuple(SPECIALISTS), FRAMEWISE: tuple(SPECIALISTS), ALONE: ("predict",)}
    for run, names in {**of_run, **{run: (name,) for name, run in SPECIALISTS.items()}}.items():
        if not (runs / run / "model").exists():
            report["missing"].append(run)
            continue
        pipe = load("video", runs / run / "model")
        pipe.defaults = COMPARING
        put(report, ("steps", run), pipe.card["training"]["steps"])
        for name in names:
            put(report, ("runs", run, name), measured(pipe, n, f"{run} {name}", lambda: one(pipe, true, name)))  # noqa: B023
    return report


def one(pipe: Pipeline, true: Truth, name: str) -> dict[str, float]:
    """Figures of one model in one task; without given cells there is no true clip to compare with."""
    if name in TASKS:
        mask = task_mask(true, TASKS[name])
        return against(Maker(pipe, 0)(true.clips, mask), true, mask)
    everything = torch.ones_like(true.clips[:, :1], dtype=torch.bool)
    return {"unevenness": unevenness(Maker(pipe, 0)(torch.zeros_like(true.clips), everything))}


def rounded(value: Any) -> Any:
    """`value` with four significant digits in every number."""
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def thin(log: Path, target: Path, every: int = 50) -> None:
    """The mean loss of every `every` steps."""
    rows = list(csv.DictReader(log.open()))
    with target.open("w") as file:
        file.write("step,loss\n")
        for start in range(0, len(rows), every):
            part = rows[start : start + every]
            file.write(f"{part[-1]['step']},{sum(float(r['loss']) for r in part) / len(part):.5f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder with the run 'discs' and the ablations")
    parser.add_argument("-n", type=int, default=64, help="held-out clips of every figure")
    parser.add_argument("--choose", type=int, default=16, help="clips per sampler candidate")
    parser.add_argument("--output", type=Path, default=TARGET)
    parser.add_argument("--readme", type=Path, default=README, help="where the table goes, between its two marks")
    args = parser.parse_args()

    pipe, measured = load("video", args.runs / "discs" / "model"), Measured(args.runs / "measured.json")
    card = json.loads((HERE / "discs-card.json").read_text()) | {"training": pipe.card["training"]}
    pipe.defaults, chosen = choose(pipe, args.choose, measured)
    card["sampler chosen on seeds 500,000 on, position error"] = rounded(chosen)
    # What is measured is what is shipped: the weights in half precision.
    pipe.card = card
    pipe.save_pretrained(args.output, dtype=torch.float16, force=True)
    pipe = load("video", args.output)
    card["figures"] = rounded(figures(pipe, args.n, measured))
    card["comparison"] = rounded(compare(args.runs, args.n, measured))
    card["worse than a baseline"] = lines(card["figures"])
    card["in words"] = sentences(card)
    pipe.card = card
    pipe.save_pretrained(args.output, dtype=torch.float16, force=True)
    for run in ("discs", *ABLATIONS):
        if (log := args.runs / run / "metrics.csv").exists():
            thin(log, HERE / f"{run}-log.csv")
    text = table(card)
    write_between(args.readme, text)
    print(text)


if __name__ == "__main__":
    main()
