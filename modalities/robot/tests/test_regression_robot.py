"""Regression through the sampling loop."""

from __future__ import annotations

import pytest
import torch

from gencore import components
from gencore.backbone import Backbone, Output
from gencore.condition import Condition
from gencore.denoised import Prediction
from gencore.denoiser import Denoiser
from gencore.noise import Keyed
from gencore.objective import Batch
from gencore.run import stream
from gencore.samplers.dpm_solver import DPMSolver
from gencore.spec import LatentSpec
from gencore_robot.regression import ActionRegression, Fading


class Answer(Backbone):
    """Answers with its parameter and keeps what it was asked."""

    prediction = Prediction("x0")
    ports: dict = {}  # noqa: RUF012

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.value, self.asked = torch.nn.Parameter(value), []

    def forward(self, x_t, t, cond, ctx):
        self.asked.append((x_t, t))
        return Output(self.value.expand_as(x_t))

    def config(self):
        return {}


def test_one_step_returns_what_the_network_says_of_zeros() -> None:
    net, spec = Answer(torch.tensor([[1.0, -2.0, 3.0]])), LatentSpec("b n c", (2, 3))
    sampler, process, noise = DPMSolver(), Fading(), Keyed([0, 1])
    times = sampler.times(process, "x0", 1)
    state = sampler.init(process.prior(spec, noise).double(), times, process)
    with torch.no_grad():
        *_, last = stream(Denoiser(net, process, {}), sampler, spec, times, noise, state=state)
    torch.testing.assert_close(last.x.float(), net.value.detach().expand(2, 2, 3))
    ((x, t),) = net.asked
    assert not x.any() and (t == 1).all()


def test_its_minimum_is_the_mean_of_what_is_shown() -> None:
    # Two modes at -1 and 3, three to one: the regression goes where no demonstration is.
    x0 = torch.tensor([-1.0, -1.0, -1.0, 3.0])[:, None, None]
    for value, slope in ((0.0, 0.0), (0.5, 1.0)):
        net = Answer(torch.tensor([[value]]))
        loss = ActionRegression(Fading()).loss("main", {"model": net}, Batch(x0, {}), Keyed(range(4)))
        loss.total.backward()
        assert net.value.grad is not None
        assert net.value.grad.item() == pytest.approx(slope)


def test_slots_the_robot_lacks_are_not_scored() -> None:
    x0 = torch.tensor([[[2.0, 5.0]]])
    valid = torch.tensor([[[True, False]]])
    batch = Batch(x0, {"state": Condition(torch.zeros(1, 1, 2))}, valid)
    found = ActionRegression(Fading()).loss("main", {"model": Answer(torch.zeros(1, 2))}, batch, Keyed([0]))
    assert found.total.item() == 4.0 and found.parts["diluted"].item() == 14.5


def test_it_is_found_by_name() -> None:
    for kind, part in (("process", Fading()), ("objective", ActionRegression(Fading()))):
        assert components.describe(kind, part) == {
            "type": {"process": "fading", "objective": "action-regression"}[kind]
        }
