"""The example package, treated as a stranger's: its own metadata, its own folder, the public command line."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "gencore-ecg"


@pytest.fixture
def ecg(site: Any) -> Any:
    shutil.copytree(EXAMPLE / "src", site.folder, dirs_exist_ok=True)
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    ((name, target),) = project["entry-points"]["gencore.plugins"].items()
    site.install(project["name"], entry=f"{name} = {target}", version=project["version"])
    return site


def test_it_passes_the_conformance_suite(ecg: Any) -> None:
    done = ecg.gencore("check", "ecg", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout


def test_its_default_draws_the_beat_asked_for_and_fills_in_around_what_is_given(ecg: Any) -> None:
    made = ecg.gencore("generate", "ecg", "--label", "wide", "-n", "2", "--seed", "3", "-o", "a.csv", "--quiet")
    assert made.returncode == 0, made.stderr
    again = ecg.gencore("reproduce", "a.csv")
    assert again.returncode == 0 and "2 of 2 samples bit-equal" in again.stdout, again.stdout + again.stderr
    code = (
        "import gencore, numpy as np; from gencore_ecg.metrics import middle_share; pipe = gencore.load('ecg');"
        "asked = [0, 1] * 20; made = pipe.generate(label=asked, seed=0).tensor[:, 0].numpy();"
        "print(middle_share(made, asked), middle_share(made, [1 - k for k in asked]))"
    )
    right, wrong = map(float, ecg.run("-c", code).stdout.split())
    assert right > 0.85 and wrong < 0.15
