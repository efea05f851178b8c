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


def test_rounds_time_every_alternative_in_turn(harness: Callable[[str], Any]) -> None:
    now = [0.0]

    def run(seconds: float) -> Callable[[], None]:
        return lambda: now.__setitem__(0, now[0] + seconds)

    timed = harness("pairs").rounds([run(1.0), run(2.0), run(4.0)], 2, clock=lambda: now[0])
    assert timed == [(1.0, 2.0, 4.0)] * 2
    assert now == [3 * 7.0]


def test_a_front_drops_what_is_beaten_in_error_and_speed(harness: Callable[[str], Any]) -> None:
    points = [(33.0, 1.4), (40.0, 1.1), (30.0, 2.0), (35.0, 1.5), (35.0, 1.2), (20.0, 2.0)]
    assert harness("curves").front(points) == [(30.0, 2.0), (35.0, 1.5), (40.0, 1.1)]


def test_speed_at_an_error_is_read_between_the_points_of_the_front(harness: Callable[[str], Any]) -> None:
    curves, points = harness("curves"), [(30.0, 2.0), (33.0, 1.2), (40.0, 1.0)]
    found = [curves.speed_at(points, psnr) for psnr in (10.0, 30.0, 31.5, 33.0, 36.5, 40.0)]
    assert found == pytest.approx([2.0, 2.0, 1.6, 1.2, 1.1, 1.0])
    assert curves.speed_at(points, 40.1) is None
    assert curves.speed_at([], 30.0) is None


def test_sides_are_compared_at_equal_error_and_not_at_equal_settings(harness: Callable[[str], Any]) -> None:
    """Ours has the speed of theirs at 4 dB more, on a line that loses 0.1 of speed-up every dB."""

    def row(psnr: float, peer_psnr: float, k: float) -> dict[str, Any]:
        speed = 5.0 - 0.1 * peer_psnr
        seconds = {"ours": [k * 6.0 / speed], "ours_uncached": [k * 6.0], "theirs": [k * 8.0 / speed],
                   "theirs_uncached": [k * 8.0]}  # fmt: skip
        return {"psnr": psnr, "peer_psnr": peer_psnr, "seconds": {name: 3 * values for name, values in seconds.items()}}

    points = {str(k): row(psnr + 4, psnr, 1.0 + k) for k, psnr in enumerate((28.0, 32.0, 36.0))}
    found = harness("caching_equal").equal_error(points)
    at = found["35 dB own same"]
    assert at["theirs"]["median"] == pytest.approx(1.5) and at["ours"]["median"] == pytest.approx(1.9)
    assert at["ratio"]["median"] == pytest.approx(1.9 / 1.5)
    assert found["35 dB common same"]["ours"]["median"] == pytest.approx(1.9 * 8 / 6)
    # Theirs gets to 36 dB and no nearer; ours to 40.
    assert found["40 dB own all"]["theirs"] is None and found["40 dB own all"]["ratio"] is None
    assert found["40 dB own all"]["ours"]["median"] == pytest.approx(1.4)


def test_a_run_that_was_interrupted_goes_on_with_the_next_row(harness: Callable[[str], Any], tmp_path: Path) -> None:
    kept, path, made = harness("kept").Kept, tmp_path / "rows.jsonl", []

    def make(name: str) -> Callable[[], dict[str, Any]]:
        def row() -> dict[str, Any]:
            made.append(name)
            return {"name": name}

        return row

    first = kept(path, {"cpu": "x"})
    assert [first.row(name, make(name)) for name in ("a", "b")] == [{"name": "a"}, {"name": "b"}]
    path.write_text(path.read_text()[:-3])
    again = kept(path, {"cpu": "x"})
    assert [again.row(name, make(name)) for name in ("a", "b", "c")] == [{"name": name} for name in "abc"]
    assert made == ["a", "b", "b", "c"]
    assert set(kept(path, {"cpu": "x"}).rows) == set("abc")
    other = kept(path, {"cpu": "y"})
    assert not other.rows
    path.write_text("")
    assert not kept(path, {"cpu": "y"}).rows
    other.done()
    assert not list(tmp_path.iterdir())


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
        name in said
        for name in (
            "forward tiny",
            "sampling tiny",
            "int8",
            "network, nothing attached: 1 graphs",
            "forward VDT-TINY",
            "robot, 2 env",
        )
    )
    assert not list(tmp_path.iterdir())


def test_memory_is_what_is_alive_at_once_and_what_is_left(harness: Callable[[str], Any]) -> None:
    kept, traced = torch.zeros(1000), harness("video").traced
    made = traced(lambda: kept.neg().neg())
    assert made == (8000, 4000)
    assert traced(lambda: kept.view(10, 100)) == (0, 0)


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
