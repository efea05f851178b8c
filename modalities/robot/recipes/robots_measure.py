"""What the recipe measures: roll-outs of a policy or of a scripted expert, and seconds per chunk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from gencore.media.files import atomic_write
from gencore.pipeline import Pipeline
from gencore_robot.environments import make
from gencore_robot.envs.paths import Paths
from gencore_robot.experts.library import find
from gencore_robot.interval import wilson
from gencore_robot.rollout import rollout
from gencore_robot.wrappers.library import for_environment
from gencore_robot.wrappers.mapped import fitted
from gencore_robot.wrappers.mapping import EnvMapping

FIRST = 100_000
"""Seed of the first episode; demonstrations are of seeds 1,000,000 on."""


class Measured:
    """Figures by what was measured, kept in a file after each one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}

    def __call__(self, what: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, as JSON; made once for each `what`."""
        if what not in self.found:
            started = perf_counter()
            value = make()
            self.found[what] = {"value": value, "seconds": round(perf_counter() - started, 1)}
            with atomic_write(self.path, "w", force=True) as file:
                json.dump(self.found, file, indent=1)
            print(f"{what}: {self.found[what]['seconds']} s", flush=True)
        return json.loads(json.dumps(self.found[what]["value"]))


def rate(successes: int, episodes: int) -> dict[str, Any]:
    """A success rate with Wilson's 95 % interval.

    >>> rate(45, 50)["interval"]
    [0.7864, 0.9565]
    """
    interval = [round(end, 4) for end in wilson(successes, episodes)]
    return {"episodes": episodes, "successes": successes, "success_rate": successes / episodes, "interval": interval}


def played(pipe: Pipeline, env: str, n: int, *, side_by_side: int, mapping: EnvMapping | None = None,
           **options: Any) -> dict[str, Any]:  # fmt: skip
    """Success of `n` episodes from seed `FIRST` on.

    Args:
        options: of `Pipeline.generate`: steps, sampler.
    """
    found = rollout(pipe, env, episodes=n, num_envs=side_by_side, seed=FIRST, mapping=mapping, options=options)
    told = found.as_data()
    return {**rate(len(told["successes"]), n), "mean_length": told["mean_length"]}


def ways(pipe: Pipeline, env: str, n: int, *, mapping: EnvMapping | None = None, **options: Any) -> dict[str, Any]:
    """As `played` in a two-way reach, and ``reached``: (n,) which target came first, 0 = left, 1 = right, -1 = none."""
    paths = Paths()
    found = rollout(pipe, env, episodes=n, num_envs=n, seed=FIRST, mapping=mapping, options=options, watch=paths)
    told = found.as_data()
    sides = {side: paths.reached.count(number) for number, side in enumerate(("left", "right"))}
    return {**rate(len(told["successes"]), n), "mean_length": told["mean_length"], **sides,
            "neither": paths.reached.count(-1), "reached": paths.reached}  # fmt: skip


def scripted(env: str, expert: str, n: int) -> dict[str, Any]:
    """Success of a scripted expert on the same seeds, nothing shaking its actions."""
    mapping, (begin, settings) = for_environment(env), find(expert)
    played, won = make(env, mapping), 0
    for seed in range(FIRST, FIRST + n):
        obs, _ = played.reset(seed=seed)
        act = begin(obs, np.random.default_rng((seed, 1)), **settings)
        success = ended = False
        while not ended:
            action = fitted(mapping, mapping.from_env(np.asarray(act(obs), np.float64)), played.action_space)
            obs, _, terminated, truncated, info = played.step(action)
            success, ended = success or bool(info[mapping.success]), bool(terminated or truncated)
        won += success
    played.close()
    return rate(won, n)


def latency(pipe: Pipeline, ways: Sequence[Mapping[str, Any]], rounds: int = 20) -> list[dict[str, float]]:
    """Milliseconds per chunk of one robot for each of `ways` to sample, p50 and p95, measured in turn."""
    words = pipe.modality.example(pipe)
    seconds: list[list[float]] = [[] for _ in ways]
    for turn in range(rounds + 2):
        for options, kept in zip(ways, seconds, strict=True):
            started = perf_counter()
            pipe.generate(**words, seed=turn, **options)
            kept.append(1e3 * (perf_counter() - started))
    # What a process does once, it does in the first turns.
    return [dict(zip(("p50", "p95"), map(float, np.percentile(kept[2:], [50, 95])), strict=True)) for kept in seconds]
