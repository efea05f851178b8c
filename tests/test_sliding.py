"""Sliding windows: one window is the inner sampler, several have the law of a chain."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gencore.backbone import Backbone, Block, Output, run_blocks
from gencore.categorical import TokenPrediction
from gencore.context import Context, Interceptor, StepInfo
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.interceptors.delta_dit import DeltaDiT
from gencore.interceptors.first_block import FirstBlock
from gencore.interceptors.memory import Entry
from gencore.interceptors.taylorseer import TaylorSeer
from gencore.nn.init import seeded
from gencore.noise import Keyed, Noise
from gencore.processes.absorbing import Absorbing
from gencore.run import stream
from gencore.samplers.blockwise import Blockwise
from gencore.samplers.masked import MaskedAncestral
from gencore.samplers.sliding import Sliding, _OfWindow
from gencore.spec import LatentSpec
from gencore.stream import Hidden, Mod, Stream
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


# ---- caches, whose memory ends with a window


class Mixes(Block):
    """A residual sub-layer that mixes the tokens of a window."""

    def __init__(self) -> None:
        super().__init__()
        self.across, self.along = nn.Linear(8, 8), nn.Linear(4, 4)

    def forward(self, h: Hidden, mod: Mod, ctx: Context) -> Hidden:
        x = h["x"].x
        return {"x": h["x"]._replace(x=x + ctx.site("mlp", self._mixed, x))}

    def _mixed(self, x: Tensor) -> Tensor:
        return torch.tanh(self.across(self.along(x.mT).mT))


class Mixer(Backbone):
    """A small network over windows of four tokens that notes which steps run its last block."""

    prediction, ports = TokenPrediction(3, MASK), {}

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.out = nn.Embedding(3, 8), nn.Linear(8, 3)
        self.blocks = nn.ModuleList(Mixes() for _ in range(3))

    def forward(self, x_t: Tensor, t: Tensor, cond: object, ctx: Context) -> Output:
        x = self.tokens(x_t) + t.reshape(-1, 1, 1).float()
        mod = Mod(torch.zeros(1), torch.zeros(1), torch.zeros(1))
        return Output(3 * self.out(run_blocks(self.blocks, {"x": Stream(x)}, mod, ctx)["x"].x))

    def config(self) -> dict[str, object]:
        return {}


INNER = MaskedAncestral("draw")
CACHES = {"taylorseer": lambda: TaylorSeer(3), "lite": lambda: TaylorSeer(3, 0, lite=True),
          "listed": lambda: TaylorSeer(steps=(0, 2)), "delta-dit": lambda: DeltaDiT(3, 0.5, 2),
          "first-block": lambda: FirstBlock(10)}  # fmt: skip


def walked(sampler: Sliding | Blockwise | MaskedAncestral, length: int, noise: Noise, cache: Interceptor
           ) -> tuple[Tensor, list[Entry], list[StepInfo]]:  # fmt: skip
    with seeded(0):
        net = Mixer().double()
    seen: list[StepInfo] = []

    class Spy(Interceptor):
        def span(self, ctx: Context, run, h: Hidden, start: int, stop: int) -> Hidden:  # type: ignore[no-untyped-def]
            seen.append(ctx.info)
            return run(h, start, stop)

    process, spec = Absorbing(MASK, network_time="t"), LatentSpec("b n", (length,), kind="discrete", vocab=3)
    denoise = Denoiser(net, process, {}, interceptors=[Spy(), cache])
    *_, last = stream(denoise, sampler, spec, sampler.times(process, "logits", 6), noise)
    return last.x, [value for value in denoise.store.values() if isinstance(value, Entry)], seen


@pytest.mark.parametrize("make", CACHES.values(), ids=CACHES)
def test_a_cache_knows_nothing_of_the_window_before(make) -> None:  # type: ignore[no-untyped-def]
    """Windows that do not overlap: the second one is what a sequence of its own would be, with the draws of it."""
    rows = Keyed(range(64))
    both, entries, seen = walked(Sliding(INNER, 4, 4), 8, rows, make())
    alone = [walked(INNER, 4, noise, make()) for noise in (rows, _OfWindow(rows, 1))]
    assert torch.equal(both, torch.cat([x for x, _, _ in alone], dim=1))
    assert not torch.equal(alone[1][0], walked(INNER, 4, _OfWindow(rows, 1), Interceptor())[0])
    own = alone[0][1]
    assert [entry.steps for entry in entries] == [[*a.steps, *(6 + i for i in a.steps)] for a in own]
    assert [entry.answered for entry in entries] == [2 * a.answered for a in own]
    assert [(info.trajectory, info.i, info.n) for info in seen] == [(k, i, 6) for k in (0, 1) for i in range(6)]
    assert [info.index for info in seen] == list(range(12))


def test_a_cache_knows_nothing_of_the_block_before() -> None:
    _, entries, _ = walked(Blockwise(INNER, 2), 4, Keyed([0]), TaylorSeer(3))
    assert [entry.steps for entry in entries] == [[0, 1, 4, 6, 7, 10]] * 3
