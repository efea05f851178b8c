"""Figures of known models: an oracle is perfect, a copier equals its baseline, and hidden cells stay hidden."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gencore.cli import main
from gencore.conditioner import Unconditional
from gencore.denoised import Prediction
from gencore.errors import InputError
from gencore.nn.init import seeded
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.flows import LinearFlow
from gencore_video.backbone import VDT
from gencore_video.baselines import nearest_given
from gencore_video.copies import copies
from gencore_video.evaluation import TASKS, completion, evaluate, random_frames, task
from gencore_video.figures import Truth, baselines, compare, paths, truth, unevenness
from gencore_video.physics.clips import physics_clips
from gencore_video.tokenizers.frames import Frames

CLIPS = 6


@pytest.fixture(scope="module")
def true() -> Truth:
    return truth(physics_clips(held_out=True), CLIPS)


@pytest.mark.parametrize("name", TASKS)
def test_an_oracle_is_perfect_and_beats_every_baseline(name: str, true: Truth):
    report = task(lambda clips, mask: clips, true, TASKS[name])
    model = report["model"]
    assert model["psnr_generated"] == model["psnr_whole"] == 100
    assert model["ssim_generated"] == pytest.approx(1)
    assert model["position_error"] < 0.05 and model["lost"] == 0
    for guess in ("nearest", "linear"):
        assert report[guess]["psnr_generated"] < 40
        assert report[guess]["psnr_whole"] > report[guess]["psnr_generated"] - 1e-9
    assert ("straight_line" in report) == (name != "image-to-video")


@pytest.mark.parametrize("name", TASKS)
def test_a_model_that_copies_has_the_figures_of_the_copying_baseline(name: str, true: Truth):
    report = task(nearest_given, true, TASKS[name])
    assert report["model"] == report["nearest"]


def test_position_error_is_in_pixels(true: Truth):
    assert true.positions is not None
    frames = torch.ones(CLIPS, true.frames, dtype=torch.bool)
    shifted = true.positions + torch.tensor([3.0, 4.0])
    figures = paths(shifted, true, frames)
    assert figures["position_error"] == pytest.approx(5) and figures["velocity_error"] == pytest.approx(0, abs=1e-9)
    moved = torch.roll(true.clips, (2, 0), (-2, -1))
    mask = torch.ones_like(true.clips[:, :1], dtype=torch.bool)
    still = compare(true.clips, true, mask)["position_error"]
    assert compare(moved, true, mask)["position_error"] > still + 1


def test_a_lost_disc_is_counted(true: Truth):
    gone = true.clips.clone()
    gone[:, 0] = -1
    mask = torch.ones_like(gone[:, :1], dtype=torch.bool)
    assert compare(gone, true, mask)["lost"] == pytest.approx(1 / 3)


def test_straight_lines_beat_copying_on_free_flight(true: Truth):
    mask = torch.zeros_like(true.clips[:, :1], dtype=torch.bool)
    mask[:, :, 8:10] = True
    report = baselines(true, mask)
    assert report["straight_line"]["position_error"] < 0.5 < report["nearest"]["position_error"]


def test_real_motion_is_even_and_shuffled_frames_are_not(true: Truth):
    order = torch.tensor([0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15])
    assert unevenness(true.clips[:, :, order]) > 5 * unevenness(true.clips)


@pytest.mark.parametrize("kind", [random_frames, completion])
def test_masks_of_the_evaluation_leave_every_place_a_given_frame(kind: Any):
    for seed in range(200):
        mask = kind((16, 8, 8), Random(seed)).expand(16, 8, 8)
        assert mask.any() and not mask.all(0).any()
        assert int((~mask.flatten(1).any(1)).sum()) >= 2


def test_training_clips_are_copies_of_themselves(true: Truth):
    train = truth(physics_clips(held_out=True, count=80), 80)
    known = Truth(train.clips[40:], train.positions[40:] if train.positions is not None else None, None)
    held = Truth(train.clips[:40], train.positions[:40] if train.positions is not None else None, None)
    copied, new = copies(known.clips[:20], held, known), copies(held.clips, held, known)
    assert copied["copied_clip-8x8"] == copied["copied_frame"] == copied["copied_paths"] == 1
    assert copied["distance_paths"]["model"] == pytest.approx(0, abs=1e-5)
    frechet = new["frechet_paths"]
    assert new["copied_paths"] <= 1 / 40 and frechet["model"] == pytest.approx(frechet["real"])


class Recorder:
    """Stands for a pipeline: fills hidden cells with 0 and keeps what it was asked."""

    defaults = SimpleNamespace(sampler="none", steps=0)

    def __init__(self) -> None:
        self.calls: list[Mapping[str, Any]] = []

    def generate(self, **asked: Any) -> Any:
        self.calls.append(asked)
        if "task" in asked:
            return SimpleNamespace(tensor=torch.nn.functional.pad(asked["known"], (0, 0, 0, 0, 0, asked["frames"])))
        return SimpleNamespace(tensor=torch.where(asked["mask"], 0.0, asked["known"]))


def test_a_whole_report_covers_all_tasks_hides_what_it_asks_for_and_counts_its_clips():
    pipe, seen = Recorder(), []
    data = physics_clips(held_out=True)
    report = evaluate(pipe, data, n=2, seed=5, progress=lambda done, total: seen.append((done, total)))  # type: ignore[arg-type]
    assert set(report["tasks"]) == set(TASKS)
    assert list(report["given_frames"]) == ["1", "2", "4", "8", "12"]
    assert [*report["roll_out"]] == [f"{k}..{k + 7}" for k in range(8, 80, 8)]
    (rolled,) = (call for call in pipe.calls if "task" in call)
    # Eighty frames in windows of sixteen that share eight are nine windows.
    assert rolled["known"].shape[2] == 8 and rolled["frames"] == 72
    assert seen[-1][0] == seen[-1][1] == 2 * (len(pipe.calls) - 1 + 9)
    assert report["seeds"] == [5, 6]
    for call in (call for call in pipe.calls if call is not rolled):
        assert not call["known"][call["mask"].expand_as(call["known"])].any()
        assert len(call["seed"]) == 2


def test_more_clips_than_there_are_is_refused():
    with pytest.raises(InputError, match="256"):
        truth(physics_clips(held_out=True), 257)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with seeded(0):
        net = VDT(3, 8, width=16, depth=1, heads=2, prediction=Prediction("x0"))
    pipe = Pipeline(modality="video", tokenizer=Frames(3, (16, 32, 32), multiple=8), conditioner=Unconditional(),
                    backbone=net, process=LinearFlow(),
                    defaults=Defaults(sampler="ddim", steps=1, known_mode="compose_input"))  # fmt: skip
    return pipe.save_pretrained(tmp_path_factory.mktemp("models") / "tiny")


def test_one_command_prints_the_figures_and_an_untrained_model_is_blind(folder: Path, capsys: pytest.CaptureFixture):
    assert main(["evaluate", "video", "--model", str(folder), "-n", "2", "--seed", "0", "--json", "--quiet"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert "256 held-out clips" in report["data"]
    for figures in report["tasks"].values():
        # Grey at 0 everywhere is half of full scale away from black and from white; edges of discs are nearer.
        assert figures["model"]["psnr_generated"] == pytest.approx(20 * math.log10(2), abs=0.15)
        assert figures["nearest"]["psnr_generated"] > figures["model"]["psnr_generated"]
    assert report["unconditional"]["copied_paths"] == 0
    rolled = report["roll_out"]["8..15"]
    assert rolled["model"]["position_error"] > rolled["straight_line"]["position_error"]


def test_the_table_names_nested_figures_in_full(folder: Path, capsys: pytest.CaptureFixture):
    assert main(["evaluate", "video", "--model", str(folder), "-n", "1", "--quiet"]) == 0
    assert "tasks predict model psnr generated" in capsys.readouterr().out
