"""Inversion: exact with BDIA, second order with RF-Solver, and what users do with it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gencore.denoiser import Denoiser
from gencore.errors import CheckpointError, InputError
from gencore.inversion import Inverted, rising
from gencore.noise import Keyed
from gencore.pipeline import Pipeline
from gencore.process import GaussianProcess
from gencore.processes.flows import LinearFlow, TrigFlow
from gencore.processes.tables import TableProcess
from gencore.run import stream
from gencore.sampler import Sampler
from gencore.samplers.bdia import BDIA
from gencore.samplers.ddim import DDIM
from gencore.samplers.rf_solver import rf_solver
from gencore.samplers.runge_kutta import RungeKutta, euler
from gencore.schedules import uniform
from gencore.spec import LatentSpec
from gencore.testing.analytic import AnalyticBackbone, Mixture
from gencore.testing.commands import Run
from gencore.testing.golden import check_case, find_cases
from gencore.testing.tiny import tiny_pipeline

DATA = Mixture.of([-1.2, 0.3, 1.5], [0.25, 0.4, 0.2], [0.3, 0.4, 0.3])
SPEC = LatentSpec("b c n", (1, 1))


def round_trip(sampler: Sampler, process: GaussianProcess, x0: Tensor, times: Tensor) -> tuple[Tensor, Tensor, int]:
    """The inverted state, what comes back of it, and the network calls both took."""
    kind = "epsilon" if isinstance(process, TableProcess) else "velocity"
    denoise, noise = Denoiser(AnalyticBackbone(DATA, process, kind), process, {}), Keyed(range(len(x0)))
    *_, up = stream(denoise, sampler, SPEC, times, noise, state=sampler.init(x0, times.flip(0), process))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = sampler.turned(up.state)
    *_, down = stream(denoise, sampler, SPEC, times, noise, state=start)
    return up.x, down.x, denoise.calls


def data(count: int = 64) -> Tensor:
    return DATA.draw(Keyed(range(count), dtype=torch.float64))


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([1.0, 0.95, 0.9]), st.integers(2, 25), st.sampled_from([LinearFlow(), TrigFlow()]))
def test_bdia_returns_to_the_data_whatever_the_grid(gamma: float, steps: int, process: GaussianProcess) -> None:
    x0 = data(8)
    up, back, calls = round_trip(BDIA(gamma), process, x0, uniform(steps) ** 1.5)
    # Rounding grows by 1 / gamma a step, from states of this size.
    assert (back - x0).abs().max() < 1e-13 * (1 + up.abs().max()) * gamma**-steps
    assert calls == 2 * steps - 1


def test_bdia_at_gamma_0_is_ddim_and_does_not_invert() -> None:
    process, times, x = LinearFlow(), uniform(7), torch.randn(3, 1, 1, dtype=torch.float64)
    denoise, noise = Denoiser(AnalyticBackbone(DATA, process), process, {}), Keyed(range(3))
    ends = [list(stream(denoise, s, SPEC, times, noise, state=s.init(x, times, process)))[-1].x
            for s in (BDIA(0), DDIM())]  # fmt: skip
    assert torch.equal(*ends)
    assert not BDIA(0).inverts and BDIA(0.5).inverts and not DDIM(0.1).inverts


def test_bdia_at_gamma_1_is_leapfrog_on_a_straight_flow() -> None:
    process, times = LinearFlow(), uniform(4)
    denoise = Denoiser(AnalyticBackbone(DATA, process, "velocity"), process, {})
    sampler, x = BDIA(), torch.tensor([[[0.7]]], dtype=torch.float64)
    run = [x, *(s.x for s in stream(denoise, sampler, SPEC, times, Keyed([0]), state=sampler.init(x, times, process)))]
    v = denoise(run[2], times[2].expand(1)).velocity
    torch.testing.assert_close(run[3], run[1] + (times[3] - times[1]) * v, rtol=0, atol=1e-14)


def test_errors_at_equal_network_calls_bdia_then_rf_solver_then_ddim() -> None:
    x0, process = data(), LinearFlow()
    error = {}
    for name, sampler, steps in (
        ("bdia", BDIA(), 50),
        ("rf", rf_solver(), 25),
        ("ddim", DDIM(), 50),
        ("euler", euler(), 50),
    ):
        _, back, calls = round_trip(sampler, process, x0, uniform(steps))
        assert abs(calls - 100) <= 1
        error[name] = (back - x0).square().mean().sqrt().item()
    assert error["bdia"] < 1e-12 and error["rf"] * 10 < error["ddim"]
    # On a straight path DDIM and Euler are one method.
    assert error["ddim"] == pytest.approx(error["euler"], rel=1e-6)


def test_rf_solver_converges_to_second_order_both_ways() -> None:
    x0, gaps = data(), []
    for steps in (32, 64):
        _, back, _ = round_trip(rf_solver(), LinearFlow(), x0, uniform(steps))
        gaps.append((back - x0).abs().max().item())
    assert gaps[0] / gaps[1] > 3.5


def test_rf_solver_is_its_taylor_step() -> None:
    process, h = LinearFlow(), torch.tensor(-0.25, dtype=torch.float64)
    denoise, x = Denoiser(AnalyticBackbone(DATA, process, "velocity"), process, {}), torch.tensor([[[0.7]]]).double()
    times = torch.tensor([0.8, 0.55], dtype=torch.float64)
    sampler = rf_solver()
    (step,) = stream(denoise, sampler, SPEC, times, Keyed([0]), state=sampler.init(x, times, process))
    v = denoise(x, times[:1]).velocity
    slope = (denoise(x + h / 2 * v, times[:1] + h / 2).velocity - v) / (h / 2)
    torch.testing.assert_close(step.x, x + h * v + h**2 / 2 * slope, rtol=0, atol=1e-14)
    assert sampler == RungeKutta("midpoint")


@pytest.mark.parametrize("sampler", [euler(), rf_solver(), DDIM()], ids=["euler", "rf-solver", "ddim"])
def test_a_path_of_infinite_slope_at_data_is_left_and_reached_without_harm(sampler: Sampler) -> None:
    process = TableProcess.named("linear", 1000)
    times = sampler.times(process, "epsilon", 60)
    _, back, _ = round_trip(sampler, process, data(), times)
    assert (back - data()).abs().mean() < 0.05


def test_growth_of_rounding_is_told_when_it_matters() -> None:
    x0, process, sampler = data(4), LinearFlow(), BDIA(0.5)
    times = uniform(20)
    denoise = Denoiser(AnalyticBackbone(DATA, process, "velocity"), process, {})
    *_, up = stream(denoise, sampler, SPEC, times, Keyed(range(4)), state=sampler.init(x0, times.flip(0), process))
    with pytest.warns(UserWarning, match=r"gamma 0.5 over 20 steps amplifies rounding 1.0e\+06 times"):
        sampler.turned(up.state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BDIA(0.9).turned(up.state)


def test_strength_keeps_the_clean_end_of_the_grid() -> None:
    times = uniform(10)
    assert rising(times, 0.3).tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    assert torch.equal(rising(times), times.flip(0))
    for strength in (0, 1.1, 0.05, -1):
        with pytest.raises(InputError, match="strength"):
            rising(times, strength)


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return tiny_pipeline()


def picture(count: int = 1) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_pipeline_comes_back_to_its_picture_in_float32_networks(
    pipe: Pipeline, tmp_path: Path, strength: float
) -> None:
    inverted = pipe.invert(picture(), label=3, steps=20, sampler="bdia", guidance=1, strength=strength)
    assert inverted.x.dtype == torch.float64 and len(inverted.times) == 20 * strength + 1
    loaded = Inverted.load(inverted.save(tmp_path / "start.safetensors"))
    for start in (inverted, loaded, tmp_path / "start.safetensors"):
        back = pipe.generate(start=start, label=3, guidance=1)
        assert (back.tensor - picture()).abs().max() < 1e-5
    other = pipe.generate(start=loaded, label=5, guidance=1, seed=0).tensor
    assert (other - picture()).abs().max() > 1e-3


def test_a_batch_of_inversions_is_each_alone_and_in_chunks(pipe: Pipeline) -> None:
    both = pipe.invert(picture(2), label=[1, 2], steps=6, sampler="rf-solver", guidance=1)
    alone = pipe.invert(picture(2)[1:], label=2, steps=6, sampler="rf-solver", guidance=1)
    torch.testing.assert_close(both.x[1:], alone.x, rtol=0, atol=1e-5)
    whole, parts = (
        pipe.generate(start=both, label=[1, 2], guidance=1, seed=0, batch=batch).tensor for batch in (None, 1)
    )
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sampler": "ddpm"}, "sampler: got Ancestral"),
        ({"sampler": "bdia:gamma=0"}, "one that inverts"),
        ({"sampler": "bdia:gamma=2"}, "gamma: got 2; accepted: 0..1"),
        ({"strength": 2}, "strength"),
        ({"known": picture(), "mask": torch.ones(1, 1, 8, 8, dtype=torch.bool)}, "known"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_inversions_that_cannot_be_are_refused(pipe: Pipeline, options: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        pipe.invert(picture(), **{"label": 3, "steps": 4, **options})


def test_a_start_brings_its_grid_count_and_sampler(pipe: Pipeline, tmp_path: Path) -> None:
    start = pipe.invert(picture(), label=3, steps=4, sampler="bdia", guidance=1)
    for options, told in (({"steps": 4}, "steps"), ({"n": 2}, "start"), ({"sampler": "ddim"}, "sampler"),
                          ({"times": uniform(4)}, "times")):  # fmt: skip
        with pytest.raises(InputError, match=told):
            pipe.generate(start=start, label=3, **options)
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError):
        pipe.generate(start=tmp_path / "x.safetensors", label=3)
    with pytest.raises(InputError, match="safetensors"):
        start.save(tmp_path / "x.pt")


def test_the_command_line_inverts_comes_back_and_reproduces(run: Run, generate: Run) -> None:
    generate("-o", "a.png", "--steps", 10, "--quiet")
    done = run("invert", "images", "a.png", "--label", 3, "--steps", 12, "-o", "a.safetensors", "--quiet", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["recipe"]["task"] == "invert"
    assert run("invert", "images", "a.png", "--label", 3, "-o", "a.safetensors").code == 2
    back = run(
        "generate", "images", "--label", 3, "--guidance", 1, "--start", "a.safetensors", "-o", "b.png", "--quiet"
    )
    assert back.code == 0, back.err
    from PIL import Image, ImageChops

    gap = ImageChops.difference(Image.open("a.png"), Image.open("b.png")).getextrema()
    assert gap[1] <= 1
    assert run("reproduce", "b.png", "--quiet").code == 2
    assert run("reproduce", "b.png", "--start", "a.safetensors", "--quiet").code == 0
    assert run("invert", "images", "missing.png", "--label", 3).code == 2


@pytest.mark.parametrize("slug", ["bdia", "rf-solver"])
def test_recorded_numbers(golden_dir: Path, slug: str) -> None:
    cases = [case for case in find_cases(golden_dir, [slug]) if not (case / "weights.safetensors").exists()]
    assert cases and all((outcome := check_case(case)).status == "PASS" for case in cases), outcome
