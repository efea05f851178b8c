"""The networks of masked diffusion language models: what depends on what, where they start, what they leave alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gencore import components
from gencore.backbone import Trunk
from gencore.categorical import TokenPrediction, draw
from gencore.condition import Condition
from gencore.context import Context, Interceptor
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.nn.init import seeded
from gencore.noise import Keyed
from gencore.processes.absorbing import Absorbing
from gencore.run import stream
from gencore.samplers.blockwise import Blockwise
from gencore.spec import LatentSpec
from gencore_text.backbones.block import Dropout
from gencore_text.backbones.causal import CausalTransformer
from gencore_text.backbones.ddit import DDiT
from gencore_text.backbones.energy import CANDIDATE, EnergyNet

VOCAB, MASK = 11, 7  # the mask need not be the last id
MEANING = TokenPrediction(VOCAB, MASK)
SIZE: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "dropout": 0.0}


def scrambled(net: nn.Module, seed: int = 0) -> Any:
    """`net` with every parameter drawn anew: at their start, modulations and outputs are 0 and hide what they do."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.4 if p.ndim > 1 else 1.0))
    return net.eval()


def ddit(**size: Any) -> DDiT:
    return scrambled(DDiT(MEANING, cond_dim=8, **{**SIZE, **size}))


def causal(**size: Any) -> CausalTransformer:
    return scrambled(CausalTransformer(MEANING, **{**SIZE, **size}))


def energy(**size: Any) -> EnergyNet:
    return scrambled(EnergyNet(VOCAB, cond_dim=8, **{**SIZE, **size}))


def tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def logits(net: Trunk, x: Tensor, t: Tensor | None = None, **ctx: Any) -> Tensor:
    with torch.no_grad():
        return net(x, torch.zeros(len(x)) if t is None else t, {}, Context(**ctx)).pred


def test_it_starts_with_equal_odds_and_identity_blocks() -> None:
    with seeded(0):
        net = DDiT(MEANING, cond_dim=8, **SIZE).eval()
    x = tokens(2, 6)
    assert torch.equal(logits(net, x), torch.zeros(2, 6, VOCAB))
    h, mod = net.embed(x, torch.ones(2), {}, Context())
    assert torch.equal(net.blocks[1](h, mod, Context())["x"].x, net.tokens(x))


def test_token_vectors_start_uniform_within_one_over_the_root_of_the_width() -> None:
    with seeded(0):
        table = DDiT(TokenPrediction(4000, 0), width=64, depth=1, heads=2).tokens.weight
    assert 0.124 < table.abs().max() <= 0.125 and table.std().item() == pytest.approx(0.125 / 3**0.5, rel=0.01)


def test_time_enters_by_modulation_and_a_constant_time_makes_it_time_free() -> None:
    net, x = ddit(), tokens(2, 5)
    early, late = logits(net, x, torch.tensor([0.1, 0.1])), logits(net, x, torch.tensor([3.0, 3.0]))
    assert (early - late).abs().max() > 0.1
    shown = [Absorbing(MASK).model_time(torch.full((2,), t)) for t in (0.1, 0.9)]
    assert torch.equal(logits(net, x, shown[0]), logits(net, x, shown[1]))


def test_a_time_for_each_token_agrees_with_one_for_all_and_reaches_its_own_row_first() -> None:
    net, x = ddit(depth=1), tokens(2, 5)
    t = torch.tensor([0.3, 2.0])
    torch.testing.assert_close(logits(net, x, t[:, None].expand(2, 5)), logits(net, x, t), rtol=1e-4, atol=1e-4)
    one = torch.zeros(2, 5)
    one[:, 3] = 2.0
    mod = net.embed(x, one, {}, Context())[1]
    assert mod.c.shape == (2, 5, 8)
    assert torch.equal(mod.c[:, 0], mod.c[:, 4]) and not torch.equal(mod.c[0, 0], mod.c[0, 3])
    with pytest.raises(InputError, match=r"time: got shape \(2, 3\)"):
        logits(net, x, torch.zeros(2, 3))


def test_positions_count_only_by_their_distance() -> None:
    net, x = ddit(), tokens(1, 6)
    h, mod = net.embed(x, torch.zeros(1), {}, Context())
    assert h["x"].pos is not None
    there = h["x"].pos + 40
    moved = {"x": h["x"]._replace(pos=there)}
    for block in net.blocks:
        h, moved = block(h, mod, Context()), block(moved, mod, Context())
    torch.testing.assert_close(moved["x"].x, h["x"].x, rtol=1e-4, atol=1e-4)
    backwards = logits(net, x.flip(1)).flip(1)
    assert (backwards - logits(net, x)).abs().max() > 0.1


