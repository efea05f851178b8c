"""``gencore train`` and ``evaluate``, driven as a user types them."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch.callbacks import Callback
from PIL import Image

import gencore.models
import gencore.training.run
from gencore.manifest import Manifest
from gencore.models import CONFIG, WEIGHTS
from gencore.pipeline import Pipeline
from gencore.plugins import registered
from gencore.testing.commands import Run, refused, runner
from gencore.testing.tiny import tiny_items, tiny_pipeline

PRESETS = {"preset": {"tiny": "gencore.testing.tiny:tiny_training"}}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "toy.npz"
    images, labels = tiny_items(40)
    np.savez(path, images=images.numpy(), labels=labels.numpy())
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Run:
    monkeypatch.chdir(tmp_path)

    with registered(Manifest(name="toy", summary="a preset", provides=PRESETS)):
        yield runner(capsys)


@pytest.fixture
def train(run: Run, toy: Path) -> Run:
    return lambda *words: run("train", "images", "--preset", "tiny", "--data", toy, *words)


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_a_run_says_where_the_model_is_and_it_generates(train: Run, run: Run) -> None:
    done = train("--steps", 4, "--batch", 4, "--every", 2, "-o", "r")
    assert done.code == 0 and done.out.startswith("r  4 steps  loss ") and done.out.endswith("model: r/model\n")
    assert [line.split()[2] for line in done.err.splitlines()] == ["1/4", "2/4", "3/4", "4/4"]
    written = sorted(p.name for p in Path("r").iterdir())
    assert written == ["config.json", "last.ckpt", "metrics.csv", "model", "previews"]
    assert run("generate", "images", "--model", "r/model", "--label", 3, "-o", "a.png").code == 0
    card = json.loads(run("info", "r/model", "--json").out)["card"]
    assert card["training"]["preset"] == "tiny" and card["training"]["batch"] == 4 and "40 images" in card["data"]
    told = json.loads(run("train", "images", "--resume", "r", "--json").out)
    assert told["steps"] == 4 and told["loss"] is None and told["resume"] is None


def test_what_is_typed_wins_over_the_preset(train: Run) -> None:
    train("--steps", 2, "--lr", "0.5", "--seed", 3, "--precision", "bf16", "--accumulate", 2, "-o", "r", "--quiet")
    training = json.loads(Path("r/model", CONFIG).read_text())["card"]["training"]
    assert (training["lr"], training["seed"], training["precision"], training["steps"]) == (0.5, 3, "bf16", 2)
    train("--steps", 2, "--seed", 4, "-o", "s", "--quiet")
    assert losses(Path("r")) != losses(Path("s"))


def test_an_existing_run_is_kept_and_both_ways_on_are_told(train: Run) -> None:
    train("--steps", 1, "-o", "r", "--quiet")
    before = {p: p.read_bytes() for p in Path("r").rglob("*") if p.is_file()}
    told = refused(train("--steps", 1, "-o", "r"))
    assert "'gencore train images --resume r' continues it" in told and "'-o r-2' is free" in told
    assert {p: p.read_bytes() for p in Path("r").rglob("*") if p.is_file()} == before


def test_a_dry_run_measures_and_writes_nothing(train: Run, tmp_path: Path) -> None:
    done = train("--dry-run", "-o", "r")
    rows = dict(line.split("  ", 1) for line in done.out.splitlines())
    assert done.code == 0 and "40 images in 10 classes" in rows["data"] and rows["parameters"].strip() == "49,860"
    assert list(tmp_path.iterdir()) == []


def test_a_broken_picture_is_named_by_a_dry_run(run: Run) -> None:
    for name in ("cat", "dog"):
        Path("photos", name).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (8, 8), 40 * i).save(f"photos/{name}/{i}.png")
    Path("photos/cat/torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    done = run("train", "images", "--preset", "tiny", "--data", "photos", "--dry-run", "--json")
    told = json.loads(done.out)
    assert list(told["unreadable"]) == ["cat/torn.jpg"] and told["classes"] == ["cat", "dog"]


def test_fine_tuning_tells_what_it_kept_and_resumes_without_its_base(run: Run, tmp_path: Path) -> None:
    for name in ("cat", "dog", "eel"):
        Path("photos", name).mkdir(parents=True)
        for i in range(4):
            Image.new("L", (10, 10), 60 * i).save(f"photos/{name}/{i}.png")
    base = tiny_pipeline().save_pretrained("base")
    done = run("train", "images", "--from", base, "--data", "photos", "--steps", 2, "--batch", 4, "-o", "mine")
    assert done.code == 0 and done.err.splitlines()[0] == (
        "9 of 10 tensor groups reused; label table new: 3 classes (was 10); 0 silent"
    )
    (base / WEIGHTS).unlink()
    assert run("generate", "images", "--model", "mine/model", "--label", "eel", "-o", "e.png").code == 0
    assert run("train", "images", "--resume", "mine").code == 0
    assert "label: got cow; accepted: 0..2 or a class name such as 'cat'" in refused(
        run("generate", "images", "--model", "mine/model", "--label", "cow", "-o", "c.png")
    )


def test_fine_tuning_the_packaged_model_is_named_by_its_modality(run: Run, toy: Path, monkeypatch) -> None:
    base = tiny_pipeline().save_pretrained("base")
    monkeypatch.setattr(gencore.models, "packaged_default", lambda name: base)
    done = run("train", "images", "--from", "images", "--data", toy, "--steps", 1, "--batch", 4, "-o", "mine", "--json")
    assert "10 of 10 tensor groups reused; 0 silent" in done.err and json.loads(done.out)["steps"] == 1
    assert json.loads(Path("mine/model", CONFIG).read_text())["card"]["fine-tuned from"] == "packaged:images"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--preset", "tniy"], "did you mean 'tiny'?"),
        (["--data", "nowhere"], "nowhere (no such file or folder)"),
        (["--steps", "0"], "--steps: got 0; accepted: 1 or more"),
        (["--batch", "-1"], "--batch: got -1; accepted: 1 or more"),
        (["--lr", "0"], "--lr: got 0.0; accepted: more than 0"),
        (["--lr", "nan"], "--lr: got nan"),
        (["--precision", "16"], "--precision: got '16'; accepted: 32, bf16"),
        (["--accumulate", "3"], "batch: got 8 over 1 ranks x 3 micro-batches"),
        (["--parallel", "tp=2"], "--parallel: got tp=2; accepted: dp=N"),
        (["--workers", "-1"], "--workers: got -1"),
        (["--gradient-checkpointing"], "--gradient-checkpointing: got DiT"),
        (["--stpes", "3"], "did you mean '--steps'?"),
        (["--from", "base"], "--preset: got tiny with --from"),
        (["-o", "no/r"], "mkdir -p no"),
        (["--lr", "1e2", "--steps", "60"], "loss: nan at step"),
        (["--resume", "nowhere"], "--resume: got --preset with --resume"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(train: Run, tmp_path: Path, words: list[str], told: str) -> None:
    assert told in refused(train("-o", "r", "--quiet", *words))
    assert list(tmp_path.iterdir()) == []


def test_resuming_what_is_no_run_is_refused(run: Run) -> None:
    assert "run: got nowhere (No such file or directory)" in refused(run("train", "images", "--resume", "nowhere"))
    Path("odd").mkdir()
    Path("odd/config.json").write_text('{"modality": "images", "stpes": 3}')
    assert "did you mean 'steps'?" in refused(run("train", "images", "--resume", "odd"))
    assert "--data with a folder" in refused(run("train", "images", "--preset", "tiny", "-o", "r"))


def test_a_missing_trainer_is_told_with_what_installs_it(train: Run, monkeypatch) -> None:
    monkeypatch.setattr("gencore.cli.train.find_spec", lambda name: None)
    told = refused(train("-o", "r"))
    assert told == 'lightning: not installed, needed for training; pip install "gencore[train]"'
    assert not Path("r").exists()


def test_a_folder_one_may_not_write_is_told_before_any_work(train: Run, monkeypatch) -> None:
    Path("locked").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: str(path) != "locked")
    assert "locked/r (folder not writable)" in refused(train("-o", "locked/r"))


def test_ctrl_c_saves_and_tells_how_to_go_on(train: Run, run: Run, monkeypatch) -> None:
    fit = gencore.training.run.fit

    class CtrlC(Callback):
        def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
            if trainer.global_step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(gencore.training.run, "fit", lambda *args, **how: fit(*args, callbacks=(CtrlC(),), **how))
        done = train("--steps", 8, "-o", "my run")
    assert (done.code, done.out) == (130, "")
    told = "interrupted at step 3, saved my run; resume: gencore train images --resume 'my run'"
    assert done.err.splitlines()[-1] == told and Path("my run/model", WEIGHTS).exists()
    assert run(*shlex.split(told.partition("resume: gencore ")[2]), "--quiet").out.startswith("my run  8 steps")


# ---- processes of their own


@pytest.fixture
def start(site, toy: Path) -> Callable[..., subprocess.Popen[str]]:
    """A training process that another interpreter runs, with the tiny preset installed."""
    site.plugin("toy", repr(PRESETS))

    def popen(*words: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "gencore", "train", "images", *map(str, words)]
        env = {**os.environ, "PYTHONPATH": str(site.folder), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, env=env, cwd=site.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return popen


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert condition(), process.communicate()[1]


def test_a_killed_run_resumes_to_the_weights_of_an_uninterrupted_one(run: Run, start, toy: Path, site) -> None:
    words = ("--preset", "tiny", "--data", toy, "--steps", 100, "--every", 5, "--batch", 4)
    process = start(*words, "-o", "killed")
    checkpoint = site.folder / "killed" / "last.ckpt"
    wait_for(checkpoint.exists, process)
    process.kill()
    process.communicate()
    before = len(losses(site.folder / "killed"))
    assert 5 <= before < 100
    assert run("train", "images", "--resume", site.folder / "killed", "--quiet").code == 0
    assert run("train", "images", *words, "-o", "whole", "--quiet").code == 0
    assert losses(site.folder / "killed") == losses(Path("whole"))
    assert (site.folder / "killed/model" / WEIGHTS).read_bytes() == Path("whole/model", WEIGHTS).read_bytes()


def test_two_processes_have_the_losses_of_one(run: Run, start, toy: Path, site) -> None:
    words = ("--preset", "tiny", "--data", toy, "--steps", 4)
    process = start(*words, "--parallel", "dp=2", "--device", "cpu", "-o", "two")
    assert run("train", "images", *words, "-o", "one", "--quiet").code == 0
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert out.startswith("two  4 steps  loss ") and out.count("\n") == 1
    assert len([line for line in err.splitlines() if "/4 steps" in line]) == 4
    assert losses(site.folder / "two") == pytest.approx(losses(Path("one")), rel=1e-6)
    assert sorted(p.name for p in (site.folder / "two").iterdir()) == sorted(p.name for p in Path("one").iterdir())


# ---- evaluate


def test_figures_carry_the_name_of_their_extractor(run: Run, toy: Path) -> None:
    base: Path = tiny_pipeline().save_pretrained("base")
    words = ("evaluate", "images", "--model", base, "--data", toy, "-n", 16, "--quiet")
    done = run(*words, "--json")
    told = json.loads(done.out)
    assert done.err == "" and told["extractor"].startswith("pixels-pca") and told["seeds"] == [0, 15]
    assert told["frechet_real"] < told["frechet_model"] and "copied_model" not in told
    measures, who = ("frechet", "precision", "recall"), ("model", "real", "gaussian")
    assert {f"{measure}_{name}" for measure in measures for name in who} <= told.keys()
    rows = run(*words, "--train", toy).out.splitlines()
    assert any(row.startswith("copied model") for row in rows) and any(row.startswith("seeds") for row in rows)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-n", "4"], "n: got 4; accepted: 8 or more"),
        (["-n", "5000"], "n: got 5000; accepted: at most 20"),
        (["--data", "nowhere"], "no such file or folder"),
    ],
)
def test_evaluation_refuses_what_it_cannot_measure(run: Run, toy: Path, words: list, told: str, monkeypatch) -> None:
    base = tiny_pipeline().save_pretrained("base")
    monkeypatch.setattr(Pipeline, "generate", lambda *_, **__: pytest.fail("it worked first"))
    assert told in refused(run("evaluate", "images", "--model", base, "--data", toy, "--quiet", *words))
