"""The loss over chunks: diluted as published, and over the slots that exist."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gencore import components
from gencore.condition import Condition, dropped
from gencore.denoised import Prediction
from gencore.errors import InputError
from gencore.nn.init import seeded
from gencore.noise import Keyed, Recorded
from gencore.objective import Batch, Loss
from gencore.processes.tables import TableProcess
from gencore_robot.backbones.rdt import RDT
from gencore_robot.objective import ActionDenoising, noisy_state

PROCESS = TableProcess.named("squaredcos_cap_v2", 1000, single=True)
SLOTS, EXISTING = 16, 3


def network(**options: Any) -> RDT:
    with seeded(0):
        return RDT(width=16, depth=2, heads=2, horizon=4, slots=SLOTS, **options)


def batch(count: int = 6) -> Batch:
    x0 = torch.randn(count, 4, SLOTS, generator=torch.Generator().manual_seed(3))
    exists = torch.arange(SLOTS).expand(count, 1, SLOTS) < EXISTING
    cond = {"state": Condition(x0[:, :1] * exists, null=torch.zeros(SLOTS)),
            "indicator": Condition(exists.float()), "frequency": Condition(torch.full((count,), 25.0))}  # fmt: skip
    return Batch(x0 * exists, cond, exists)


def loss(objective: ActionDenoising, net: RDT, b: Batch, seed: int = 0) -> Loss:
    return objective.loss("main", {"model": net}, b, Keyed(range(seed, seed + len(b.x0))))


def test_slots_no_robot_has_dilute_the_published_loss_by_their_share() -> None:
    net, b = network(), batch()
    found = loss(ActionDenoising(PROCESS), net, b)
    assert b.valid is not None
    # An untrained network answers zero, which is right in every slot that does not exist.
    expected = b.x0[b.valid.expand_as(b.x0)].square().mean()
    torch.testing.assert_close(found.parts["masked"], expected)
    torch.testing.assert_close(found.parts["diluted"], expected * EXISTING / SLOTS)
    assert torch.equal(found.total.detach(), found.parts["masked"])
    published = loss(ActionDenoising(PROCESS, minimise="diluted"), net, b)
    assert torch.equal(published.total.detach(), found.parts["diluted"])


def test_a_dropped_indicator_leaves_the_scored_slots_alone() -> None:
    net, b = network(), batch()
    gone = dropped(b.conditions, net.ports, {"indicator": 1.0}, Keyed(range(6)))
    assert not gone["indicator"].value.any()
    found = loss(ActionDenoising(PROCESS), net, Batch(b.x0, gone, b.valid))
    assert torch.equal(found.parts["masked"], loss(ActionDenoising(PROCESS), net, b).parts["masked"])


def test_a_network_of_noise_is_compared_with_the_noise() -> None:
    net, b = network(prediction=Prediction("epsilon")), batch()
    noise = Keyed(range(6))
    eps = noise.draw("normal", ("eps",), (4, SLOTS))
    found = loss(ActionDenoising(PROCESS), net, b)
    torch.testing.assert_close(found.parts["diluted"], eps.square().mean())


def test_state_noise_has_the_stated_ratio_and_spares_slots_without_spread() -> None:
    state, std = Condition(torch.zeros(4000, 1, 2)), torch.tensor([3.0, 0.0])
    noisy = noisy_state(state, std, 40.0, Keyed(range(4000))).value[:, 0]
    assert noisy[:, 0].std().item() == pytest.approx(0.03, rel=0.05) and not noisy[:, 1].any()


def test_the_network_sees_the_noisy_state_and_missing_views_while_targets_stay() -> None:
    views = {"images": {"dims": 1, "length": 4, "grid": [2, -2]}}
    net, b = network(streams=views), batch(1)
    images = Condition(torch.ones(1, 4, 1), null=torch.zeros(4, 1))
    b = Batch(b.x0, {**b.conditions, "images": images}, b.valid)
    objective = ActionDenoising(PROCESS, state_std=[1.0] * SLOTS, snr=20.0, view_rates=[0.5, 0.5])
    draws = Recorded([torch.ones(1, 1, SLOTS), torch.tensor([[0.4, 0.6]])])
    shown = objective.shown(net, b.conditions, draws)
    there = b.conditions["indicator"].value
    assert 0 < there.sum() < SLOTS
    torch.testing.assert_close(shown["state"].value, b.conditions["state"].value + 0.1 * there)
    nothing = b.conditions | {"indicator": Condition(torch.zeros_like(there))}
    noisy = objective.shown(net, nothing, Recorded([torch.ones(1, 1, SLOTS), torch.ones(1, 2)]))["state"].value
    torch.testing.assert_close(noisy, b.conditions["state"].value + 0.1)
    assert shown["images"].value[0, :, 0].tolist() == [0, 0, 1, 1]
    assert b.conditions["images"].value.all()


def test_it_is_built_again_from_json_and_refuses_other_settings() -> None:
    objective = ActionDenoising(PROCESS, minimise="diluted", state_std=[1.0], snr=40.0, view_rates=[0.1])
    config = components.describe("objective", objective)
    again = ActionDenoising.from_config({k: v for k, v in config.items() if k != "type"}, PROCESS)
    assert again.config() == objective.config() and config["type"] == "action-denoising"
    with pytest.raises(InputError, match="masked"):
        ActionDenoising(PROCESS, minimise="mask")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="state_std and snr"):
        ActionDenoising(PROCESS, snr=40.0)


def test_training_brings_the_loss_down() -> None:
    net, b = network(), batch(16)
    assert b.valid is not None
    goal = Batch(torch.ones_like(b.x0) * b.valid, b.conditions, b.valid)
    optimiser, objective = torch.optim.Adam(net.parameters(), 3e-3), ActionDenoising(PROCESS)
    seen = []
    for step in range(40):
        found = loss(objective, net, goal, 16 * step)
        optimiser.zero_grad()
        found.total.backward()
        optimiser.step()
        seen.append(found.total.item())
    assert seen[0] == pytest.approx(1.0) and seen[-1] < 0.1
