"""Every sampler on data whose score is exact: order, moments, inversion, and times of a cell's own."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from gencore import builtin, components
from gencore.errors import InputError
from gencore.noise import Keyed
from gencore.process import GaussianProcess
from gencore.processes.flows import LinearFlow, TrigFlow, VariancePreserving
from gencore.processes.posterior import VarianceKind
from gencore.processes.tables import TableProcess
from gencore.sampler import Sampler
from gencore.samplers.ancestral import Ancestral
from gencore.samplers.ddim import DDIM
from gencore.samplers.dopri5 import Dopri5
from gencore.samplers.dpm_solver import DPMSolver
from gencore.samplers.runge_kutta import TABLEAUX, RungeKutta, heun
from gencore.samplers.sde import FORMS, StochasticInterpolant
from gencore.schedules import shifted, uniform
from gencore.settings import parse
from gencore.testing.analytic import Mixture
from gencore.testing.orders import SAMPLES, adaptive, check_sampler, errors, measured_order, solve, walk

# A fine table: RK methods see its kinks, whose error is 1/T^2.
TABLE = TableProcess(torch.linspace(1e-5, 2e-3, 10_000, dtype=torch.float64))
PROCESSES = {"linear": LinearFlow(), "trig": TrigFlow(), "vp": VariancePreserving(), "table": TABLE}
GAUSSIAN = Mixture.gaussian(0.7, 0.6, (1, 3))
ODES: dict[str, Sampler] = {
    "ddim": DDIM(),
    "dpmpp-1": DPMSolver(order=1),
    "dpmpp-2m": DPMSolver("2M"),
    "dpmpp-2s": DPMSolver("2S"),
    "dpmpp-2s-r1": DPMSolver("2S", r=1.0),
    **{name: RungeKutta(name) for name in TABLEAUX},
}
STOCHASTIC: dict[str, Sampler] = {
    "ddim-eta": DDIM(eta=0.7),
    "ancestral": Ancestral(),
    "sde": StochasticInterpolant(),
    "sde-heun": StochasticInterpolant("heun"),
}


@pytest.mark.parametrize("data", [GAUSSIAN, SAMPLES], ids=["gaussian", "mixture"])
@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("sampler", ODES.values(), ids=ODES)
def test_an_ode_solver_has_the_order_it_declares(sampler: Sampler, process: GaussianProcess, data: Mixture) -> None:
    # The multistep method starts with a step of first order, which takes longer to fade.
    steps = {4: (12, 36), 2: (80, 240) if sampler == DPMSolver("2M") else (12, 36), 1: (20, 60)}[sampler.order]
    found = measured_order(sampler, process, data, steps=steps, batch=8)
    assert 0.85 * sampler.order < found, errors(sampler, process, data, steps=steps, batch=8)
    # No method is much better than its order; where two terms happen to cancel it is by one at most.
    assert found < sampler.order + 1.2


def test_the_tables_are_consistent() -> None:
    """Row sums are the nodes, and the weights integrate polynomials up to the order (Butcher's conditions)."""
    for tableau in TABLEAUX.values():
        assert [sum(row) for row in tableau.a] == pytest.approx(list(tableau.c))
        for k in range(tableau.order):
            weights = zip(tableau.b, tableau.c, strict=True)
            assert sum(b * c**k for b, c in weights) == pytest.approx(1 / (k + 1))


def test_the_order_survives_joint_cells_and_other_kinds() -> None:
    """A mixture whose cells depend on each other, against a fine fourth-order solution."""
    data = Mixture.of([-1.0, 1.0], [0.5, 0.7], [0.4, 0.6], (1, 2, 2))
    noise, process = Keyed(range(6), dtype=torch.float64), TrigFlow()
    x = noise.draw("normal", ("x",), data.shape)
    exact = solve(RungeKutta("rk4"), process, data, noise, times=uniform(100, 0.9, 0.1), x=x)
    for sampler, kind in (
        (DDIM(), "epsilon"),
        (heun(), "velocity"),
        (DPMSolver("2M"), "v"),
        (DPMSolver("2S"), "score"),
    ):
        gaps = []
        for n in (20, 60):
            got = solve(sampler, process, data, noise, times=uniform(n, 0.9, 0.1), x=x, kind=kind)
            gaps.append((got - exact).square().mean().sqrt().item())
        assert math.log(gaps[0] / gaps[1], 3) == pytest.approx(sampler.order, abs=0.45), gaps


def test_dpm_solver_of_order_one_is_ddim() -> None:
    noise = Keyed(range(4), dtype=torch.float64)
    runs = [
        solve(s, TrigFlow(), SAMPLES, noise, times=uniform(9)) for s in (DPMSolver(order=1), DPMSolver("2S", 1), DDIM())
    ]
    for run in runs:
        torch.testing.assert_close(run, runs[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("sampler", ODES.values(), ids=ODES)
def test_default_times_lead_from_noise_to_data(sampler: Sampler, process: GaussianProcess) -> None:
    """From the prior to t = 0 over the solver's own grid, ends where slopes diverge included."""
    noise = Keyed(range(8), dtype=torch.float64)
    for kind in ("velocity", "epsilon"):
        times = sampler.times(process, kind, 40)
        assert len(times) == 41 and times[-1] == 0 and (times.diff() < 0).all()
        got = solve(sampler, process, GAUSSIAN, noise, times=times, kind=kind)
        eps, start = noise.draw("normal", ("init",), GAUSSIAN.shape), times[:1].reshape(1, 1, 1)
        exact = GAUSSIAN.flow(eps, process.coeffs(start), process.coeffs(0 * start))
        # The last steps of 2M on a table's own levels grow fast in log-SNR, where it extrapolates furthest.
        loose = sampler.order == 1 or sampler == DPMSolver("2M")
        assert (got - exact).abs().max() < (0.2 if loose else 0.03)


# ---- stochastic samplers: mean and variance


def deviation_gain(process: GaussianProcess, t: float, std: float) -> tuple[float, float, float, float, float]:
    """alpha, sigma at t, and what x_0, eps are per unit of x - alpha mu for data of spread `std`; the variance of x."""
    c = process.coeffs(torch.tensor(t, dtype=torch.float64))
    a, s = c.alpha.item(), c.sigma.item()
    v = a * a * std * std + s * s
    return a, s, a * std * std / v, s / v, v


def predicted_variance(process: GaussianProcess, times: Tensor, std: float, eta: float | None, kind: str = "") -> float:
    """The variance of the last state for exact Gaussian predictions: a linear recursion, step by step.

    `eta` is DDIM's; None is ancestral sampling with `kind` of variance.
    """
    a, s, *_, v = deviation_gain(process, times[0].item(), std)
    v = 1.0
    for i in range(len(times) - 1):
        a, s, gx, ge, _ = deviation_gain(process, times[i].item(), std)
        b, u, *_ = deviation_gain(process, times[i + 1].item(), std)
        beta = s * s - (a / b) ** 2 * u * u
        small = beta * u * u / (s * s)
        if eta is None:
            gain = b * beta / (s * s) * gx + a / b * u * u / (s * s)
            kick = 0.0 if i == len(times) - 2 else (beta if kind == "fixed_large" else small)
        else:
            kick = eta * eta * small
            gain = b * gx + math.sqrt(max(u * u - kick, 0)) * ge
        v = gain * gain * v + kick
    return v


CELLS = 8_000
MANY = Mixture.gaussian(0.7, 0.6, (1, CELLS))


def check_moments(x: Tensor, mean: float, variance: float, slack: float = 0.0) -> None:
    """Within four standard errors, plus `slack` for the discretisation."""
    assert abs(x.mean().item() - mean) < 4 * (variance / CELLS) ** 0.5 + slack
    assert abs(x.var().item() - variance) < 4 * variance * (2 / CELLS) ** 0.5 + slack


@pytest.mark.parametrize("process", [TrigFlow(), TableProcess.named(respacing="30")], ids=["trig", "table"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_has_exactly_the_variance_of_its_recursion(process: GaussianProcess, eta: float) -> None:
    times = DDIM(eta).times(process, "x0", 30)
    x = solve(DDIM(eta), process, MANY, Keyed([5], dtype=torch.float64), times=times)
    a = process.coeffs(times[:1]).alpha.item()
    # The prior has mean 0 where the marginal has alpha mu: what is left of that is below one standard error.
    check_moments(x, 0.7, predicted_variance(process, times, 0.6, eta), slack=0.7 * a)


@pytest.mark.parametrize("kind", ["fixed_small", "fixed_large"])
def test_ancestral_sampling_has_exactly_the_variance_of_its_recursion(kind: VarianceKind) -> None:
    process = TableProcess.named("linear", 1000, respacing="40")
    times = Ancestral(kind).times(process, "x0", 40)
    x = solve(Ancestral(kind), process, MANY, Keyed([5], dtype=torch.float64), times=times)
    check_moments(x, 0.7, predicted_variance(process, times, 0.6, None, kind), slack=0.005)


def test_a_learned_range_spans_small_and_large() -> None:
    process = TableProcess.named("linear", 1000, respacing="40")
    times = Ancestral().times(process, "x0", 40)
    noise = Keyed([5], dtype=torch.float64)
    for variance, kind in ((-1.0, "fixed_small"), (1.0, "fixed_large")):
        learned = solve(Ancestral("learned_range"), process, MANY, noise, times=times, variance=variance)
        fixed = solve(Ancestral(kind), process, MANY, noise, times=times)
        torch.testing.assert_close(learned, fixed, rtol=0, atol=1e-9)
    assert torch.equal(solve(Ancestral(), process, MANY, noise, times=times, variance=-1.0),
                       solve(Ancestral("learned_range"), process, MANY, noise, times=times, variance=-1.0))  # fmt: skip
    with pytest.raises(InputError, match="predicts no variance"):
        solve(Ancestral("learned_range"), process, MANY, noise, times=times)


def test_all_levels_of_ddpm_give_the_data_back() -> None:
    process = TableProcess.named("linear", 1000)
    times = Ancestral().times(process, "x0", 1000)
    assert predicted_variance(process, times, 0.6, None) == pytest.approx(0.36, rel=0.02)


@pytest.mark.parametrize("method", ["euler", "heun"])
@pytest.mark.parametrize("form", FORMS)
def test_every_diffusion_keeps_the_marginals(method, form: str) -> None:
    process = TrigFlow() if form in ("sigma", "sbdm", "linear") else LinearFlow()
    sampler = StochasticInterpolant(method, form, last_step=0.01)
    times = sampler.times(process, "velocity", 120)
    x = solve(sampler, process, MANY, Keyed([5], dtype=torch.float64), times=times, kind="velocity")
    check_moments(x, 0.7, 0.36, slack=0.02)


@pytest.mark.parametrize("last", ["mean", "tweedie", "euler", None])
def test_every_rule_for_the_last_step_ends_at_the_data(last) -> None:
    sampler = StochasticInterpolant(last=last)
    times = sampler.times(LinearFlow(), "velocity", 100)
    assert times[-1] == 0 and len(times) == 101
    x = solve(sampler, LinearFlow(), MANY, Keyed([5], dtype=torch.float64), times=times, kind="velocity")
    check_moments(x, 0.7, 0.36, slack=0.03)


# ---- inversion


def test_ddim_inverts_itself_to_first_order() -> None:
    process, noise = TrigFlow(), Keyed(range(6), dtype=torch.float64)
    x0 = SAMPLES.draw(noise)
    gaps = []
    for n in (25, 50, 100):
        code = solve(DDIM(), process, SAMPLES, noise, times=uniform(n, 0.02, 0.98), x=x0)
        back = solve(DDIM(), process, SAMPLES, noise, times=uniform(n, 0.98, 0.02), x=code)
        gaps.append((back - x0).abs().max().item())
    assert gaps[0] < 0.15 and [a / b for a, b in itertools.pairwise(gaps)] == pytest.approx([2, 2], abs=0.5)


# ---- times of a cell's own


@pytest.mark.parametrize("process", [LinearFlow(), VariancePreserving()], ids=["linear", "vp"])
@pytest.mark.parametrize("sampler", [*ODES.values(), *STOCHASTIC.values()], ids=[*ODES, *STOCHASTIC])
def test_equal_times_everywhere_are_one_list_of_times(sampler: Sampler, process: GaussianProcess) -> None:
    data, noise = Mixture.gaussian(0.4, 0.6, (1, 2, 3)), Keyed(range(2), dtype=torch.float64)
    times = sampler.times(process, "x0", 5)
    whole = solve(sampler, process, data, noise, times=times)
    n = len(times)
    for shape in ((n, 2), (n, 1, 1, 1, 1), (n, 2, 1, 2, 3), (n, 2, 1, 2, 1)):
        finer = times.reshape(n, *(1,) * (len(shape) - 1)).expand(shape)
        torch.testing.assert_close(solve(sampler, process, data, noise, times=finer), whole, rtol=0, atol=1e-9)


@pytest.mark.parametrize("process", [LinearFlow(), VariancePreserving()], ids=["linear", "vp"])
@pytest.mark.parametrize("sampler", ODES.values(), ids=ODES)
def test_a_pyramid_gives_each_frame_its_own_run(sampler: Sampler, process: GaussianProcess) -> None:
    """Frame f waits f steps at noise, walks, and waits at data: for independent frames the same as walking alone."""
    frames, steps = 3, 5
    data, noise = Mixture.gaussian(0.4, 0.6, (1, frames)), Keyed(range(2), dtype=torch.float64)
    times = sampler.times(process, "x0", steps)
    wait = [torch.cat([times[:1].expand(f), times, times[-1:].expand(frames - f)]) for f in range(frames)]
    pyramid = torch.stack(wait, dim=1)[:, None, None]
    alone = solve(sampler, process, data, noise, times=times)
    seen = list(walk(sampler, process, data, noise, times=pyramid))
    torch.testing.assert_close(seen[-1].x, alone, rtol=0, atol=1e-9)
    # Frames that stand still are copied, not recomputed.
    start = noise.draw("normal", ("init",), data.shape)
    assert torch.equal(seen[0].x[..., 1:], start[..., 1:])
    assert torch.equal(seen[steps].x[..., :1], seen[-1].x[..., :1])


@pytest.mark.parametrize("sampler", STOCHASTIC.values(), ids=STOCHASTIC)
def test_waiting_frames_gain_no_noise(sampler: Sampler) -> None:
    data, noise = Mixture.gaussian(0.4, 0.6, (1, 2)), Keyed(range(2), dtype=torch.float64)
    times = torch.tensor([[0.9, 0.9], [0.6, 0.9], [0.3, 0.6], [0.0, 0.3], [0.0, 0.1], [0.0, 0.0]]).double()
    seen = [s.x for s in walk(sampler, LinearFlow(), data, noise, times=times[:, None, None])]
    assert torch.equal(seen[0][..., 1], noise.draw("normal", ("init",), data.shape)[..., 1])
    assert torch.equal(seen[2][..., 0], seen[4][..., 0]) and seen[4].isfinite().all()


# ---- settings and the public check


def test_every_sampler_of_the_core_passes_the_public_check() -> None:
    for name in builtin.manifest.provides["sampler"]:
        sampler = components.build("sampler", parse(name, "sampler"))
        check_sampler(sampler)


@pytest.mark.parametrize(
    "sampler", [DDIM(eta=1.0), DPMSolver("2S"), StochasticInterpolant("heun"), RungeKutta("rk4")], ids=str
)
def test_variants_pass_the_public_check(sampler: Sampler) -> None:
    check_sampler(sampler)


def test_only_the_adaptive_method_chooses_its_steps() -> None:
    assert adaptive(Dopri5(), LinearFlow()) and not adaptive(heun(), LinearFlow())


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: DDIM(eta=-0.1), "eta"),
        (lambda: DPMSolver("3M"), "variant"),  # type: ignore[arg-type]
        (lambda: DPMSolver(order=3), "order"),
        (lambda: DPMSolver("2S", r=0.0), "r"),
        (lambda: RungeKutta("hein"), "method"),
        (lambda: StochasticInterpolant("milstein"), "method"),  # type: ignore[arg-type]
        (lambda: StochasticInterpolant(form="sigmoid"), "form"),
        (lambda: StochasticInterpolant(last="never"), "last"),  # type: ignore[arg-type]
        (lambda: Dopri5(rtol=0.0), "tolerance"),
        (lambda: Ancestral("fixed_smal"), "variance"),  # type: ignore[arg-type]
        (lambda: uniform(0), "steps"),
        (lambda: shifted(uniform(2), 0.0), "shift"),
        (lambda: DDIM().times(TableProcess.named(steps=20), "x0", 21), "steps"),
    ],
)
def test_impossible_settings_are_refused(make, field: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.field == field


def test_a_shift_moves_steps_towards_noise_and_keeps_the_ends() -> None:
    times = shifted(uniform(10), 3.0)
    assert (times[0], times[-1]) == (1, 0) and (times.diff() < 0).all()
    # t / (1 - t) is multiplied by the shift.
    odds = uniform(10)[1:-1] / (1 - uniform(10)[1:-1])
    torch.testing.assert_close(times[1:-1] / (1 - times[1:-1]), 3 * odds)
