"""Generation over several processes is generation in one."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencore.cli import main, parallel
from gencore.errors import InputError
from gencore.recipe import read_recipe
from gencore.request import request
from gencore.testing.tiny import tiny_pipeline


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_two_processes_write_the_files_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_pipeline().save_pretrained("model")
    words = ["generate", "images", "--model", "model", "--label", "3,1,4,5", "--seed", "7,30,9,2"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "gencore", *words,
         "--parallel", "dp=2", "-o", "two"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (closing,) = done.stdout.splitlines()
    assert closing.startswith("two (4 files)  4 samples  seeds 7,30,9,2  8 network calls  ")
    assert main([*words, "--batch", "2", "-o", "one", "--quiet"]) == 0
    one, two = (sorted(Path(name).iterdir()) for name in ("one", "two"))
    assert [path.name for path in one] == [path.name for path in two]
    for single, shared in zip(one, two, strict=True):
        assert abs(pixels(single) - pixels(shared)).max() <= 1
        recipes = [read_recipe(path) for path in (single, shared)]
        assert [recipe.pop("result")[:8] for recipe in recipes] == ["blake2b:"] * 2
        assert recipes[0] == recipes[1] and recipes[0]["batch"] == 2


@pytest.mark.parametrize("text", ["2", "dp", "dp=", "dp=0", "dp=two", "tp=2"])
def test_only_shares_of_the_samples_are_offered(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="accepted: dp=N"):
        parallel.ranks(text)


@pytest.mark.parametrize(("count", "started"), [(2, ""), (1, "2"), (3, "2")])
def test_another_number_of_processes_is_refused(count: int, started: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", started)
    with pytest.raises(InputError, match=f"dp={count} in .*accepted: dp={started or 1}"), parallel.group(count):
        pass


@pytest.mark.parametrize(
    ("n", "count", "batch", "share"), [(64, 2, None, 32), (64, 2, 16, 16), (64, 2, 50, 32), (3, 3, None, 1)]
)
def test_shares_are_equal(n: int, count: int, batch: int | None, share: int) -> None:
    assert parallel.share(request(tiny_pipeline(), n=n, label=1, seed=0), count, batch) == share


@pytest.mark.parametrize(
    ("n", "count", "batch", "said"),
    [(7, 2, None, "nearest: 6 or 8"), (1, 2, None, "nearest: 2"), (64, 2, 20, "a divisor of 32")],
)
def test_what_does_not_divide_is_refused(n: int, count: int, batch: int | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parallel.share(request(tiny_pipeline(), n=n, label=1, seed=0), count, batch)


def test_a_seed_is_drawn_where_none_is_given() -> None:
    assert {0 <= parallel.drawn_seed() < 1_000_000 for _ in range(20)} == {True}
    assert len({parallel.drawn_seed() for _ in range(20)}) > 1
