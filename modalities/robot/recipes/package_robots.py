"""From finished runs to the packaged policies: measure, compare, write the models, their cards and the README.

    sh modalities/robot/recipes/train_robots.sh DATA RUNS
    python modalities/robot/recipes/package_robots.py --runs RUNS

Episodes have the seeds 100,000 on, demonstrations those from 1,000,000 on.  A run that is missing or unfinished is
named, and what needs it is left out.  What was measured is kept in RUNS/measured.json by weights and number of
episodes, so that the same command goes on where it was stopped; remove that file after a change of how figures are
computed.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from robots_measure import FIRST, Measured, latency, played, scripted, ways
from robots_report import sentences, table, write_between

from gencore import load
from gencore.pipeline import Pipeline
from gencore_robot.environments import make
from gencore_robot.wrappers.library import for_environment

HERE = Path(__file__).parent
TARGET = HERE.parent / "src" / "gencore_robot" / "default"
README = HERE.parent / "README.md"
DEFAULTS = {"transfer-cube": "transfer-cube", "two-way-reach": "two-way-reach"}
REGRESSION, NAMED = "two-way-reach-regression", "reach-named"
TWO, FEW, SCRATCH, LONG = "reach-two", "reach-few", "reach-scratch", "reach-scratch-long"
COMPARED = (REGRESSION, TWO, FEW, SCRATCH, LONG, NAMED)
CUBE, REACH = "gencore/AlohaTransferCube-v0", "gencore/TwoWayReach-v0"
VELOCITY, TOLD = "gencore/TwoWayReachVelocity-v0", "gencore/TwoWayReachNamed-v0"
DDPM: Mapping[str, Any] = {"sampler": "ddpm", "steps": 100}
SIDE_BY_SIDE = 25

Play = Callable[..., dict[str, Any]]


def cube(pipe: Pipeline, n: int, measured: Measured) -> dict[str, Any]:
    """The cube from one arm to the other: the policy, its expert, and 100 steps of DDPM."""

    def play(pipe: Pipeline, env: str, n: int, **options: Any) -> dict[str, Any]:
        return played(pipe, env, n, side_by_side=min(SIDE_BY_SIDE, n), **options)

    return _single(pipe, CUBE, "transfer-cube:jitter=0.01", n, play, measured)


def reach(pipe: Pipeline, twin: Pipeline | None, n: int, measured: Measured) -> dict[str, Any]:
    """The two-way reach: the policy, the mean action of the same network, the expert, and 100 steps of DDPM."""
    found = _single(pipe, REACH, "reach", n, ways, measured)
    if twin is not None:
        found["regression"] = measured(_key("regression", n, twin), partial(ways, twin, REACH, n))
    return found


def _single(pipe: Pipeline, env: str, expert: str, n: int, play: Play, measured: Measured) -> dict[str, Any]:
    timed = measured(_key(f"{env} latency", n, pipe), lambda: latency(pipe, [{}, DDPM]))
    return {
        "policy": measured(_key(env, n, pipe), lambda: play(pipe, env, n)),
        "ddpm": measured(_key(f"{env} ddpm, 100 steps", n, pipe), lambda: play(pipe, env, n, **DDPM)),
        "expert": measured(f"{env} {expert}; {n} episodes", lambda: scripted(env, expert, n)),
        "latency_ms": timed[0], "latency_ms_ddpm": timed[1], "latency_ratio": timed[1]["p50"] / timed[0]["p50"],
    }  # fmt: skip


def two_robots(pipes: Mapping[str, Pipeline], n: int, measured: Measured) -> dict[str, Any]:
    """Success by run and environment: of networks that knew both robots, and of those that knew the second alone."""
    found: dict[str, Any] = {}
    for run in (TWO, FEW, SCRATCH, LONG):
        if (pipe := pipes.get(run)) is None:
            continue
        for env in (REACH, VELOCITY) if run in (TWO, FEW) else (VELOCITY,):
            of = found.setdefault(run, {"steps": pipe.card["training"]["steps"]})
            of[env] = measured(_key(f"{run} {env}", n, pipe), partial(ways, pipe, env, n))
    return found


def named(pipe: Pipeline, n: int, measured: Measured) -> dict[str, Any]:
    """Success where one target counts: told it, told the other, and told nothing; and how often the one told came
    first."""
    mapping = for_environment(TOLD)
    (source,) = mapping.observation["instruction"]
    swapped = {**mapping.observation, "instruction": (replace(source, choices=source.choices[::-1]),)}
    silent = {word: parts for word, parts in mapping.observation.items() if word != "instruction"}
    env = make(TOLD, mapping)
    wanted = [int(env.reset(seed=seed)[0]["target"]) for seed in range(FIRST, FIRST + n)]
    env.close()
    found = {}
    for name, observation in {"right": mapping.observation, "wrong": swapped, "without": silent}.items():
        said = replace(mapping, observation=observation)
        figures = measured(_key(f"instruction {name}", n, pipe), partial(ways, pipe, TOLD, n, mapping=said))
        if name != "without":
            told = wanted if name == "right" else [1 - one for one in wanted]
            figures["followed"] = sum(a == b for a, b in zip(figures["reached"], told, strict=True))
        found[name] = figures
    return found


def _key(what: str, n: int, pipe: Pipeline) -> str:
    return f"{what}; {n} episodes; {pipe.hash()}"


def rounded(value: Any) -> Any:
    """`value` with four significant digits in every number, without the lists of single episodes."""
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items() if key != "reached"}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def thin(log: Path, target: Path, parts: int = 100) -> None:
    """The mean loss of every hundredth of a run."""
    rows = list(csv.DictReader(log.open()))
    every = max(1, len(rows) // parts)
    with target.open("w") as file:
        file.write("step,loss\n")
        for start in range(0, len(rows), every):
            part = rows[start : start + every]
            file.write(f"{part[-1]['step']},{sum(float(r['loss']) for r in part) / len(part):.5f}\n")


def finished(run: Path) -> bool:
    """Whether a run has a model of as many steps as its card says; that of an interrupted one has fewer."""
    if not (run / "model").exists():
        return False
    done = list(csv.DictReader(log.open())) if (log := run / "metrics.csv").exists() else None
    steps = load("robot", run / "model").card["training"]["steps"]
    return done is None or (bool(done) and int(done[-1]["step"]) >= steps)


def packaged(name: str, run: Path, output: Path) -> Pipeline:
    """The model of a run as it is shipped, weights in half precision; its card has no figures yet."""
    pipe = load("robot", run / "model")
    pipe.card = {**pipe.card, **json.loads((HERE / f"{name}-card.json").read_text()),
                 "log": f"recipes/{run.name}-log.csv"}  # fmt: skip
    pipe.save_pretrained(output / name, dtype=torch.float16, force=True)
    return load("robot", output / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs of train_robots.sh")
    parser.add_argument("--cube", default=DEFAULTS["transfer-cube"], help="the run among them that hands the cube over")
    parser.add_argument("-n", type=int, default=50, help="episodes of the cube")
    parser.add_argument("--reach", type=int, default=200, help="episodes of every reach")
    parser.add_argument("--output", type=Path, default=TARGET)
    parser.add_argument("--readme", type=Path, default=README, help="where the table goes, between its two marks")
    args = parser.parse_args()

    args.output.mkdir(exist_ok=True)
    measured = Measured(args.runs / "measured.json")
    defaults = {**DEFAULTS, "transfer-cube": args.cube}
    runs = (*defaults.values(), *COMPARED)
    missing = [run for run in runs if not finished(args.runs / run)]
    pipes = {name: packaged(name, args.runs / run, args.output) for name, run in defaults.items() if run not in missing}
    others = {run: load("robot", args.runs / run / "model") for run in COMPARED if run not in missing}
    found: dict[str, Any] = {"missing": missing, "seeds from": FIRST}
    if "two-way-reach" in pipes:
        found["two-way-reach"] = reach(pipes["two-way-reach"], others.get(REGRESSION), args.reach, measured)
    found["reach-two"] = two_robots(others, args.reach, measured)
    if NAMED in others:
        found["reach-named"] = named(others[NAMED], args.reach, measured)
    if "transfer-cube" in pipes:
        found["transfer-cube"] = cube(pipes["transfer-cube"], args.n, measured)
    figures = rounded(found)
    for name, pipe in pipes.items():
        pipe.card |= {"figures": figures[name], "in words": sentences(name, figures[name])}
        if name == "two-way-reach":
            pipe.card["comparison"] = {key: figures[key] for key in ("reach-two", "reach-named") if key in figures}
        if missing:
            pipe.card["missing"] = missing
        pipe.save_pretrained(args.output / name, dtype=torch.float16, force=True)
    for run in runs:
        if run not in missing and (log := args.runs / run / "metrics.csv").exists():
            thin(log, HERE / f"{run}-log.csv")
    text = table(figures)
    write_between(args.readme, text)
    print(text)


if __name__ == "__main__":
    main()
