"""The recipe of the packaged policies: nothing is measured twice, missing runs are named, the table is whole."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gencore
from gencore_robot.data import Episodes
from gencore_robot.demonstrations import reach_episodes
from gencore_robot.packaged import fitting
from gencore_robot.presets import reach_named, reach_regression, reach_two, tiny

RECIPES = Path(__file__).parents[1] / "recipes"
README = RECIPES.parent / "README.md"
EXAMPLES = RECIPES.parents[2] / "examples"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a file of recipes/ or examples/, which are scripts and no package, and forgets it afterwards."""
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield import_module
    for file in (*RECIPES.glob("*.py"), *EXAMPLES.glob("gallery*.py")):
        sys.modules.pop(file.stem, None)


class Walker:
    """A policy of the reach that keeps to one side, or walks into the disc."""

    def __init__(self, side: int | None) -> None:
        self.side = side

    def predict_chunk(self, obs: Any) -> np.ndarray:
        targets = obs["env_state"].reshape(-1, 2, 2)
        goals = np.zeros_like(targets[:, 0]) if self.side is None else targets[:, self.side]
        around = np.array([[0.5 if self.side else -0.5, -0.3]])
        below = obs["state"][:, 1:] < -0.32
        return (np.where(below & (self.side is not None), around, goals))[:, None]


def figures(successes: int, interval: list[float], **more: Any) -> dict[str, Any]:
    return {"episodes": 200, "successes": successes, "success_rate": successes / 200, "interval": interval, **more}


FIGURES: dict[str, Any] = {
    "seeds from": 100_000, "missing": ["transfer-cube"],
    "two-way-reach": {
        "policy": figures(190, [0.91, 0.97], left=90, right=100, neither=10),
        "ddpm": figures(192, [0.92, 0.98], left=96, right=96, neither=8),
        "regression": figures(20, [0.07, 0.15], left=20, right=0, neither=180),
        "expert": figures(200, [0.98, 1.0]),
        "latency_ms": {"p50": 12.34, "p95": 20.0}, "latency_ms_ddpm": {"p50": 246.8, "p95": 300.0},
        "latency_ratio": 20.0,
    },
    "reach-two": {
        "reach-two": {"steps": 2000, "gencore/TwoWayReach-v0": figures(180, [0.85, 0.94]),
                      "gencore/TwoWayReachVelocity-v0": figures(100, [0.43, 0.57])},
        "reach-few": {"steps": 500, "gencore/TwoWayReachVelocity-v0": figures(150, [0.69, 0.8])},
    },
    "reach-named": {"right": figures(188, [0.9, 0.97], followed=188), "without": figures(90, [0.38, 0.52])},
}  # fmt: skip


def test_the_table_holds_every_comparison_and_what_is_missing(recipe: Callable[[str], Any]) -> None:
    text = recipe("robots_report").table(FIGURES)
    for row in ("| **policy**, DPM-Solver++ in 5 steps | 190 of 200 (91 to 97 %) | 12.3 | 90 | 100 | 10 |",
                "| mean action of the same network | 20 of 200 (7 to 15 %) |  | 20 | 0 | 180 |",
                "| scripted expert | 200 of 200 (98 to 100 %) |  |  |  |  |",
                "| that, then the 20 alone | 2500 | 150 of 200 (69 to 80 %) |  |",
                "| the target that counts | 188 of 200 (90 to 97 %) | 188 |",
                "| nothing | 90 of 200 (38 to 52 %) |  |"):  # fmt: skip
        assert row in text
    assert "within the interval, 20 times the time of a chunk" in text and "seeds 100,000 on" in text
    assert "for want of a run: transfer-cube." in text


def test_a_success_rate_outside_the_other_interval_is_called_so(recipe: Callable[[str], Any]) -> None:
    task = FIGURES["two-way-reach"]
    said = recipe("robots_report").sentences("two-way-reach", {**task, "ddpm": task["regression"]})
    assert "outside the interval" in said


def test_what_was_measured_is_not_measured_again(recipe: Callable[[str], Any], tmp_path: Path) -> None:
    measure, calls = recipe("robots_measure"), list[str]()
    for what in ("a", "b", "a"):
        measured = measure.Measured(tmp_path / "measured.json")
        assert measured(what, lambda: calls.append(what) or [len(calls)]) == [1 if what == "a" else 2]  # noqa: B023
    assert calls == ["a", "b"]


@pytest.mark.parametrize(("side", "counts"), [(0, (4, 0, 0)), (1, (0, 4, 0)), (None, (0, 0, 4))])
def test_ways_are_counted(recipe: Callable[[str], Any], side: int | None, counts: tuple[int, ...]) -> None:
    found = recipe("robots_measure").ways(Walker(side), "gencore/TwoWayReach-v0", 4)
    assert (found["left"], found["right"], found["neither"]) == counts
    assert found["successes"] == 4 - counts[2]


