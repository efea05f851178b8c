"""Forward processes against their defining equations, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gencore import components
from gencore.errors import InputError
from gencore.noise import Keyed
from gencore.process import GaussianProcess
from gencore.processes.flows import Clock, LinearFlow, TrigFlow, VariancePreserving
from gencore.processes.posterior import clipped_variance, level_posteriors, log_variance, posterior
from gencore.processes.tables import SCHEDULES, TableProcess, respace
from gencore.spec import LatentSpec

FLOWS = [LinearFlow(), TrigFlow(), VariancePreserving()]
TABLES = [TableProcess.named(), TableProcess.named("squaredcos_cap_v2", 100), TableProcess.named(respacing="25")]
ALL = [*FLOWS, *TABLES]
names = [type(p).__name__ + str(getattr(p, "steps", "")) for p in ALL]


@pytest.mark.parametrize("process", FLOWS, ids=lambda p: type(p).__name__)
def test_slopes_are_the_derivatives_of_alpha_and_sigma(process: GaussianProcess) -> None:
    t = torch.linspace(0.01, 1, 57, dtype=torch.float64, requires_grad=True)
    c = process.coeffs(t)
    for value, slope in ((c.alpha, c.d_alpha), (c.sigma, c.d_sigma)):
        (expected,) = torch.autograd.grad(value.sum(), t, retain_graph=True)
        torch.testing.assert_close(slope, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("process", ALL, ids=names)
def test_ends_variance_and_monotony(process: GaussianProcess) -> None:
    t = torch.linspace(0, 1, 201, dtype=torch.float64)
    c = process.coeffs(t)
    assert all(v.dtype == torch.float64 and v.shape == t.shape and v.isfinite().all() for v in c)
    assert (c.alpha[0], c.sigma[0]) == (1, 0)
    assert (c.alpha.diff() <= 0).all() and (c.sigma.diff() >= 0).all() and c.alpha[-1] < 0.1
    if not isinstance(process, LinearFlow):
        torch.testing.assert_close(c.alpha**2 + c.sigma**2, torch.ones_like(t), rtol=0, atol=1e-14)


def test_paths_in_closed_form() -> None:
    t = torch.tensor([0.3], dtype=torch.float64)
    assert [v.item() for v in LinearFlow().coeffs(t)] == pytest.approx([0.7, 0.3, -1, 1], abs=1e-15)
    a = 0.3 * math.pi / 2
    assert [v.item() for v in TrigFlow().coeffs(t)[:2]] == pytest.approx([math.cos(a), math.sin(a)], abs=1e-15)
    # integral of beta(t) = 0.1 + 19.9 t
    alpha = math.exp(-0.5 * (0.1 * 0.3 + 19.9 * 0.09 / 2))
    assert VariancePreserving().coeffs(t).alpha.item() == pytest.approx(alpha, abs=1e-15)


def test_a_table_is_the_running_product_of_its_betas() -> None:
    b = 0.03
    process = TableProcess(torch.full((50,), b))
    levels = torch.arange(50)
    b = torch.full((), b).double()
    torch.testing.assert_close(
        process.coeffs(process.at(levels)).alpha ** 2, (1 - b) ** (levels + 1), rtol=1e-13, atol=0
    )
    # Between levels alpha-bar is linear, and its derivative is that line's.
    t = process.at(torch.tensor([10.25]))
    low, high = (process.coeffs(process.at(torch.tensor([k]))).alpha ** 2 for k in (10, 11))
    c = process.coeffs(t)
    torch.testing.assert_close(c.alpha**2, low + 0.25 * (high - low))
    # Exact where alpha-bar has the slope (1 - b)^(T t) log(1 - b) T; the line's own is off by 1 % here.
    true = (1 - b) ** 11.25 * (1 - b).log() * 50
    torch.testing.assert_close(2 * c.alpha * c.d_alpha, true[None], rtol=1e-3, atol=0)
    torch.testing.assert_close(2 * c.sigma * c.d_sigma, -true[None], rtol=1e-3, atol=0)


def test_slopes_of_a_table_are_right_to_second_order() -> None:
    """Halving the distance of levels quarters the error against the path they are cut from."""
    t = torch.tensor([0.2137, 0.5, 0.8311], dtype=torch.float64)
    log = -0.1 * t - 19.9 * t**2 / 2
    true = log.exp() * (-0.1 - 19.9 * t)
    gaps = []
    for steps in (500, 1000):
        grid = torch.arange(steps + 1, dtype=torch.float64) / steps
        abar = (-0.1 * grid - 19.9 * grid**2 / 2).exp()
        c = TableProcess(1 - abar[1:] / abar[:-1]).coeffs(t)
        gaps.append((2 * c.alpha * c.d_alpha - true).abs())
    assert (gaps[1] < 0.4 * gaps[0]).all() and gaps[1].max() < 1e-4
    first = TableProcess.named(final="first")
    c = first.coeffs(torch.tensor([0.0, 5e-4, 1e-3], dtype=torch.float64))
    assert (c.alpha == c.alpha[0]).all() and c.d_alpha[0] == 0 and c.d_alpha[2] < 0


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_named_schedules_make_processes(schedule: str) -> None:
    process = TableProcess.named(schedule, 200)
    assert ((process.betas > 0) & (process.betas <= 1)).all() and process.steps == 200


def test_the_cosine_schedule_follows_its_formula() -> None:
    process = TableProcess.named("squaredcos_cap_v2", 1000)
    f = [math.cos((k / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for k in (0, 501)]
    assert process.alphas_cumprod[500].item() == pytest.approx(f[1] / f[0], rel=1e-12)


def test_every_level_survives_float32() -> None:
    process = TableProcess.named()
    levels = torch.arange(1000)
    assert torch.equal(process.model_time(process.at(levels).float()), levels.double())


def test_a_respaced_process_keeps_its_levels_alpha_bars() -> None:
    whole, few = TableProcess.named(), TableProcess.named(respacing="10")
    kept = respace(1000, "10")
    assert torch.equal(few.levels, torch.tensor(kept)) and kept[0] == 0 and kept[-1] == 999
    torch.testing.assert_close(few.alphas_cumprod, whole.alphas_cumprod[kept], rtol=1e-13, atol=0)
    assert torch.equal(few.model_time(few.at(torch.arange(10))), torch.tensor(kept).double())


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(1, 300))
def test_respacing_keeps_that_many_rising_levels(steps: int, count: int) -> None:
    if count > steps:
        with pytest.raises(InputError):
            respace(steps, str(count))
        return
    kept = respace(steps, str(count))
    assert len(kept) == count and kept == sorted(set(kept)) and kept[0] >= 0 and kept[-1] < steps
    if count > 1:
        assert (kept[0], kept[-1]) == (0, steps - 1)


@pytest.mark.parametrize("process", ALL, ids=names)
def test_a_process_is_built_again_from_its_config(process: GaussianProcess) -> None:
    again = components.build("process", components.describe("process", process))
    t = torch.linspace(0, 1, 33, dtype=torch.float64)
    for a, b in zip(again.coeffs(t), process.coeffs(t), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-15)
    assert torch.equal(again.model_time(t), process.model_time(t))


def test_clocks() -> None:
    t = torch.tensor([0.25])
    assert LinearFlow(Clock(1000.0)).model_time(t) == 250
    assert LinearFlow(Clock(reverse=True)).model_time(t) == 0.75


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(ALL), st.integers(1, 3))
def test_corruption_takes_a_time_per_cell(process: GaussianProcess, batch: int) -> None:
    g = torch.Generator().manual_seed(batch)
    x0, eps = torch.randn(2, batch, 2, 3, 4, dtype=torch.float64, generator=g)
    t = torch.rand(batch, 1, 3, 1, dtype=torch.float64, generator=g)
    cells = process.corrupt(x0, t, eps)
    for b in range(batch):
        for h in range(3):
            one = process.corrupt(x0[b : b + 1], t[b, 0, h], eps[b : b + 1])
            assert torch.equal(one[:, :, h], cells[b : b + 1, :, h])
    spec, noise = LatentSpec("b c h w", (2, 3, 4)), Keyed(range(batch))
    assert torch.equal(process.prior(spec, noise), noise.draw("normal", ("init",), spec.sizes))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(ALL), st.floats(0.05, 1), st.floats(0.1, 0.95), st.floats(-2, 2), st.floats(-2, 2))
def test_the_posterior_is_bayes(process: GaussianProcess, t: float, share: float, x0: float, x_t: float) -> None:
    """q(x_s | x_t, x_0) from the joint Gaussian of x_s ~ N(alpha_s x_0, sigma_s^2) and x_t | x_s ~ N(r x_s, beta)."""
    at = process.coeffs(torch.tensor([t, t * share], dtype=torch.float64))
    here, there = (type(at)(*(v[i] for v in at)) for i in (0, 1))
    p = posterior(here, there)
    r = here.alpha / there.alpha
    beta = here.sigma**2 - r**2 * there.sigma**2
    precision = 1 / there.sigma**2 + r**2 / beta
    mean = (there.alpha * x0 / there.sigma**2 + r * x_t / beta) / precision
    torch.testing.assert_close(p.beta, beta)
    torch.testing.assert_close(p.variance, 1 / precision, rtol=1e-9, atol=0)
    got = p.mean(*(torch.tensor(v, dtype=torch.float64) for v in (x0, x_t)))
    torch.testing.assert_close(got, mean, rtol=1e-9, atol=1e-9)


def test_the_last_transition_has_a_finite_log_variance() -> None:
    process = TableProcess.named(respacing="8")
    here, neighbour = level_posteriors(process, torch.tensor([0, 3, 7]))
    assert here.variance[0] == 0 and clipped_variance(here, neighbour)[0] == neighbour.variance[0] > 0
    with pytest.raises(InputError, match="predicts no variance"):
        from gencore.denoised import Denoised

        z = torch.zeros(3, 1)
        log_variance(
            "learned_range", here, neighbour, Denoised("epsilon", z, z, process.coeffs(process.at(torch.arange(3))))
        )


def test_unusable_tables_are_refused() -> None:
    for betas in (torch.tensor([0.1, 1.5]), torch.zeros(3), torch.ones(2, 2), torch.empty(0)):
        with pytest.raises(InputError, match="betas"):
            TableProcess(betas)
    with pytest.raises(InputError, match="schedule: got 'liner'"):
        TableProcess.named("liner")
