"""The exact bound as a figure: tight for an exact network, the same for every schedule and batch, true to its error."""

from __future__ import annotations

import math

import pytest
import torch

from gencore.backbone import Output
from gencore.condition import Condition
from gencore.errors import InputError
from gencore.metrics.elbo import MaskedBound, token_bits
from gencore.noise import Keyed
from gencore.processes.absorbing import Absorbing
from gencore.processes.mask_schedules import SCHEDULES
from gencore.testing.joint import JointBackbone
from gencore.testing.laws import WORDS

NET, PROCESS = JointBackbone(WORDS), Absorbing(3)
ENTROPY = -(WORDS.table * WORDS.table.log2()).sum().item() / WORDS.length


def words(count: int, seed: int = 0) -> torch.Tensor:
    index = torch.multinomial(WORDS.table.flatten(), count, True, generator=torch.Generator().manual_seed(seed))
    return torch.stack(torch.unravel_index(index, WORDS.table.shape), 1)


def test_the_bound_of_an_exact_network_is_the_likelihood_of_each_sequence() -> None:
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)
    x0 = every.repeat(200, 1)
    nll = MaskedBound(NET, PROCESS, draws=6).nll(x0, torch.ones_like(x0).bool(), {}, Keyed(range(len(x0))))
    parts = nll.reshape(200, 27)
    off = (parts.mean(0) + WORDS.log_prob(every)) / (parts.std(0) / 200**0.5).clamp(min=1e-9)
    assert bool((off.abs() < 4.5).all())


def test_the_figure_is_the_entropy_within_its_own_error() -> None:
    found = MaskedBound(NET, PROCESS, draws=6)(words(1500))
    assert abs(found.bits - ENTROPY) < 4 * found.stderr and 0 < found.stderr < 0.03
    assert (found.tokens, found.sequences, found.draws) == (4500, 1500, 6)
    assert found.perplexity == 2**found.bits


def test_the_error_told_is_the_error_made() -> None:
    runs = [MaskedBound(NET, PROCESS, draws=2, batch=100, seed=1000 * i)(words(100, i)) for i in range(40)]
    spread = torch.tensor([r.bits for r in runs]).std().item()
    told = sum(r.stderr for r in runs) / len(runs)
    assert 0.7 < told / spread < 1.4


def test_it_does_not_depend_on_the_schedule_nor_on_the_batch() -> None:
    x0 = words(30)
    one = MaskedBound(NET, PROCESS, draws=3)(x0)
    for name in SCHEDULES:
        assert MaskedBound(NET, Absorbing(3, name), draws=3)(x0) == one
    seen: list[tuple[int, int]] = []
    other = MaskedBound(NET, PROCESS, draws=3, batch=7)(x0, progress=lambda done, n: seen.append((done, n)))
    assert other.bits == pytest.approx(one.bits, abs=1e-12) and seen[-1] == (30, 30) and len(seen) == 5
    assert MaskedBound(NET, PROCESS, draws=3, seed=99)(x0) != one


class Watched(JointBackbone):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__(WORDS)
        self.shown: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, x_t, t, cond, ctx) -> Output:
        self.shown.append((x_t, t))
        self.cond = cond
        return super().forward(x_t, t, cond, ctx)


def test_masked_counts_are_spread_over_all_numbers_and_times_go_with_them() -> None:
    net = Watched()
    MaskedBound(net, Absorbing(3, network_time="t"), draws=6)(words(20))
    counts = torch.stack([(x == 3).sum(1) for x, _ in net.shown])
    assert all(sorted(column.tolist()) == [1, 1, 2, 2, 3, 3] for column in counts.T)
    times = torch.stack([t for _, t in net.shown])
    assert torch.allclose(times, (counts / 3 / (1 - 1e-3)).double().clamp(max=1))


def test_padding_is_shown_as_it_is_and_not_counted() -> None:
    net, x0 = Watched(), words(10)
    valid = torch.tensor([True, False, True]).expand(10, 3)
    found = MaskedBound(net, PROCESS, draws=4)(x0, valid)
    assert found.tokens == 20
    assert all(torch.equal(x[:, 1], x0[:, 1]) for x, _ in net.shown)
    given = WORDS.table / WORDS.table.sum((0, 2), keepdim=True)
    index = x0[:, 0], x0[:, 1], x0[:, 2]
    many = MaskedBound(net, PROCESS, draws=150)(x0, valid)
    assert many.bits == pytest.approx(-given[index].log2().mean().item() / 2, abs=0.04)


def test_conditions_go_with_their_sequences() -> None:
    net = Watched()
    MaskedBound(net, PROCESS, draws=1, batch=4)(words(6), conditions={"label": Condition(torch.arange(6))})
    assert net.cond["label"].value.tolist() == [4, 5]


def test_figures_of_sequences_and_refusals() -> None:
    found = token_bits(torch.tensor([1.0, 3.0]) * math.log(2), torch.tensor([2, 2]))
    assert found.bits == pytest.approx(1.0) and found.stderr == pytest.approx(0.5)
    assert math.isnan(token_bits(torch.tensor([1.0]), torch.tensor([2])).stderr)
    bound = MaskedBound(NET, PROCESS)
    with pytest.raises(InputError, match="data: got the mask token 3"):
        bound(torch.tensor([[0, 3, 1]]))
    with pytest.raises(InputError, match="data: got a sequence without valid tokens"):
        bound(words(2), torch.zeros(2, 3).bool())
    with pytest.raises(InputError, match="draws: got 0"):
        MaskedBound(NET, PROCESS, draws=0)
    with pytest.raises(InputError, match="batch: got 0"):
        MaskedBound(NET, PROCESS, batch=0)
