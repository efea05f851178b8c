"""Tuning: the search, the measure, and that a plan keeps what it promises."""

from __future__ import annotations

import json
import math
import warnings
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import gencore
from gencore import components, plugins
from gencore.context import Context, Interceptor, Run
from gencore.errors import InputError, Negative
from gencore.interceptors.flops import BlockFlops
from gencore.pipeline import Pipeline
from gencore.recipe import read_recipe
from gencore.stream import Hidden
from gencore.testing.commands import Run as Command
from gencore.testing.commands import refused
from gencore.testing.tiny import tiny_pipeline
from gencore.tuning.audit import Audit, Point, audit
from gencore.tuning.cache_plan import CachePlan
from gencore.tuning.fidelity import Fidelity, fidelity, loss, read_budget, within
from gencore.tuning.plot import write_plot
from gencore.tuning.schedule import best_schedules, remainder
from gencore.tuning.tune import choose, tune

PIPE = tiny_pipeline()
HOW: dict[str, Any] = {"label": [3, 5], "steps": 6, "caches": ["taylorseer:interval=2", "reuse:interval=3"],
                       "search": ["taylorseer:order=1"]}  # fmt: skip


@pytest.fixture(scope="module")
def audited() -> Audit:
    return audit(PIPE, **HOW)


def cost(amplitude: list[float], order: int, steps: tuple[int, ...]) -> float:
    """The module's equation, gap by gap."""
    ends = [*steps, len(amplitude)]
    return sum(
        sum(amplitude[p + g] * remainder(g, q - p, order) for g in range(1, q - p)) ** 2 for p, q in pairwise(ends)
    )


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=7), st.integers(0, 2))
def test_the_schedules_cost_no_more_than_any_other(amplitude: list[float], order: int) -> None:
    n = len(amplitude)
    found = best_schedules(amplitude, order)
    assert [len(steps) for steps in found] == list(range(1, n + 1)) and all(steps[0] == 0 for steps in found)
    for count, steps in enumerate(found, 1):
        least = min(cost(amplitude, order, (0, *rest)) for rest in combinations(range(1, n), count - 1))
        assert cost(amplitude, order, steps) == pytest.approx(least, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_remainder_is_that_of_a_power_one_above_the_order(order: int) -> None:
    """At spacing h, Newton's forecast of x^(k+1) misses by g (g + h) ... (g + k h)."""
    from gencore.interceptors.polynomial import Polynomial

    h, g, line = 4, 3, Polynomial(order, "newton")
    fit = None
    for place in range(-order * h, 1, h):
        fit = line.grow(fit, torch.tensor([float(place ** (order + 1))], dtype=torch.float64), place)
    assert fit is not None
    miss = g ** (order + 1) - float(line.at(fit, g))
    assert miss == pytest.approx(remainder(g, h, order) * math.factorial(order + 1))


def test_fidelity_is_that_of_the_worst_sample_and_of_the_mean_error() -> None:
    exact = torch.tensor([[0.0, 2.0], [1.0, 0.5]])
    off = exact + torch.tensor([[0.2, -0.2], [0.02, 0.02]])
    near = fidelity(off, exact)
    assert near.worst == pytest.approx(20.0, abs=1e-3) and near.unit == "dB"
    assert near.mean == pytest.approx(10 * math.log10(4 / ((0.04 + 0.0004) / 2)), abs=1e-3)
    assert loss(near.worst, "dB") == pytest.approx(0.1, rel=1e-4)
    assert fidelity(exact, exact) == Fidelity(150.0, 150.0, "dB")
    with pytest.raises(InputError, match="not finite"):
        fidelity(exact / 0, exact)
    assert fidelity(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[1, 2], [3, 5]])) == Fidelity(50.0, 75.0, "%")


@pytest.mark.parametrize("budget", ["", "fast", "-3dB", 0, "35 kB", float("nan"), float("inf"), True, "101%", None])
def test_no_budget(budget: Any) -> None:
    with pytest.raises(InputError, match=r"budget: got .*35dB"):
        read_budget(budget)
    with pytest.raises(InputError, match="budget"):
        tune(PIPE, budget)


def test_a_budget_is_in_the_unit_of_the_data() -> None:
    assert within("35 DB", "dB") == within(35, "dB") == 35 and within("90%", "%") == within(90, "%") == 90
    with pytest.raises(InputError, match="35dB for tokens; accepted: one in %"):
        within("35dB", "%")
    with pytest.raises(InputError, match="90% for real data; accepted: one in dB"):
        within("90%", "dB")