@settings(max_examples=12, deadline=None)
@given(j=st.integers(0, 7), seed=st.integers(0, 99), start=st.sampled_from(["mask", "none"]))
def test_row_i_of_a_causal_network_sees_the_tokens_before_i_and_no_other(j: int, seed: int, start: Any) -> None:
    net, x = causal(start=start), tokens(1, 8, seed=seed)
    other = x.clone()
    other[0, j] = (x[0, j] + 1) % VOCAB
    a, b = logits(net, x)[0], logits(net, other)[0]
    torch.testing.assert_close(a[: j + 1], b[: j + 1], rtol=0, atol=1e-6)
    assert all((a[i] - b[i]).abs().max() > 1e-4 for i in range(j + 1, 8))


def test_without_a_start_it_is_the_published_shift_of_inputs_and_targets() -> None:
    net, x = causal(start="none"), tokens(2, 6)
    assert torch.equal(logits(net, x)[:, 0], torch.zeros(2, VOCAB))
    last = torch.cat([x, x[:, :1]], dim=1)
    # Row i of a network that reads x[:-1] is what a longer text says of the same tokens.
    torch.testing.assert_close(logits(net, last)[:, 1:6], logits(net, x)[:, 1:], rtol=0, atol=1e-6)
    h, _ = net.embed(x, torch.zeros(2), {}, Context())
    assert torch.equal(h["x"].x, net.tokens(x[:, :-1]))


def test_with_a_start_the_first_token_is_predicted_from_the_masks_vector() -> None:
    net = causal()
    h, _ = net.embed(tokens(1, 4), torch.zeros(1), {}, Context())
    assert torch.equal(h["x"].x[0, 0], net.tokens.weight[MASK])
    first = logits(net, tokens(3, 5))[:, 0]
    assert torch.allclose(first[0], first[1]) and first[0].abs().max() > 0.1


def test_blocks_of_one_token_are_autoregressive_sampling() -> None:
    net, process, length = causal(), Absorbing(MASK), 6
    sampler, noise = Blockwise(size=1), Keyed([3, 4])
    spec = LatentSpec("b n", (length,), kind="discrete", vocab=VOCAB)
    denoise = Denoiser(net, process, {})
    *_, last = stream(denoise, sampler, spec, sampler.times(process, "logits", 1), noise)
    by_hand = torch.full((2, length), MASK)
    for i in range(length):
        eps = noise.draw("exponential", ("block", i, "step", 0), (1, VOCAB))
        odds = logits(net, by_hand)[:, i : i + 1].double().index_fill(-1, torch.tensor([MASK]), -torch.inf).softmax(-1)
        by_hand[:, i : i + 1] = draw(odds, eps)
    assert torch.equal(last.x, by_hand) and denoise.calls == length


def test_energies_never_mix_sequences_or_candidates() -> None:
    net, x_t, t = energy(), tokens(3, 5), torch.tensor([0.1, 1.0, 3.0])
    candidates = tokens(3, 4, 5, seed=1)
    with torch.no_grad():
        together = net.energy(candidates, x_t, t)
        alone = [
            [net(x_t[b, None], t[b, None], {CANDIDATE: Condition(candidates[b, j, None])}, Context()).pred.item()
             for j in range(4)]
            for b in range(3)
        ]  # fmt: skip
    torch.testing.assert_close(together, torch.tensor(alone), rtol=1e-4, atol=1e-4)
    assert len(together.flatten().unique()) == 12


def test_an_energy_depends_on_every_token_of_both_texts_and_on_time() -> None:
    net, x_t, x0 = energy(), tokens(1, 5), tokens(1, 1, 5, seed=1)
    with torch.no_grad():
        before = net.energy(x0, x_t, torch.zeros(1))
        for i in range(5):
            other = x_t.clone()
            other[0, i] = (other[0, i] + 1) % VOCAB
            assert (net.energy(x0, other, torch.zeros(1)) - before).abs() > 1e-4
            changed = x0.clone()
            changed[0, 0, i] = (changed[0, 0, i] + 1) % VOCAB
            assert (net.energy(changed, x_t, torch.zeros(1)) - before).abs() > 1e-4
        assert (net.energy(x0, x_t, torch.ones(1)) - before).abs() > 1e-4
        assert (net.energy(x_t[:, None], x0[:, 0], torch.zeros(1)) - before).abs() > 1e-4


