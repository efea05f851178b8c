"""Robot: how fast a policy controls, next to a loop that encodes and samples anew at every tick, robot by robot.

The observations are made up, so that no simulation is timed.  The network is the preset of the cube transfer with
random weights, none of them zero: its speed is that of the trained one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pairs import Comparison, Spread, interleave, rounds
from peer import require_equal
from torch import nn

from gencore.nn.init import seeded
from gencore.pipeline import Pipeline
from gencore_robot.data import Episodes
from gencore_robot.embodiments.library import load
from gencore_robot.executor.predictor import rows
from gencore_robot.policy import Policy
from gencore_robot.presets import tiny, transfer_cube
from gencore_robot.readers.episode import Episode


def measure(quick: bool) -> dict[str, Any]:
    """Rows by number of environments, and ``cold`` for a chunk of ``gencore generate robot`` from a cold process.

    Ratios are those of the seconds that as many control ticks take as one chunk is executed for.

    Raises:
        Unequal: the first actions of both loops are not the same.
    """
    pipe = _untrained(quick)
    counts, pairs = ((1, 2), 2) if quick else ((1, 16), 5)
    found: dict[str, Any] = {str(count): _control(pipe, count, pairs) for count in counts}
    return found if quick else {**found, "cold": _cold(pipe)}


def _untrained(quick: bool) -> Pipeline:
    robot, rng = load("aloha-gym"), np.random.default_rng(0)
    state, environment = rng.uniform(0.0, 0.2, (60, 14)), rng.uniform(0.0, 0.2, (60, 7))
    data = Episodes([Episode("made up", 60, lambda: (state, state), environment=lambda: environment, embodiment=robot)])
    pipe = (tiny if quick else transfer_cube)(data).pipeline
    with seeded(0), torch.no_grad():
        for tensor in pipe.backbone.parameters():
            if not bool(tensor.any()):
                nn.init.normal_(tensor, std=0.02)
    pipe.backbone.eval()
    return pipe


def _observations(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {"state": rng.uniform(0.0, 0.2, (count, 14)), "env_state": rng.uniform(0.0, 0.2, (count, 7))}


def _control(pipe: Pipeline, count: int, pairs: int) -> dict[str, Any]:
    """Ticks with a chunk executed; with each robot predicted by itself at every tick; and with all predicted together.

    ``chunk`` is the time of one prediction for all robots.
    """
    obs, execute = _observations(count), int(pipe.card["execute"])
    policy, every, alone = (Policy(pipe, count, execute=n) for n in (execute, 1, 1))

    def each() -> np.ndarray:
        chunks = [alone.predict_chunk(rows(obs, np.array([i])), envs=np.array([i]))[0, 0] for i in range(count)]
        return torch.stack(chunks).numpy()

    difference = require_equal(torch.from_numpy(policy.act(obs)), torch.from_numpy(each()).double(),
                               f"first actions of {count}")  # fmt: skip

    def ticks(act: Callable[[], np.ndarray]) -> None:
        for _ in range(execute):
            act()

    acts = (partial(policy.act, obs), each, partial(every.act, obs))
    timed = rounds([partial(ticks, act) for act in acts], pairs)
    compared = Comparison.of([(ours, theirs) for ours, theirs, _ in timed])
    together = Comparison.of([(ours, theirs) for ours, _, theirs in timed])
    chunk = Spread.of([seconds for (seconds,) in rounds([partial(policy.predict_chunk, obs)], 4 * pairs)])
    actions = count * execute
    rates = {"actions_per_second": actions / compared.seconds.median,
             "peer_actions_per_second": actions / compared.peer_seconds.median}  # fmt: skip
    print(f"robot, {count} environments, {execute} ticks, each predicted at every tick: {compared}", flush=True)
    print(f"robot, {count} environments, all predicted together at every tick: {together}; a chunk "
          f"{1e3 * chunk.median:.3g} ms ({1e3 * chunk.low:.3g}..{1e3 * chunk.high:.3g}), "
          f"{rates['actions_per_second']:.0f} actions a second", flush=True)  # fmt: skip
    return {"error": difference, "execute": execute, "horizon": pipe.tokenizer.spec().sizes[0], **rates,
            "chunk": asdict(chunk), "together": together.row(), **compared.row()}  # fmt: skip


def _cold(pipe: Pipeline) -> dict[str, Any]:
    """Wall clock from a cold process to a file with one chunk, and the part of it that is no sampling."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, seen = pipe.save_pretrained(folder / "model"), folder / "observation.json"
        seen.write_text(json.dumps({word: value.tolist() for word, value in _observations(1).items()}))
        command = [sys.executable, "-m", "gencore", "generate", "robot", "--model", str(model), "--quiet", "--json",
                   "--observation", str(seen), "-o", str(folder / "chunk.npz"), "--force"]  # fmt: skip
        sampling: list[float] = []

        def generate() -> None:
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            sampling.append(json.loads(done.stdout)["seconds"])

        bare = [sys.executable, "-c", "import torch"]
        compared = interleave(generate, lambda: subprocess.run(bare, check=True), 5)
    rest = compared.seconds.median - Spread.of(sampling[1:]).median
    print(f"robot, cold start: {compared} of importing torch alone; {rest:.2f} s before and after sampling", flush=True)
    return {"seconds_without_sampling": rest, **compared.row()}
