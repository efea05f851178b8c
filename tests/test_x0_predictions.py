"""Networks that predict clean data: their loss, and samplers down to clean data, where they tell no velocity."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gencore import components
from gencore.denoised import Denoised
from gencore.noise import Keyed
from gencore.objectives.flow import flow_loss
from gencore.process import GaussianProcess
from gencore.processes.flows import LinearFlow, TrigFlow
from gencore.processes.tables import TableProcess
from gencore.run import stream
from gencore.schedules import interval
from gencore.settings import parse
from gencore.spec import LatentSpec, broadcast_time


class Pull:
    """Predicts x_0 = 0.3 + 0.01 x."""

    calls = 0

    def __init__(self, process: GaussianProcess) -> None:
        self.process = process

    def __call__(self, x: Tensor, t: Tensor, info: object = None, **rest: object) -> Denoised:
        return Denoised("x0", 0.3 + 0.01 * x, x, self.process.coeffs(broadcast_time(t, x)))


@pytest.mark.parametrize("process", [LinearFlow(), TrigFlow(), TableProcess.named("squaredcos_cap_v2")])
@pytest.mark.parametrize("sampler", ["euler", "heun", "runge-kutta:method=rk4", "dopri5", "ddim", "dpmpp"])
def test_samplers_reach_clean_data(process: GaussianProcess, sampler: str) -> None:
    chosen = components.build("sampler", parse(sampler, "sampler"))
    times = chosen.times(process, "x0", 40)
    *_, last = stream(Pull(process), chosen, LatentSpec("b c", (4,)), times, Keyed([1]))  # type: ignore[arg-type]
    # The fixed point of the prediction is 0.3 / 0.99; what is left of the start depends on the step size alone.
    assert (last.x - 0.3 / 0.99).abs().max() < 0.02


def test_the_velocity_of_an_x0_prediction_ends_before_clean_data() -> None:
    assert interval(LinearFlow(), "x0") == (1e-3, 1.0)
    assert interval(LinearFlow(), "velocity") == (0.0, 1.0)


@pytest.mark.parametrize("process", [LinearFlow(), TrigFlow()])
def test_its_velocity_weighted_loss_is_that_of_the_velocity_it_implies(process: GaussianProcess) -> None:
    g = torch.Generator().manual_seed(0)
    x0, eps, guess = torch.randn(3, 5, 2, 4, generator=g, dtype=torch.float64)
    t = 0.1 + 0.85 * torch.rand(5, generator=g, dtype=torch.float64)
    d = Denoised("x0", guess, process.corrupt(x0, t, eps), process.coeffs(broadcast_time(t, x0)))
    implied = Denoised("velocity", d.velocity, d.x_t, d.coeffs)
    torch.testing.assert_close(flow_loss(d, x0, eps, "velocity"), flow_loss(implied, x0, eps))
    noise = Denoised("epsilon", d.epsilon, d.x_t, d.coeffs)
    torch.testing.assert_close(flow_loss(d, x0, eps), flow_loss(noise, x0, eps))


def test_its_loss_is_bounded_at_clean_data() -> None:
    x0, guess = torch.zeros(1, 4), torch.ones(1, 4)
    d = Denoised("x0", guess, x0, LinearFlow().coeffs(torch.zeros(1, 1)))
    assert flow_loss(d, x0, x0, "velocity").item() == pytest.approx(20**2)
