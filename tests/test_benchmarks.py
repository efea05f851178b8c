"""The harness behind the figures: its statistics on given times, and its checks of equality."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a file of benchmarks/, which are scripts and no package, and forgets it afterwards."""
    monkeypatch.syspath_prepend(str(ROOT))
    yield import_module
    for file in ROOT.glob("*.py"):
        sys.modules.pop(file.stem, None)


def test_a_spread_is_the_median_the_range_and_the_middle_half(harness: Callable[[str], Any]) -> None:
    spread = harness("pairs").Spread.of([4.0, 1.0, 2.0, 3.0, 10.0])
    assert (spread.median, spread.low, spread.high, spread.iqr) == (3.0, 1.0, 10.0, 2.0)


def test_ratios_are_taken_within_pairs_so_that_a_drifting_machine_cancels(harness: Callable[[str], Any]) -> None:
    slowing = [(1.0 * k, 2.0 * k) for k in (1, 2, 4, 8, 16)]
    found = harness("pairs").Comparison.of(slowing)
    assert found.pairs == 5
    assert (found.ratio.median, found.ratio.low, found.ratio.high, found.ratio.iqr) == (0.5, 0.5, 0.5, 0.0)
    assert (found.seconds.median, found.peer_seconds.median) == (4.0, 8.0)


def test_the_two_alternate_and_warm_runs_are_not_timed(harness: Callable[[str], Any]) -> None:
    now, calls = [0.0], []

    def run(name: str, seconds: float) -> None:
        # The first run of each is slow, as one that compiles or fills caches is.
        now[0] += seconds if name in calls else 100.0
        calls.append(name)

    found = harness("pairs").interleave(lambda: run("a", 3.0), lambda: run("b", 4.0), 3, clock=lambda: now[0])
    assert calls == ["a", "b"] * 4
    assert (found.ratio.low, found.ratio.high) == (0.75, 0.75)


def test_flops_are_those_of_the_matrix_products(harness: Callable[[str], Any]) -> None:
    width, depth, tokens, batch = 8, 3, 5, 2
    linears = [(tokens, width, 3 * width), (tokens, width, width), (tokens, width, 4 * width),
               (tokens, 4 * width, width), (1, width, 6 * width), *[(tokens, width, tokens)] * 2]  # fmt: skip
    ends = [(tokens, 16, width), (1, 256, width), (1, width, width), (1, width, 2 * width), (tokens, width, 32)]
    products = linears * depth + ends
    assert harness("peak").flops(width, depth, tokens, batch) == sum(2 * batch * a * b * c for a, b, c in products)


def test_unequal_results_stop_a_benchmark(harness: Callable[[str], Any]) -> None:
    peer = harness("peer")
    value = torch.tensor([1.0, -10.0])
    assert peer.require_equal(value + 5e-5, value, "near") == pytest.approx(5e-6, rel=0.05)
    with pytest.raises(peer.Unequal, match="far"):
        peer.require_equal(value + 5e-4, value, "far")
    with pytest.raises(peer.Unequal):
        peer.require_equal(value * float("nan"), value, "lost")


def test_quick_checks_equality_and_keeps_no_figure(
    harness: Callable[[str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("diffusers")
    run = harness("run")
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    assert run.main(["--quick"]) == 0
    said = capsys.readouterr().out
    assert all(
        name in said for name in ("forward tiny", "sampling tiny", "int8", "network, nothing attached: 1 graphs")
    )
    assert not list(tmp_path.iterdir())


def test_figures_are_kept_with_the_machine_they_were_measured_on(
    harness: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = harness("run")
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    monkeypatch.setattr(harness("calls"), "measure", lambda quick: {"site": {"quick": quick}})
    assert run.main(["--only", "calls"]) == 0
    kept = json.loads((tmp_path / "calls.json").read_text())
    assert kept["rows"] == {"site": {"quick": False}}
    assert kept["machine"]["versions"]["torch"] == version("torch")
    assert {"cpu", "threads", "load"} <= set(kept["machine"])