class Reference(Interceptor):
    def __init__(self) -> None:
        self.total = 0

    def span(self, ctx: Context, run: Run, h: Hidden, start: int, stop: int) -> Hidden:
        with FlopCounterMode(display=False) as counter:
            h = run(h, start, stop)
        self.total += counter.get_total_flops()
        return h


@pytest.mark.parametrize("cache", [[], ["taylorseer:interval=3"], ["delta-dit:interval=2"]], ids=str)
def test_the_work_is_what_torch_counts(cache: list[str]) -> None:
    ours, theirs = BlockFlops(), Reference()
    for counter in (ours, theirs):
        PIPE.generate(label=3, seed=0, steps=3, interceptors=[*cache, counter])
    assert ours.total == theirs.total > 0


def test_a_budget_holds_when_it_is_measured_again(audited: Audit) -> None:
    plain = PIPE.generate(label=[3, 5], seed=0, steps=6).tensor
    figures = sorted(point.fidelity.worst for point in audited.points)
    for budget in (figures[0], figures[len(figures) // 2], figures[-1]):
        plan = choose(PIPE, audited, budget)
        fast = PIPE.generate(label=[3, 5], seed=0, steps=6, interceptors=[plan]).tensor
        errors = (fast.double() - plain.double()).square().flatten(1).mean(1)
        psnr = 10 * torch.log10((plain.max() - plain.min()).double() ** 2 / errors)
        assert float(psnr.min()) >= budget - 1e-3
        assert plan.fidelity["worst"] == pytest.approx(float(psnr.min()), abs=1e-3)
        counter, whole = BlockFlops(), BlockFlops()
        PIPE.generate(label=[3, 5], seed=0, steps=6, interceptors=[plan, counter])
        PIPE.generate(label=[3, 5], seed=0, steps=6, interceptors=[whole])
        assert plan.share == pytest.approx(counter.total / whole.total, abs=1e-6) and plan.share < 1


def test_a_looser_budget_is_never_slower_and_the_fastest_is_chosen(audited: Audit) -> None:
    budgets = [1.0, *sorted(point.fidelity.worst for point in audited.points)]
    chosen = [audited.fastest(budget) for budget in budgets]
    shares = [point.share for point in chosen if point is not None]
    assert len(shares) == len(budgets) and shares == sorted(shares)
    for budget, share in zip(budgets, shares, strict=True):
        assert share == min(point.share for point in audited.points if point.fidelity.worst >= budget)


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.4, 0.6]), st.sampled_from([10.0, 20.0, 30.0])), min_size=1))
def test_nothing_beats_a_point_of_the_front(figures: list[tuple[float, float]]) -> None:
    points = tuple(Point({"type": "reuse"}, share, Fidelity(near, near, "dB")) for share, near in figures)
    front = Audit(points, {}, {}, {}, 6, "dB").front
    for point in points:
        beaten = any(other.share <= point.share and other.fidelity.worst >= point.fidelity.worst
                     and other.rank != point.rank for other in points)  # fmt: skip
        assert beaten != any(kept.rank == point.rank for kept in front)


