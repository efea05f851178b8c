"""The recipe of the packaged default: nothing is measured twice, and where copying is better stands in the card."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gencore
from gencore.conditioner import Unconditional
from gencore.denoised import Prediction
from gencore.nn.init import seeded
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.flows import LinearFlow
from gencore_video import evaluation
from gencore_video.backbone import VDT
from gencore_video.evaluation import TASKS
from gencore_video.figures import truth
from gencore_video.physics.clips import physics_clips
from gencore_video.prediction import Maker
from gencore_video.tokenizers.frames import Frames

RECIPES = Path(__file__).parents[1] / "recipes"
README = RECIPES.parent / "README.md"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a file of recipes/, which are scripts and no package, and forgets it afterwards."""
    monkeypatch.syspath_prepend(str(RECIPES))
    yield import_module
    for file in RECIPES.glob("*.py"):
        sys.modules.pop(file.stem, None)


def task(psnr: float, ssim: float, position: float) -> dict[str, float]:
    return {"psnr_generated": psnr, "ssim_generated": ssim, "position_error": position, "velocity_error": position / 2}


CARD: dict[str, Any] = {
    "figures": {
        "clips": 64,
        "tasks": {
            "predict": {"model": task(20, 0.8, 1.0), "nearest": task(15, 0.7, 3.0), "linear": task(15, 0.7, 3.0),
                        "straight_line": {"position_error": 0.5, "velocity_error": 0.1}},
            "interpolate": {"model": task(20, 0.8, 1.0), "nearest": task(15, 0.9, 3.0), "linear": task(19, 0.7, 2.0)},
        },
        "roll_out": {"8..15": {"model": {"position_error": 4.0, "unevenness": 1.0}, "nearest": {"position_error": 5.0},
                               "straight_line": {"position_error": 1.0}, "real": {"unevenness": 0.5}},
                     "16..23": {"model": {"position_error": 7.0, "unevenness": 1.0}, "nearest": {"position_error": 6.0},
                                "straight_line": {"position_error": 2.0}, "real": {"unevenness": 0.5}}},
        "unconditional": {"training_clips": 32, "copied_frame": 0.25, "distance_frame": {"model": 7.0, "real": 8.0}},
    },
    "comparison": {
        "sampler": "ddim, 12 steps", "missing": ["discs-complete"],
        "steps": {"discs-short": 1000, "discs-framewise": 1000, "discs-predict": 143, "discs-unconditional": 143,
                  "discs-predict-alone": 1000},
        "runs": {
            "discs-short": {"predict": task(20, 0.8, 1.5), "unconditional": {"unevenness": 0.6}},
            "discs-framewise": {"predict": task(12, 0.5, 6.0), "unconditional": {"unevenness": 3.0}},
            "discs-predict": {"predict": task(23.0103, 0.8, 1.0)},
            "discs-unconditional": {"unconditional": {"unevenness": 1.2}},
            "discs-predict-alone": {"predict": task(24, 0.9, 0.75)},
        },
    },
}  # fmt: skip


def test_where_a_baseline_is_better_is_said_and_nothing_else(recipe: Callable[[str], Any]) -> None:
    assert recipe("discs_report").lines(CARD["figures"]) == [
        "predict: position error 1 px, straight line 0.5 px",
        "interpolate: SSIM 0.8, copying 0.9",
        "roll-out, frames 16..23: position error 7 px, copying 6 px",
    ]


def test_the_paragraph_names_the_tasks_in_which_copying_is_better(recipe: Callable[[str], Any]) -> None:
    said = recipe("discs_report").sentences(CARD)
    assert "On 64 held-out clips, predict: 20 dB over generated cells (copying 15, linear in time 15)" in said
    assert said.endswith("worse than copying in some figure of: interpolate, roll-out.")


def test_the_table_holds_every_comparison(recipe: Callable[[str], Any]) -> None:
    text = recipe("discs_report").table(CARD)
    for row in ("| predict | **model** | 20 | 0.8 | 1 |", "| predict | straight line |  |  | 0.5 |",
                "| unconditional, against 32 training clips | model | held-out clips |",
                "| copied frame | 0.25 |  |", "| distance frame | 7 | 8 |",
                "| 16..23 | 7 | 6 | 2 | 1 | 0.5 |", "| predict | 1.5 | 1 | 1.5 | 2 |",
                "| unconditional | 0.6 | 1.2 | 0.5 |  |", "| predict | 0.75 | 3 | 1.5 | 6 |  |  |"):  # fmt: skip
        assert row in text
    assert "1000 steps, beside one for each task, 286 steps together" in text
    assert "At worst the one model has 1.50 times the error" in text
    assert "a specialist is 0.75 px off, the model of all tasks 1.5 px" in text
    assert "for want of a run: discs-complete." in text