def test_an_energy_starts_from_its_denoiser_and_learns_everywhere() -> None:
    denoiser = ddit(dropout=0.2)
    with seeded(0):
        net = EnergyNet.from_denoiser(denoiser)
    assert net.config() == {"vocab": VOCAB, "cond_dim": 8, "mlp_ratio": 4.0, **SIZE, "dropout": 0.2}
    assert torch.equal(net.tokens.weight, denoiser.tokens.weight)
    assert torch.equal(net.blocks[1].attn.qkv.weight, denoiser.blocks[1].attn.qkv.weight)  # type: ignore[union-attr]
    assert torch.equal(net.readout.linear.weight, torch.zeros(16, 16))
    scrambled(net)
    net.energy(tokens(2, 3, 5), tokens(2, 5, seed=1), torch.ones(2)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_an_energy_refuses_to_be_sampled_from_and_candidates_of_another_shape() -> None:
    with pytest.raises(InputError, match="an energy network; accepted: a denoiser"):
        energy().prediction.read(torch.zeros(1), tokens(1, 3), Absorbing(MASK), torch.ones(1))
    with pytest.raises(InputError, match=r"candidate: got shape \(1, 4\)"):
        energy()(tokens(1, 3), torch.zeros(1), {CANDIDATE: Condition(tokens(1, 4))}, Context())
    with pytest.raises(InputError, match="condition 'candidate': got nothing"):
        energy()(tokens(1, 3), torch.zeros(1), {}, Context())


class Heard(Interceptor):
    def __init__(self) -> None:
        self.sites: list[str] = []

    def around(self, ctx: Context, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        self.sites.append(ctx.path + kind)
        return fn(x, *rest)


@pytest.mark.parametrize("net", [ddit(), causal()], ids=["ddit", "causal"])
def test_every_sub_layer_is_a_site_and_listening_changes_nothing(net: Trunk) -> None:
    x, heard = tokens(2, 5), Heard()
    assert torch.equal(logits(net, x, interceptor=heard), logits(net, x))
    blocks = [f"blocks.{i}.{kind}" for i in range(2) for kind in ("attn", "mlp")]
    assert heard.sites == ["embed", *blocks, "head"]
    torch.testing.assert_close(logits(net, x, attention="math"), logits(net, x), rtol=0, atol=1e-5)
    assert (logits(net, x, skip=frozenset({0})) - logits(net, x)).abs().max() > 1e-3


@pytest.mark.parametrize("net", [ddit(mlp_ratio=3.0), causal(start="none"), energy(dropout=0.25)])
def test_configurations_build_an_equal_network(net: Trunk) -> None:
    again = components.build("backbone", components.describe("backbone", net))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}
    assert again.config() == net.config()
    again.load_state_dict(net.state_dict())
    if not isinstance(net, EnergyNet):
        assert torch.equal(logits(again.eval(), tokens(2, 5)), logits(net, tokens(2, 5)))


def test_reading_logits_leaves_the_networks_output_alone() -> None:
    # The published code writes minus infinity into the logits themselves.
    net, x = ddit(), tokens(2, 5)
    output = logits(net, x)
    kept = output.clone()
    net.prediction.read(output, x, Absorbing(MASK), torch.full((2,), 0.5))
    assert torch.equal(output, kept)


def test_any_vocabulary_any_mask_any_length() -> None:
    # The published code has one vocabulary and one context length written into it.
    for vocab, mask, length in ((2, 0, 1), (50, 49, 33)):
        net = scrambled(DDiT(TokenPrediction(vocab, mask), width=8, depth=1, heads=2, cond_dim=4))
        assert logits(net, torch.full((1, length), mask)).shape == (1, length, vocab)


def test_dropout_is_keyed_by_what_is_shown_and_leaves_the_global_state_alone() -> None:
    net, x, t = ddit(dropout=0.5).train(), tokens(2, 6), torch.zeros(2)
    state = torch.random.get_rng_state()
    first, other, again = (net(v, t, {}, Context()).pred for v in (x, tokens(2, 6, seed=5), x))
    assert torch.equal(first, again) and torch.equal(state, torch.random.get_rng_state())
    assert not torch.allclose(first, logits(net.eval(), x)) and not torch.allclose(first, other)


def test_dropout_keeps_the_mean_and_its_share() -> None:
    dropout = Dropout(0.25)
    dropout.key(tokens(1, 4))
    out = dropout(torch.ones(200, 200))
    torch.testing.assert_close(out.unique(), torch.tensor([0.0, 4 / 3]))
    assert out.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(dropout.eval()(torch.ones(3)), torch.ones(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DDiT(MEANING, width=18, heads=4), "width: got 18; accepted: a multiple of 8"),
        (lambda: DDiT(MEANING, width=16, heads=0), "width: got 16"),
        (lambda: CausalTransformer(MEANING, dropout=1.0), "dropout: got 1.0; accepted: a number from 0"),
        (lambda: EnergyNet(4, dropout=-0.1), "dropout: got -0.1"),
        (lambda: CausalTransformer(MEANING, start="bos"), "start: got 'bos'"),  # type: ignore[arg-type]
    ],
)
def test_sizes_that_cannot_be_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        make()
    assert message in str(refused.value)