def test_equal_calls_give_equal_files_and_a_file_gives_equal_samples(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    how = {key: value for key, value in HOW.items() if key != "label"}
    first = gencore.tune(PIPE, "20dB", on=[{"label": 3}, {"label": 5}], **how,
                         callback=lambda index, total, note: told.append((index, total)))  # fmt: skip
    second = gencore.tune(PIPE, 20, on=[3, 5], **how)
    paths = [plan.save(tmp_path / name) for plan, name in ((first, "a.json"), (second, "b.json"))]
    assert paths[0].read_bytes() == paths[1].read_bytes() and len(told) == told[-1][0] == told[-1][1]
    again = CachePlan.load(paths[0])
    assert again == first and json.loads(paths[0].read_text())["recipe"]["words"] == {"label": [3, 5]}
    runs = [PIPE.generate(label=[3, 5], seed=0, steps=6, interceptors=[cache])
            for cache in (first, again, str(paths[0]))]  # fmt: skip
    assert all(torch.equal(run.tensor, runs[0].tensor) for run in runs)
    (described,) = runs[0].recipe["interceptors"]
    assert described["type"] == "taylorseer"
    rebuilt = components.build("interceptor", described)
    assert torch.equal(PIPE.generate(label=[3, 5], seed=0, steps=6, interceptors=[rebuilt]).tensor, runs[0].tensor)


def test_the_seeds_that_check_it_had_no_say(audited: Audit) -> None:
    plan = choose(PIPE, audited, 20)
    plain = PIPE.generate(label=[3, 5], seed=2, steps=6).tensor
    fast = PIPE.generate(label=[3, 5], seed=2, steps=6, interceptors=[plan]).tensor
    assert plan.held_out == fidelity(fast, plain)._asdict() != plan.fidelity


def test_a_budget_out_of_reach_says_how_near_the_best_came(audited: Audit) -> None:
    best = max(point.fidelity.worst for point in audited.points)
    with pytest.raises(Negative, match=f"budget unreachable: best {best:.1f} dB"):
        choose(PIPE, audited, 149)


def test_a_plan_is_for_its_model_and_steps_and_warns_of_another_sampler(audited: Audit) -> None:
    plan = choose(PIPE, audited, 20)
    with pytest.raises(InputError, match="plan: got one for 6 steps, and a run of 5; accepted: 6 steps"):
        PIPE.generate(label=3, steps=5, interceptors=[plan])
    with pytest.raises(InputError, match=r"plan: got one for model [0-9a-f]{8}, and model"):
        tiny_pipeline(seed=1).generate(label=3, steps=6, interceptors=[plan])
    with pytest.warns(UserWarning, match="measured with another sampler, guidance; its .* dB may not hold"):
        PIPE.generate(label=3, seed=0, steps=6, sampler="euler", guidance=2.0, interceptors=[plan])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PIPE.generate(label=8, seed=9, steps=6, interceptors=[plan])


def test_other_files_are_no_plans(audited: Audit, tmp_path: Path) -> None:
    good = json.loads(choose(PIPE, audited, 20).save(tmp_path / "good.json").read_text())
    broken: list[Any] = [[], {}, {**good, "share": 0}, {**good, "steps": "6"}, {**good, "recipe": {}},
                         {**good, "interceptor": {}}, {**good, "fidelity": {"worst": "x", "unit": "dB"}},
                         {**good, "recipe": {**good["recipe"], "model": {}}}]  # fmt: skip
    for content in broken:
        (tmp_path / "bad.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"plan: got .*bad\.json .*; accepted: a file gencore tune wrote"):
            PIPE.generate(label=3, steps=6, interceptors=[str(tmp_path / "bad.json")])
    (tmp_path / "bad.json").write_bytes(b"\xff{")
    with pytest.raises(InputError, match="plan: got"):
        CachePlan.load(tmp_path / "bad.json")
    with pytest.raises(InputError, match=r"plan: got .*none.json \(No such file"):
        PIPE.generate(label=3, steps=6, interceptors=[str(tmp_path / "none.json")])
    with pytest.raises(InputError, match=r"output: got .*\.txt; accepted: a \.json file"):
        CachePlan.load(tmp_path / "good.json").save(tmp_path / "plan.txt")


@pytest.mark.parametrize(("how", "reason"), [
    ({"on": 0}, "n: got 0"),
    ({"on": []}, r"on: got \[\]; accepted: a number of samples, or the same words for each"),
    ({"on": [{"label": 3}, {"size": 3}]}, "on: got"),
    ({"on": "three"}, "on: got 'three'"),
    ({"label": 12}, "label: got 12"),
    ({"interceptors": ["reuse"]}, "interceptors: got some; accepted: none"),
    ({"search": ["taylorseer:order=-1"]}, "order: got -1"),
    ({"search": ["first-block"]}, "got first-block with steps; accepted: .*'steps'"),
    ({"caches": [], "search": []}, "caches: got none"),
    ({"caches": ["reuse:interval=0"], "search": []}, "^interval: got 0"),
    ({"caches": ["tailorseer"]}, "did you mean 'taylorseer'"),
    ({"caches": ["first-block:threshold=0"], "search": []}, "caches: got saves nothing here"),
    ({"sampler": "dopri5", "search": ["taylorseer:order=1"]}, "a fixed number of steps"),
])  # fmt: skip
def test_bad_input(how: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        tune(PIPE, 20, **{"caches": ["reuse"], "search": [], "steps": 2, **how})


def test_a_candidate_that_cannot_run_is_told_and_the_others_go_on() -> None:
    told = audit(PIPE, 1, steps=4, caches=["taylorseer:sites=conv", "reuse"], search=[])
    assert [point.text for point in told.points] == ["reuse"]
    assert "attn" in told.refused["taylorseer:sites=conv"]


def test_four_samples_where_nothing_says_how_many() -> None:
    cases: list[dict[str, Any]] = [{}, {"label": 3}, {"label": [1, 2, 3]}, {"seed": [9]}, {"on": 1}]
    seeds = [audit(PIPE, steps=2, caches=["reuse"], search=[], **said).recipe["seeds"] for said in cases]
    assert seeds == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2], [9], [0]]


def test_a_long_run_costs_no_more_runs_than_a_short_one() -> None:
    told: list[tuple[int, int]] = []
    how: dict[str, Any] = {"steps": 20, "caches": [], "search": ["taylorseer:order=0"]}
    long = audit(PIPE, 1, **how, callback=lambda index, total, note: told.append((index, total)))
    assert len(told) <= 1 + 13 + 16 and told[-1] == (len(told), len(told))
    assert len(long.points) >= 15 and len({point.share for point in long.points}) == len(long.points)


def test_the_plot_is_one_file_that_names_every_point(audited: Audit, tmp_path: Path) -> None:
    drawn = write_plot(tmp_path / "pareto.html", audited, 35).read_text("utf-8")
    assert drawn.count("<circle") == len(audited.points) and drawn.count('class="front"') == len(audited.front)
    assert all(point.text in drawn for point in audited.points) and "http" not in drawn.replace("http://www.w3.org", "")


def test_the_command_writes_a_plan_that_generate_takes(run: Command) -> None:
    words = (
        "--label",
        "3,5",
        "--steps",
        6,
        "--search",
        "taylorseer:order=1",
        "--cache",
        "reuse",
        "-o",
        "fast.json",
        "--quiet",
    )
    done = run("tune", "images", *words, "--budget", "20dB", "--plot", "pareto.html")
    assert (done.code, done.err) == (0, "") and done.out.startswith("speed-up  block FLOPs  worst dB")
    assert done.out.splitlines()[-1].startswith("fast.json  ") and Path("pareto.html").exists()
    made = run("generate", "images", "--label", 3, "--seed", 0, "--steps", 6, "--cache", "fast.json", "-o", "a.png")
    assert made.code == 0 and "calls answered" in made.out and " sites x " in made.out
    assert read_recipe("a.png")["interceptors"][0]["steps"] == CachePlan.load("fast.json").interceptor["steps"]
    assert run("reproduce", "a.png", "-o", "b.png").code == 0
    assert "fast.json (exists)" in refused(run("tune", "images", *words))
    told = json.loads(run("tune", "images", *words, "--budget", "20", "--force", "--json").out)
    assert told["setting"] == CachePlan.load("fast.json").interceptor and any(
        point["front"] for point in told["points"]
    )


def test_the_command_leaves_nothing_where_the_answer_is_no(run: Command) -> None:
    words = ("tune", "images", "--label", 3, "-n", 1, "--steps", 3, "--search", "none", "--cache", "reuse", "--quiet")
    done = run(*words, "--budget", "140dB", "-o", "fast.json")
    assert done.code == 1 and done.err.startswith("gencore: error: budget unreachable: best ")
    assert "reuse" in done.out and not list(Path().iterdir())
    assert "--plot: got p.png; accepted: an .html file" in refused(run(*words, "--plot", "p.png"))
    assert "output: got fast.txt; accepted: a .json file" in refused(run(*words, "-o", "fast.txt"))
    assert "budget: got 'quick'" in refused(run(*words, "--budget", "quick"))
    assert "got '1,x'" in refused(run(*words, "--search", "1,x"))
    assert not list(Path().iterdir())


@pytest.mark.skipif("images" not in plugins.provided("modality"), reason="gencore-images is not installed")
def test_a_searched_schedule_beats_the_regular_one_on_the_packaged_digits() -> None:
    pipe: Pipeline = gencore.load("images")
    how: dict[str, Any] = {"label": [0, 5], "steps": 10}
    told = audit(pipe, caches=["reuse:interval=2"], search=["taylorseer:order=0"], **how)
    regular = next(point for point in told.points if point.text == "reuse:interval=2")
    found = [p for p in told.points if p is not regular and p.share <= regular.share]
    assert max(point.fidelity.worst for point in found) > regular.fidelity.worst + 2
    budget = sorted(point.fidelity.worst for point in told.points)[-3]
    plan = choose(pipe, told, budget)
    fast, plain = (pipe.generate(seed=0, **how, interceptors=part).tensor for part in ([plan], []))
    assert fidelity(fast, plain).worst >= budget
