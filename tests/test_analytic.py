"""The closed forms that everything else is held against, held against calculus."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from gencore.condition import Conditions
from gencore.context import Context
from gencore.denoised import PredictionKind
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.noise import Keyed
from gencore.process import Coeffs, GaussianProcess
from gencore.processes.flows import Clock, LinearFlow, TrigFlow, VariancePreserving
from gencore.processes.tables import TableProcess
from gencore.testing.analytic import AnalyticBackbone, Mixture, time_seen

PROCESSES = [LinearFlow(Clock(1000.0, reverse=True)), TrigFlow(), VariancePreserving(), TableProcess.named(),
             TableProcess.named(respacing="50")]  # fmt: skip
WIDE = Mixture.of([-1.0, 0.5, 2.0], [0.3, 0.6, 0.2], [0.2, 0.5, 0.3], (2, 3))


def at(process: GaussianProcess, t: float, rank: int = 3) -> Coeffs:
    return process.coeffs(torch.full((1,) * rank, t, dtype=torch.float64))


@pytest.mark.parametrize("process", PROCESSES[:4], ids=lambda p: type(p).__name__)
def test_score_and_mean_are_the_derivatives_of_the_density(process: GaussianProcess) -> None:
    c = at(process, 0.4)
    x = Keyed(range(6), dtype=torch.float64).draw("normal", ("x",), (2, 3)).requires_grad_(True)
    (score,) = torch.autograd.grad(WIDE.log_prob(x, c).sum(), x)
    torch.testing.assert_close(WIDE.score(x, c), score, rtol=1e-10, atol=1e-10)
    # Tweedie: alpha E[x_0 | x] = x + sigma^2 score.
    torch.testing.assert_close(c.alpha * WIDE.x0(x, c), x + c.sigma**2 * score, rtol=1e-10, atol=1e-10)


def test_the_density_integrates_to_one() -> None:
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64).reshape(-1, 1, 1)
    p = Mixture.of([-1.0, 2.0], [0.3, 0.5], [0.25, 0.75]).log_prob(x, at(TrigFlow(), 0.3)).exp()
    assert torch.trapezoid(p, x.flatten()).item() == pytest.approx(1, abs=1e-9)


def test_draws_have_the_mixtures_moments() -> None:
    n, data = 3000, Mixture.of([-1.0, 2.0], [0.3, 0.5], [0.25, 0.75])
    x = data.draw(Keyed(range(n), dtype=torch.float64))
    mean, var = 1.25, 0.25 * (1 + 0.09) + 0.75 * (4 + 0.25) - 1.25**2
    assert abs(x.mean().item() - mean) < 4 * (var / n) ** 0.5
    assert x.var().item() == pytest.approx(var, rel=0.1)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__ + str(getattr(p, "steps", "")))
@pytest.mark.parametrize("kind", get_args(PredictionKind))
def test_the_network_is_exact_through_the_denoiser(process: GaussianProcess, kind: PredictionKind) -> None:
    net = AnalyticBackbone(WIDE, process, kind)
    x = Keyed(range(3), dtype=torch.float64).draw("normal", ("x",), (2, 3))
    t = torch.tensor([0.31, 0.5, 0.9], dtype=torch.float64)
    d = Denoiser(net, process, {})(x, t)
    c = process.coeffs(t.reshape(3, 1, 1))
    torch.testing.assert_close(d.x0, WIDE.x0(x, c), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(d.score, WIDE.score(x, c), rtol=1e-8, atol=1e-8)
    assert d.value.dtype == torch.float64 and d.kind == kind


def test_a_learned_variance_rides_along() -> None:
    net = AnalyticBackbone(WIDE, LinearFlow(), "epsilon", variance=-0.5)
    d = Denoiser(net, LinearFlow(), {})(torch.zeros(2, 2, 3), torch.tensor([0.5, 0.6], dtype=torch.float64))
    assert d.extra is not None and (d.extra == -0.5).all() and d.extra.dtype == torch.float32


@pytest.mark.parametrize("process", PROCESSES[:3], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("data", [Mixture.gaussian(0.7, 0.4, (2, 2)), Mixture.of([-1.0, 1.5], [0.5, 0.4], [0.4, 0.6])])
def test_the_exact_flow_solves_the_equation(process: GaussianProcess, data: Mixture) -> None:
    net, shape = AnalyticBackbone(data, process, "x0"), (4, *data.shape)
    x = Keyed(range(4), dtype=torch.float64).draw("normal", ("x",), data.shape)
    denoise = Denoiser(net, process, {})

    def field(t: float, y: np.ndarray) -> np.ndarray:
        return denoise(torch.from_numpy(y).reshape(shape), torch.full((4,), t, dtype=torch.float64)).velocity.flatten()

    solved = solve_ivp(field, (0.95, 0.05), x.flatten().numpy(), "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    exact = data.flow(x, at(process, 0.95), at(process, 0.05))
    torch.testing.assert_close(exact.flatten(), torch.from_numpy(solved), rtol=0, atol=1e-8)


def test_what_has_no_closed_form_is_refused() -> None:
    c = at(LinearFlow(), 0.5)
    with pytest.raises(InputError, match="3 components over 6 cells"):
        WIDE.flow(torch.zeros(1, 2, 3, dtype=torch.float64), c, c)

    class Warped(LinearFlow):
        def model_time(self, t):
            return t.double() ** 2

    with pytest.raises(InputError, match="network time is linear"):
        time_seen(Warped(), torch.tensor([0.3]))


def test_a_time_per_cell_is_taken() -> None:
    data, process = Mixture.gaussian(0.5, 0.7, (1, 2, 2)), LinearFlow()
    t = torch.tensor([[0.2, 0.4], [0.6, 0.8]], dtype=torch.float64).reshape(1, 1, 2, 2)
    x = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    cond: Conditions = {}
    out = AnalyticBackbone(data, process)(x, process.model_time(t), cond, Context()).pred
    a = 1 - t
    torch.testing.assert_close(out, 0.5 + a * 0.49 / (a**2 * 0.49 + t**2) * (1 - a * 0.5))