def test_a_script_is_played_on_the_same_seeds(recipe: Callable[[str], Any]) -> None:
    measure = recipe("robots_measure")
    assert measure.scripted("gencore/TwoWayReach-v0", "reach", 3)["success_rate"] == 1.0
    assert measure.scripted("gencore/TwoWayReachVelocity-v0", "reach", 3)["success_rate"] < 1.0


def test_the_gallery_draws_a_line_an_episode(recipe: Callable[[str], Any]) -> None:
    from gencore_robot.envs.paths import Paths
    from gencore_robot.rollout import rollout

    paths = Paths()
    rollout(Walker(0), "gencore/TwoWayReach-v0", episodes=3, num_envs=3, seed=0, watch=paths)
    gallery = recipe("gallery_robot")
    drawn = gallery.drawn(paths)
    assert drawn.count("<polyline") == drawn.count(gallery.COLOURS[0]) == 3 and drawn.count("<circle") == 7
    assert all(np.allclose(points[0][1], -0.8) for points in paths.points)
    # What a set-back environment plays afterwards belongs to no line.
    steps = [np.linalg.norm(np.diff(points, axis=0), axis=1).max() for points in paths.points]
    assert max(steps) < 0.061


def test_one_command_measures_writes_and_goes_on(
    recipe: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package, runs = recipe("package_robots"), tmp_path / "runs"
    monkeypatch.setattr(package, "DDPM", {"sampler": "ddpm", "steps": 2})
    monkeypatch.setattr(package, "latency", partial(package.latency, rounds=1))
    for file in RECIPES.glob("*.json"):
        (tmp_path / file.name).write_text(file.read_text())
    monkeypatch.setattr(package, "HERE", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(README.read_text())
    data = reach_episodes(4)
    told = Episodes([replace(e, instructions=((side,),)) for e, side in
                     zip(data.episodes, ("left", "right") * 2, strict=True)])  # fmt: skip
    small: dict[str, Any] = {"width": 16, "depth": 1, "steps": 1}
    trainings = {"two-way-reach": tiny(data), "two-way-reach-regression": reach_regression(data, **small),
                 "reach-two": reach_two(data, **small), "reach-named": reach_named(told, **small)}  # fmt: skip
    for run, training in trainings.items():
        (runs / run).mkdir(parents=True)
        training.pipeline.card = {**training.pipeline.card, "training": {"steps": 1}}
        training.pipeline.save_pretrained(runs / run / "model")
    (runs / "two-way-reach" / "metrics.csv").write_text("step,loss,lr\n1,0.5,0.1\n2,0.25,0.1\n")
    words = ["package_robots.py", "--runs", str(runs), "--reach", "2", "--output", str(tmp_path / "out"), "--readme",
             str(readme)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    package.main()
    first = capsys.readouterr().out
    package.main()
    again = capsys.readouterr().out
    assert "instruction wrong; 2 episodes" in first and "; 2 episodes" not in again and first.endswith(again)
    assert again in readme.read_text()
    found = fitting("gencore/TwoWayReach-v0", tmp_path / "out")
    card = gencore.load("robot", found).card
    assert found.name == "two-way-reach" and card["execute"] == 8
    assert "toy" in card["summary"] and card["data"].startswith("200 scripted")
    assert card["missing"] == ["transfer-cube", "reach-few", "reach-scratch", "reach-scratch-long"]
    assert card["figures"]["policy"]["episodes"] == 2 and "reached" not in card["figures"]["policy"]
    assert set(card["comparison"]["reach-two"]["reach-two"]) > {package.REACH, package.VELOCITY}
    assert json.loads((found / "config.json").read_text())["card"]["training"] == {"steps": 1}
    assert (tmp_path / "two-way-reach-log.csv").read_text() == "step,loss\n1,0.50000\n2,0.25000\n"


def test_an_interrupted_run_is_not_packaged(recipe: Callable[[str], Any], tmp_path: Path) -> None:
    package, pipe = recipe("package_robots"), tiny(reach_episodes(2)).pipeline
    assert not package.finished(tmp_path)
    pipe.card = {"training": {"steps": 3}}
    pipe.save_pretrained(tmp_path / "model")
    log = "step,loss\n1,0.5\n2,0.5\n"
    (tmp_path / "metrics.csv").write_text(log)
    assert not package.finished(tmp_path)
    (tmp_path / "metrics.csv").write_text(log + "3,0.5\n")
    assert package.finished(tmp_path)


def test_the_script_trains_every_run_that_is_measured(recipe: Callable[[str], Any]) -> None:
    package, script = recipe("package_robots"), (RECIPES / "train_robots.sh").read_text()
    trained = [line.split()[1] for line in script.splitlines() if line.startswith("train ")]
    assert sorted(trained) == sorted([*package.DEFAULTS.values(), *package.COMPARED])
