"""The golden runner: what passes, what fails, what it says; and the faults in the core that golden cases found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gencore.denoised import Denoised
from gencore.denoiser import Denoiser, NotFinite
from gencore.errors import InputError
from gencore.manifest import Manifest
from gencore.noise import Keyed, Recorded
from gencore.objective import Batch
from gencore.objectives.denoising import Denoising
from gencore.objectives.variational import bits_per_dim, gaussian_kl
from gencore.plugins import registered
from gencore.processes.flows import LinearFlow, TrigFlow, VariancePreserving
from gencore.processes.tables import TableProcess, respace
from gencore.run import answer
from gencore.samplers.likelihood import log_likelihood
from gencore.samplers.sde import StochasticInterpolant
from gencore.testing.analytic import AnalyticBackbone, Mixture
from gencore.testing.cases import Got, read_io, weights_file
from gencore.testing.golden import FAIL, NO_ADAPTER, PASS, check_case, main
from gencore.testing.tolerance import Tolerance, distance, tolerance_of
from gencore.weights.files import write_tensors

X, OUT = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])
RIGHT = Got({"out": OUT}, inputs=("x",))


@pytest.fixture
def adapter() -> Iterator[Callable[[Any], None]]:
    """Provide what is given (a result, or a function) as the adapter of system ``toy``."""
    module = ModuleType("toy_golden")
    sys.modules["toy_golden"] = module

    def provide(result: Any) -> None:
        module.fn = result if callable(result) else lambda case, meta: result  # type: ignore[attr-defined]

    with registered(Manifest(name="toys", summary="-", provides={"golden": {"toy": "toy_golden:fn"}})):
        yield provide
    del sys.modules["toy_golden"]


def case(folder: Path, name: str = "double", io: dict[str, Tensor] | None = None, **meta: Any) -> Path:
    path = folder / "toy" / name
    path.mkdir(parents=True)
    (path / "meta.json").write_text(json.dumps({"tolerance": {"rtol": 0, "atol": 1e-5}, **meta}))
    if io != {}:
        write_tensors(path / "io.safetensors", {"x": X, "out": OUT} if io is None else io)
    return path


# ---- outcomes


def test_one_line_a_case_and_the_closing_line(tmp_path: Path, adapter: Any, capsys: pytest.CaptureFixture[str]) -> None:
    case(tmp_path / "deep" / "er")
    (tmp_path / "other" / "thing").mkdir(parents=True)
    (tmp_path / "other" / "thing" / "meta.json").write_text("{}")
    adapter(Got({"out": OUT.double() + 2.0**-20}, inputs=("x",)))
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "other/thing  NO ADAPTER",
        "toy/double  max|err| 9.5e-07  tol 1e-05  PASS",
        "golden: 1 passed, 0 failed, 1 without adapter",
    ]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (Got({"out": OUT + 1e-3}, inputs=("x",)), "out: off by 0.001"),
        (Got({"out": OUT.where(OUT > 3, torch.nan)}, inputs=("x",)), "out: off by inf"),
        (Got({}, inputs=("x",)), "out: not compared"),
        ({"out": OUT}, "x: not compared"),
        (Got({"out": OUT, "new": X}, inputs=("x",)), "new: not in the case"),
        (Got({"out": OUT[:1]}, inputs=("x",)), "out: shape (1,) for (2,)"),
        (Got({"out": OUT}, inputs=("x",), facts={("calls", "euler"): 5}), "calls/euler: 5 for 6"),
        (Got({}, inputs=("*",)), "nothing compared"),
    ],
)
def test_what_fails_and_why(tmp_path: Path, adapter: Any, result: Any, told: str) -> None:
    adapter(result)
    outcome = check_case(case(tmp_path, calls={"euler": 6}))
    assert outcome.status == FAIL and told in str(outcome)


def test_an_adapter_that_raises_fails_in_one_line(
    tmp_path: Path, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fn(path: Path, meta: dict[str, Any]) -> None:
        raise InputError("heads", 5, "4")

    adapter(fn)
    outcome = check_case(case(tmp_path))
    assert outcome.status == FAIL and outcome.faults == ["InputError: heads: got 5; accepted: 4"]
    monkeypatch.setenv("GENCORE_DEBUG", "1")
    with pytest.raises(InputError):
        check_case(tmp_path / "toy" / "double")


def test_a_plain_dict_and_the_minimal_signature_are_enough(tmp_path: Path, adapter: Any) -> None:
    path = case(tmp_path, io={"out": OUT}, factor=2)

    def fn(folder: Path, meta: dict[str, Any]) -> dict[str, Tensor]:
        assert folder == path
        return {"out": X * meta["factor"]}

    adapter(fn)
    assert check_case(path).status == PASS


def test_every_tensor_is_accounted_for(tmp_path: Path, adapter: Any, capsys: pytest.CaptureFixture[str]) -> None:
    case(tmp_path, io={"x": X, "x2": X, "out": OUT, "grad": OUT}, nfe=7)
    adapter(Got({"out": OUT}, ("x*",), {"grad": "no gradients here"}, facts={("nfe",): 7}))
    assert main([str(tmp_path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["cases"]
    assert (found["compared"], found["inputs"], found["facts"]) == ({"out": 0.0}, ["x", "x2"], ["nfe"])
    assert found["unused"] == {"grad": "no gradients here"}
    assert main([str(tmp_path), "--verbose"]) == 0
    assert "  unused  grad: no gradients here" in capsys.readouterr().out.splitlines()


def test_a_case_of_facts_alone(tmp_path: Path, adapter: Any) -> None:
    adapter(Got({}, facts={("count",): 3}))
    assert check_case(case(tmp_path, io={}, count=3)).status == PASS


def test_an_adapter_may_not_know_a_case(tmp_path: Path, adapter: Any) -> None:
    adapter(None)
    assert check_case(case(tmp_path)).status == NO_ADAPTER


def test_a_floor_is_taken_only_where_needed_and_always_said(tmp_path: Path, adapter: Any) -> None:
    floors = {"out": (0.01, "rounding"), "x": (9.0, "never used")}
    adapter(Got({"out": OUT + 0.02}, inputs=("x",), floors=floors))
    path = case(tmp_path)
    outcome = check_case(path)
    assert outcome.status == PASS and str(outcome).endswith("PASS  (at its floor: out)")
    adapter(Got({"out": OUT + 0.05}, inputs=("x",), floors=floors))
    assert check_case(path).status == FAIL
    adapter(Got({"out": OUT}, inputs=("x",), floors=floors))
    assert str(check_case(path)).endswith("  PASS")


def test_exit_codes(tmp_path: Path, adapter: Any, capsys: pytest.CaptureFixture[str]) -> None:
    good, alone = case(tmp_path), tmp_path / "other" / "thing"
    adapter(RIGHT)
    alone.mkdir(parents=True)
    (alone / "meta.json").write_text("{}")
    assert [main([str(tmp_path)]), main([str(tmp_path), "--system", "toy"])] == [0, 0]
    assert main([str(tmp_path), "--system", "other"]) == 1
    assert main([str(tmp_path), "--system", "toy", "--system", "other"]) == 1
    assert main([str(good), "--system", "toy"]) == 0
    adapter(Got({"out": -OUT}, inputs=("x",)))
    capsys.readouterr()
    assert main([str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["failed"] == 1
    for words, told in [(["--system", "toi"], "did you mean 'toy'?"), (["--sistem", "toy"], "--system")]:
        assert main([str(tmp_path), *words]) == 2
        assert told in capsys.readouterr().err
    assert main([str(tmp_path / "absent")]) == 2
    assert main([str(good.parent / "double" / "..")]) == 1
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2


def test_json_holds_no_infinity(tmp_path: Path, adapter: Any, capsys: pytest.CaptureFixture[str]) -> None:
    adapter(Got({"out": OUT / 0}, inputs=("x",)))
    case(tmp_path)
    assert main([str(tmp_path), "--json"]) == 1
    assert "Infinity" not in (text := capsys.readouterr().out) and json.loads(text)["cases"][0]["error"] is None


def test_damaged_cases_fail(tmp_path: Path, adapter: Any) -> None:
    adapter(RIGHT)
    path = case(tmp_path)
    (path / "io.safetensors").write_bytes((path / "io.safetensors").read_bytes()[:40])
    assert check_case(path).status == FAIL
    (path / "meta.json").write_text("[")
    assert "meta.json" in check_case(path).faults[0]


def test_weights_are_the_cases_own_or_its_models(tmp_path: Path) -> None:
    own, borrowed = case(tmp_path, "model"), case(tmp_path, "sampling")
    with pytest.raises(InputError, match="model_case"):
        weights_file(borrowed, {"model_case": "model"})
    write_tensors(own / "weights.safetensors", {"w": X})
    assert weights_file(borrowed, {"model_case": "model"}) == weights_file(own, {}) == own / "weights.safetensors"
    assert read_io(tmp_path) == {}


# ---- tolerances


@pytest.mark.parametrize(
    ("meta", "name", "expected"),
    [
        ({"tolerance": {"rtol": 1e-3, "atol": 1e-6}}, "a", Tolerance(1e-3, 1e-6)),
        ({"tolerance": {"atol": 1e-6}}, "a", Tolerance(0, 1e-6)),
        ({"tolerance": {"rtol": 1, "atol": 1}, "tolerance_rel_to_max": 1e-4}, "a", Tolerance(rel_to_max=1e-4)),
        (
            {"tolerance_rel_to_max": 1e-4, "tolerance_rel_to_max_overrides": {"*.vb": 0.03}},
            "bpd.vb",
            Tolerance(rel_to_max=0.03),
        ),
        (
            {"tolerance_rel_to_max": 1e-4, "tolerance_rel_to_max_overrides": {"*.vb": 0.03}},
            "bpd.mse",
            Tolerance(rel_to_max=1e-4),
        ),
        ({"tolerance": "exact"}, "a", Tolerance()),
        ({"tolerance": "indices exact; states rtol 2e-3 atol 2e-4"}, "a", Tolerance(2e-3, 2e-4)),
        ({"tolerance": {"betas": "rtol 1e-12, atol 1e-15", "steps": "exact"}}, "T10.7.betas", Tolerance(1e-12, 1e-15)),
        ({"tolerance": {"out": 2e-5, "dk_*": 1e-4}}, "dk_true", Tolerance(1e-4, 1e-4)),
        ({"tolerance": {"frechet": {"rtol": 0.002}, "others": {"rtol": 1e-5}}}, "fid", Tolerance(1e-5)),
        ({"tolerance": {"float64": 1e-9}}, "a", Tolerance(1e-9, 1e-9)),
        ({}, "a", Tolerance(1e-4, 1e-5)),
    ],
)
def test_how_cases_state_their_tolerance(meta: dict[str, Any], name: str, expected: Tolerance) -> None:
    assert tolerance_of(meta, name, torch.ones(2, dtype=torch.float64)) == expected
    assert tolerance_of(meta, name, torch.ones(2, dtype=torch.int64)) == Tolerance()
    assert tolerance_of(meta, name, torch.ones(2, dtype=torch.bool)) == Tolerance()


@pytest.mark.parametrize("given", ["2 levels", {"images": "2 levels"}, {"steps": "exact"}, ["rtol"]])
def test_tolerances_in_unknown_words_are_refused(given: Any) -> None:
    with pytest.raises(InputError, match="tolerance"):
        tolerance_of({"tolerance": given}, "images", torch.ones(2))


floats = st.floats(-1e3, 1e3, width=32)


@given(
    st.lists(st.tuples(floats, floats), min_size=1, max_size=6),
    st.sampled_from([0.0, 1e-3, 0.5]),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([0.0, 0.2]),
)
def test_a_tensor_fits_when_every_element_does(
    pairs: list[tuple[float, float]], rtol: float, atol: float, rel: float
) -> None:
    got, ref = (torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True))
    largest = max(abs(r) for _, r in pairs)
    allowed = [atol + rtol * abs(r) + rel * largest for _, r in pairs]
    found = distance(got, ref, Tolerance(rtol, atol, rel))
    assert found.fits == all(abs(g - r) <= a for (g, r), a in zip(pairs, allowed, strict=True))
    assert found.fits == (found.share <= 1)
    assert found.error <= max(abs(g - r) for g, r in pairs)


def test_not_a_number_and_infinity_equal_only_themselves() -> None:
    special = torch.tensor([torch.nan, torch.inf, 1.0])
    assert distance(special, special, Tolerance()).fits
    for other in ([0.0, torch.inf, 1.0], [torch.nan, -torch.inf, 1.0], [torch.nan, torch.inf, torch.nan]):
        assert not distance(torch.tensor(other), special, Tolerance(1.0, 1.0, 1.0)).fits
    assert distance(torch.zeros(0), torch.zeros(0), Tolerance()).fits


# ---- faults that golden cases found


def test_the_likelihood_of_a_gaussian_is_its_density() -> None:
    data, process = Mixture.gaussian(0.4, 0.7, (1, 2, 2)), LinearFlow()
    x = data.draw(Keyed(range(3)))
    exact = data.log_prob(x.double(), process.coeffs(torch.zeros(1, 1, 1, 1)))
    for norm in ("sample", "batch"):
        found = log_likelihood(
            Denoiser(AnalyticBackbone(data, process, "velocity"), process, {}),
            x,
            Keyed(range(3)),
            rtol=1e-6,
            atol=1e-7,
            norm=norm,
        )
        assert torch.allclose(found.log_p.double(), exact, atol=1e-4)


@pytest.mark.parametrize("process", [LinearFlow(), TrigFlow()])
@pytest.mark.parametrize("form", ["sigma", "sbdm", "decreasing"])
def test_the_stochastic_drift_has_its_limit_at_clean_data(process: Any, form: str) -> None:
    """A stochastic Heun step without noise onto t = 0, where w s is not 0 but -(w / sigma) eps."""
    x, times = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), torch.tensor([0.1, 0.0], dtype=torch.float64)

    def predict(x: Tensor, t: Tensor) -> Denoised:
        return Denoised("epsilon", torch.full_like(x, 2.0), x, process.coeffs(t.reshape(1, 1, 1, 1)))

    sampler, still = StochasticInterpolant("heun", form, last=None), Recorded(torch.zeros(1, 1, 1, 1, 1))
    state = sampler.init(x, times, process)
    got = answer(sampler.step(state, still), lambda query: predict(query.x, query.t)).x
    here, clean = process.coeffs(times[:1]), process.coeffs(times[1:])
    drift = here.sigma * here.d_sigma - here.d_alpha / here.alpha * here.sigma**2
    w = {"sigma": here.sigma, "sbdm": drift, "decreasing": 0.25 * (1 - (torch.pi * times[:1]).cos()) ** 2}[form]
    limit = {"sigma": 1.0, "sbdm": clean.d_sigma, "decreasing": 0.0}[form]
    k1 = -predict(x, times[:1]).velocity - w / here.sigma * 2.0
    k2 = -predict(x + 0.1 * k1, times[1:]).velocity - limit * 2.0
    assert torch.allclose(got, x + 0.05 * (k1 + k2), rtol=1e-7)


def test_a_rate_that_is_infinite_at_clean_data_is_refused() -> None:
    sampler, process = StochasticInterpolant("heun", "constant", last=None), LinearFlow()
    state = sampler.init(torch.zeros(1, 1, 1, 1), torch.tensor([0.1, 0.0], dtype=torch.float64), process)

    def ask(query: Any) -> Denoised:
        return Denoised("epsilon", torch.ones(1, 1, 1, 1), query.x, process.coeffs(query.t.reshape(1, 1, 1, 1)))

    with pytest.raises(NotFinite, match="constant"):
        answer(sampler.step(state, Keyed([0])), ask)


def test_the_divergence_of_nearly_equal_gaussians_survives_float32() -> None:
    mean, logvar = torch.full((1,), 4e-3), torch.tensor([-4e-5])
    zero = torch.zeros(1)
    found = gaussian_kl(mean, logvar, zero, zero).item()
    exact = gaussian_kl(mean.double(), logvar.double(), zero.double(), zero.double()).item()
    assert found == pytest.approx(exact, rel=5e-3)


def test_a_uniform_that_rounds_to_one_is_the_last_level() -> None:
    process = TableProcess.named("linear", 50)
    data = Mixture.gaussian(0.0, 1.0, (1, 2, 2))
    seen: list[Tensor] = []

    class Net(AnalyticBackbone):
        def forward(self, x_t: Tensor, t: Tensor, cond: Any, ctx: Any) -> Any:
            seen.append(t)
            return super().forward(x_t, t, cond, ctx)

    class Top:
        def draw(self, kind: Any, key: Any, shape: Any) -> Tensor:
            return torch.ones(2, *shape)

    Denoising(process, variance="fixed_small").loss(
        "main", {"model": Net(data, process, "epsilon")}, Batch(torch.zeros(2, 1, 2, 2)), Top()
    )
    assert seen[0].tolist() == [49.0, 49.0]


@pytest.mark.parametrize("spec", ["abc", "1.5", "-3", "0", "0,0", "ddim", "ddimx", "ddim3,4", "3,,4", [2, -1]])
def test_respacings_that_mean_nothing_are_refused(spec: Any) -> None:
    with pytest.raises(InputError, match="respacing"):
        respace(100, spec)


@pytest.mark.parametrize("betas", [torch.tensor([]), torch.tensor([0.5, 1.5]), torch.zeros(2, 2)])
def test_betas_that_cannot_be_are_told_in_one_line(betas: Tensor) -> None:
    with pytest.raises(InputError, match="betas") as caught:
        TableProcess(betas)
    assert "\n" not in str(caught.value)


def test_the_exact_velocity_has_its_limit_where_the_slope_of_sigma_is_infinite() -> None:
    process, data = VariancePreserving(), Mixture.gaussian(0.3, 0.6)
    denoise = Denoiser(AnalyticBackbone(data, process, "velocity"), process, {})
    x = torch.full((1, 1, 1), 0.8, dtype=torch.float64)
    near, at = (denoise(x, torch.tensor([t], dtype=torch.float64)).velocity.item() for t in (1e-7, 0.0))
    assert at == pytest.approx(near, rel=1e-4) and abs(at) > 1e-3


def test_the_bound_needs_levels() -> None:
    process = LinearFlow()
    denoise = Denoiser(AnalyticBackbone(Mixture.gaussian(0, 1), process), process, {})
    with pytest.raises(InputError, match="table process"):
        bits_per_dim(denoise, torch.zeros(1, 1, 1), Keyed([0]))


def test_the_bound_of_exact_predictions_beats_a_wrong_model_and_adds_up() -> None:
    process = TableProcess.named("linear", 40)
    data = Mixture.gaussian(0.1, 0.3, (1, 4, 4))
    x = data.draw(Keyed(range(4)))

    def bound(seen: Mixture) -> Any:
        return bits_per_dim(
            Denoiser(AnalyticBackbone(seen, process, "epsilon"), process, {}),
            x,
            Keyed(range(4)),
            variance="fixed_small",
            clip=None,
        )

    right, wrong = bound(data), bound(Mixture.gaussian(-0.5, 0.3, (1, 4, 4)))
    assert (right.total < wrong.total).all()
    assert torch.allclose(right.total, right.terms.sum(1) + right.prior)
    assert right.terms.shape == (4, 40) and (right.terms > -1e-6).all()
