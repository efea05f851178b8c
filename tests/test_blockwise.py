"""Sampling block after block, and autoregression as its case of one token a block."""

from __future__ import annotations

import torch

from gencore.categorical import draw
from gencore.denoiser import Denoiser
from gencore.noise import Keyed
from gencore.processes.absorbing import Absorbing
from gencore.run import stream
from gencore.samplers.blockwise import Blockwise
from gencore.testing.joint import Joint, JointBackbone
from gencore.testing.laws import WORDS, Bulk, solve, surprise, walk

V, L, MASK = WORDS.mask_id, WORDS.length, WORDS.mask_id


def test_blocks_of_one_token_under_a_causal_network_are_autoregressive_sampling() -> None:
    net, process, sampler = JointBackbone(WORDS, causal=True), Absorbing(MASK), Blockwise(size=1)
    denoise = Denoiser(net, process, {})
    times, noise = sampler.times(process, "logits", 1), Keyed(range(400))
    *_, last = stream(denoise, sampler, WORDS.spec, times, noise)
    assert denoise.calls == L
    x = torch.full((400, L), MASK)
    for i in range(L):
        p = net(x, torch.zeros(400), {}, None).pred[:, i, :V].softmax(-1)  # type: ignore[arg-type]
        eps = noise.draw("exponential", ("block", i, "step", 0), (1, V + 1))[:, 0, :V]
        x[:, i] = draw(p, eps)
    assert torch.equal(last.x, x)
    assert surprise(WORDS.counts(x), WORDS.table) < 4


def test_one_step_autoregression_is_exact_where_one_step_of_everything_is_not() -> None:
    x = solve(Blockwise(size=1), Bulk(4000), steps=1)
    assert abs(surprise(WORDS.counts(x), WORDS.table)) < 4


def test_blocks_open_from_left_to_right() -> None:
    data = Joint(torch.full((2,) * 5, 2.0**-5, dtype=torch.float64))
    steps = list(walk(Blockwise(size=2), Keyed(range(4)), data=data, steps=3))
    assert len(steps) == 9
    for step in steps:
        done = (step.index - 1) // 3
        assert bool((step.x[:, : 2 * done] != 2).all()) and bool((step.x[:, 2 * done + 2 :] == 2).all())
    one = Blockwise(size=99)
    alike = solve(one, Keyed([0, 1]), data=data, steps=4)
    assert alike.shape == (2, 5) and bool((alike < 2).all())