def test_a_table_without_comparisons_is_whole(recipe: Callable[[str], Any]) -> None:
    text = recipe("discs_report").table({"figures": CARD["figures"]})
    assert "| interpolate | linear in time | 19 | 0.7 | 2 |" in text and "steps" not in text


def test_the_figures_of_the_readme_are_replaced(recipe: Callable[[str], Any], tmp_path: Path) -> None:
    report, page = recipe("discs_report"), tmp_path / "README.md"
    page.write_text(README.read_text())
    for text in ("one", "two"):
        report.write_between(page, text)
    before, after = (README.read_text().partition(mark) for mark in (report.START, report.END))
    assert page.read_text() == f"{before[0]}{report.START}\n\ntwo\n{report.END}{after[2]}"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="no <!--"):
        report.write_between(page, "three")


def test_what_was_measured_is_not_measured_again(recipe: Callable[[str], Any], tmp_path: Path) -> None:
    package, calls = recipe("package_discs"), list[str]()
    pipe = SimpleNamespace(hash=lambda: "ab", defaults=Defaults("ddim", 12))

    def make(what: str) -> dict[str, float]:
        calls.append(what)
        return {what: 0.5}

    for _ in range(2):
        measured = package.Measured(tmp_path / "measured.json")
        assert measured(pipe, 4, "a", lambda: make("a")) == {"a": 0.5}
    pipe.defaults = Defaults("ddim", 24)
    measured(pipe, 4, "a", lambda: make("b"))
    measured(pipe, 8, "a", lambda: make("c"))
    assert calls == ["a", "b", "c"]


def test_seven_specialists_share_the_budget_of_one_run(recipe: Callable[[str], Any]) -> None:
    package = recipe("package_discs")
    assert list(package.SPECIALISTS) == [*TASKS, "unconditional"] and len(set(package.ABLATIONS)) == 10
    assert {"discs-short", "discs-framewise", "discs-predict"} <= set(package.ABLATIONS)


def test_one_command_measures_writes_and_goes_on(
    recipe: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = recipe("package_discs")
    monkeypatch.setattr(evaluation, "_TRAINING_CLIPS", 8)
    monkeypatch.setattr(package, "HERE", tmp_path)
    monkeypatch.setattr(package, "CHOICES", [("ddim", 1)])
    monkeypatch.setattr(package, "COMPARING", Defaults("ddim", 1, known_mode="compose_input"))
    (tmp_path / "discs-card.json").write_text(json.dumps({"title": "discs"}))
    (tmp_path / "README.md").write_text(README.read_text())
    for i, run in enumerate(("discs", "discs-short")):
        with seeded(i):
            net = VDT(3, 8, width=16, depth=1, heads=2, prediction=Prediction("x0"))
        Pipeline(modality="video", tokenizer=Frames(3, (16, 32, 32), multiple=8), conditioner=Unconditional(),
                 backbone=net, process=LinearFlow(), card={"training": {"steps": 3}},
                 defaults=package.COMPARING).save_pretrained(_folder(tmp_path / "runs" / run) / "model")  # fmt: skip
    words = ["package_discs.py", "--runs", str(tmp_path / "runs"), "-n", "2", "--choose", "1", "--output",
             str(tmp_path / "out"), "--readme", str(tmp_path / "README.md")]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    package.main()
    first = capsys.readouterr().out
    kept = (tmp_path / "out" / "config.json").read_text()
    package.main()
    again = capsys.readouterr().out
    # The second run measures nothing, and says the same.
    assert "discs-short predict: " in first and " s\n" not in again and first.endswith(again)
    assert (tmp_path / "out" / "config.json").read_text() == kept and again in (tmp_path / "README.md").read_text()
    card = json.loads(kept)["card"]
    assert card["comparison"]["missing"] == [run for run in package.ABLATIONS if run != "discs-short"]
    # A network that predicts grey everywhere is worse than copying in every task.
    assert {line.partition(":")[0] for line in card["worse than a baseline"]} >= set(TASKS)
    true = truth(physics_clips(held_out=True), 2)
    direct = evaluation.task(Maker(gencore.load("video", tmp_path / "out"), 0), true, TASKS["backward"])
    assert package.rounded(direct) == card["figures"]["tasks"]["backward"]


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path
