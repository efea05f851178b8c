"""Sliding windows: one window is the inner sampler, several have the law of a chain."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gencore.backbone import Backbone, Output
from gencore.categorical import TokenPrediction
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.noise import Keyed
from gencore.processes.absorbing import Absorbing
from gencore.run import stream
from gencore.samplers.blockwise import Blockwise
from gencore.samplers.masked import MaskedAncestral
from gencore.samplers.sliding import Sliding
from gencore.spec import LatentSpec
from gencore.testing import check_sampler

MASK = 2
STAY = 0.9


class Chain(Backbone):
    """A two-state chain that stays with probability 0.9, one new token at a time: the exact conditional of a masked
    token given the open one before it, within windows of at most two tokens."""

    prediction, ports = TokenPrediction(3, MASK), {}

    def __init__(self) -> None:
        super().__init__()
        self.widest = 0

    def forward(self, x_t: Tensor, t: Tensor, cond: object, ctx: object) -> Output:
        self.widest = max(self.widest, x_t.shape[1])
        before = torch.cat([torch.full_like(x_t[:, :1], MASK), x_t[:, :-1]], dim=1)
        table = torch.tensor([[STAY, 1 - STAY], [1 - STAY, STAY], [0.5, 0.5]]).log()
        return Output(torch.nn.functional.pad(table[before], (0, 1)))

    def config(self) -> dict[str, object]:
        return {}


def sampled(sampler: Sliding | Blockwise, length: int, rows: int, steps: int = 1) -> tuple[Tensor, Chain]:
    net, process, noise = Chain(), Absorbing(MASK), Keyed(range(rows))
    spec = LatentSpec("b n", (length,), kind="discrete", vocab=3)
    denoise = Denoiser(net, process, {}, noise=noise)
    *_, last = stream(denoise, sampler, spec, sampler.times(process, "logits", steps), noise)
    return last.x, net


def test_it_keeps_the_contract_of_a_sampler() -> None:
    check_sampler(Sliding())


def test_windows_continue_the_law() -> None:
    """Windows of two, one new token each: neighbours agree nine times in ten, those two apart in 0.81 + 0.01."""
    x, net = sampled(Sliding(Blockwise(MaskedAncestral("draw"), 1), 2, 1), 6, 4000)
    assert net.widest == 2 and not bool((x == MASK).any())
    for apart, share in ((1, STAY), (2, STAY**2 + (1 - STAY) ** 2)):
        same = (x[:, apart:] == x[:, :-apart]).double().mean(0)
        assert (same - share).abs().max() < 4 * (share * (1 - share) / 4000) ** 0.5
    assert (x[:, 0].double().mean() - 0.5).abs() < 0.04


def test_every_length_is_covered() -> None:
    for length in range(1, 12):
        x, net = sampled(Sliding(MaskedAncestral(), 4, 3), length, 2, steps=2)
        assert x.shape == (2, length) and not bool((x == MASK).any()) and net.widest == min(4, length)


def test_windows_draw_anew() -> None:
    """Windows of one token see nothing of each other: equal draws would repeat the first token."""
    x, _ = sampled(Sliding(MaskedAncestral("draw"), 1, 1), 40, 3)
    assert all(0 < row.double().mean() < 1 for row in x)


def test_strides_and_inner_samplers_that_cannot_be() -> None:
    for stride in (0, 5):
        with pytest.raises(InputError, match=r"1\.\.4"):
            Sliding(MaskedAncestral(), 4, stride)
    with pytest.raises(InputError, match="slide"):
        Sliding(Sliding(), 4, 2)
    with pytest.raises(InputError, match="sequence"):
        Sliding().init(torch.zeros(1, 2, 2, dtype=torch.int64), torch.tensor([1.0, 0.0]), Absorbing(MASK))
