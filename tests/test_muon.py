"""Muon for the trunk's matrices, AdamW for the rest, as one optimiser."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gencore.training.muon import Muon


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 6)
        self.blocks = nn.ModuleList([nn.Linear(6, 10), nn.Linear(10, 6)])
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = torch.tanh(block(x))
        return self.head(x)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def train(net: Net, optimiser: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        net(x).square().mean().backward()
        optimiser.step()


def test_a_first_step_is_the_gradients_orthogonal_factor(net):
    optimiser = Muon(net, lr=0.1)
    before = net.blocks[0].weight.detach().clone()
    train(net, optimiser, range(1))
    u, s, v = torch.linalg.svd(net.blocks[0].weight.grad, full_matrices=False)
    update = (before - net.blocks[0].weight.detach()) / (0.1 * 0.2 * 10**0.5)
    kept = s > 1e-2 * s[0]
    seen = torch.diagonal(u.T @ update @ v.T)[kept]
    # Five Newton-Schulz steps with the published coefficients bring singular values near 1, not to it.
    assert ((seen > 0.5) & (seen < 1.4)).all(), seen


def test_all_else_takes_the_steps_of_adamw(net):
    twin = copy.deepcopy(net)
    train(net, Muon(net, lr=1e-2, betas=(0.9, 0.98), weight_decay=0.1), range(1))
    train(twin, torch.optim.AdamW(twin.parameters(), lr=1e-2, betas=(0.9, 0.98), weight_decay=0.1), range(1))
    for (name, p), (_, q) in zip(net.named_parameters(), twin.named_parameters(), strict=True):
        assert torch.equal(p, q) is not (name.startswith("blocks") and p.ndim == 2), name


def test_a_schedule_reaches_both_parts(net):
    optimiser = Muon(net, lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.0)
    before = copy.deepcopy(net.state_dict())
    train(net, optimiser, range(1))
    schedule.step()
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())
    assert [group["lr"] for part in optimiser.parts for group in part.param_groups] == [0.0, 0.0]


def test_saved_state_continues_where_it_stopped(net, tmp_path):
    optimiser = Muon(net, lr=1e-2, weight_decay=0.1)
    train(net, optimiser, range(3))
    torch.save({"net": net.state_dict(), "optimiser": optimiser.state_dict()}, tmp_path / "state.pt")
    train(net, optimiser, range(3, 6))
    other = Net()
    again = Muon(other, lr=1e-2, weight_decay=0.1)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other.load_state_dict(state["net"])
    again.load_state_dict(state["optimiser"])
    train(other, again, range(3, 6))
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters(), strict=True))
