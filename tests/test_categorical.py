"""Predictions over tokens: what logits mean, what is never read, and draws whose tail is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gencore.categorical import NEVER, TokenPrediction, draw
from gencore.context import StepInfo
from gencore.errors import InputError
from gencore.guidance import ClassifierFree
from gencore.processes.absorbing import Absorbing
from gencore.testing.laws import surprise
from gencore.weights.files import read_tensors

sys.path.append(str(Path(__file__).with_name("toy")))
from masked_reference import Published

V, MASK = 5, 4
PROCESS = Absorbing(MASK)
X = torch.tensor([[4, 1, 4], [0, 4, 4]])
T = torch.tensor([0.3, 0.9])


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def read(z: torch.Tensor, kind="subs", **how):
    return TokenPrediction(V, MASK, kind, **how).read(z, X, PROCESS, T)


def test_recorded_log_probabilities_and_scores(golden_dir: Path) -> None:
    case = golden_dir / "edlm" / "mdlm-tiny"
    io, weights = read_tensors(case / "io.safetensors")[0], read_tensors(case / "weights.safetensors")[0]
    net, process = Published(weights, 2, TokenPrediction(28, 27)), Absorbing(27)
    zero = torch.zeros(3)
    raw = net(io["subs/xt"], zero, {}, None).pred
    torch.testing.assert_close(raw, io["net/logits_sigma0"], atol=3e-5, rtol=1e-4)
    d = net.prediction.read(raw, io["subs/xt"], process, io["subs/t"])
    torch.testing.assert_close(d.log_probs, io["subs/log_p"], atol=3e-5, rtol=1e-4)
    x, t = io["step/x"], io["step/t"][:, 0]
    d = net.prediction.read(net(x, zero, {}, None).pred, x, process, t)
    torch.testing.assert_close(d.score.float(), io["step/score"], atol=3e-5, rtol=1e-4)
    torch.testing.assert_close(d.probs.float(), io["step/cache/p_x0"], atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["subs", "d3pm", "sedd"])
def test_logits_are_left_as_they_are(kind: str) -> None:
    z = logits(2, 3, V)
    kept = z.clone()
    read(z, kind)
    assert torch.equal(z, kept)


@pytest.mark.parametrize("kind", ["subs", "d3pm", "sedd"])
def test_padding_beyond_the_vocabulary_is_never_read(kind: str) -> None:
    z = logits(2, 3, V)
    wide = torch.cat([z, torch.full((2, 3, 3), 1e4)], -1)
    assert torch.equal(read(wide, kind).log_probs, read(z, kind).log_probs)
    assert read(wide, kind).log_probs.shape[-1] == V


def test_subs_never_predicts_the_mask_and_carries_open_tokens_over() -> None:
    z = logits(2, 3, V)
    z[..., MASK] = 50.0
    d = read(z)
    assert torch.allclose(d.probs.sum(-1), torch.ones(2, 3).double(), atol=1e-6)
    assert not bool(d.probs[..., MASK].any())
    for i, j in ((0, 1), (1, 0)):
        assert d.probs[i, j].tolist() == [float(v == X[i, j]) for v in range(V)]
    hidden = z[0, 0, :MASK].softmax(-1)
    assert torch.allclose(d.probs[0, 0, :MASK].float(), hidden, atol=1e-6)


def test_d3pm_keeps_the_mask_unless_told_otherwise() -> None:
    z = logits(2, 3, V)
    assert torch.allclose(read(z, "d3pm").log_probs, z.log_softmax(-1))
    assert not bool(read(z, "d3pm", subs_masking=True).probs[..., MASK].any())


def test_sedd_scores_and_their_denoiser() -> None:
    z = logits(2, 3, V)
    d, sigma = read(z, "sedd"), PROCESS.sigma(T).reshape(2, 1, 1)
    told = (z - torch.expm1(sigma).log() - torch.log(torch.tensor(V - 1.0))).exp()
    assert torch.allclose(d.score[0, 0, :MASK], told[0, 0, :MASK].double(), rtol=1e-5)
    assert d.score[0, 0, MASK] == 1 and d.score[0, 1].tolist() == pytest.approx([0, 1, 0, 0, sigma[0].expm1().item()])
    assert torch.allclose(d.probs[0, 0, :MASK], (told[0, 0, :MASK] / told[0, 0, :MASK].sum()).double(), atol=1e-6)


@given(t=st.floats(1e-4, 1.0))
def test_the_score_is_the_ratio_of_noised_laws(t: float) -> None:
    """One token: q_t(v) / q_t(mask) = (1 - m) p(v) / m."""
    p = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    z = torch.cat([p.log(), torch.zeros(1).double()])[None, None]
    d = TokenPrediction(V, MASK).read(z, torch.tensor([[MASK]]), PROCESS, torch.tensor([t]))
    m = PROCESS.move_chance(torch.tensor(t)).item()
    assert d.score[0, 0].tolist() == pytest.approx([*((1 - m) / m * p).tolist(), 1.0], rel=1e-6)


def test_the_preview_is_the_likeliest_token_and_never_the_mask() -> None:
    z = torch.zeros(2, 3, V)
    z[..., MASK], z[..., 2] = 9.0, 1.0
    for kind in ("subs", "d3pm", "sedd"):
        assert read(z, kind).x0.tolist() == [[2, 1, 2], [0, 2, 2]]


def test_log_probabilities_of_candidates_belong_to_their_own_sample() -> None:
    d = read(logits(2, 3, V))
    candidates = torch.randint(0, MASK, (2, 7, 3), generator=torch.Generator().manual_seed(1))
    found = d.log_prob(candidates)
    for b in range(2):
        for k in range(7):
            for i in range(3):
                assert found[b, k, i] == d.log_probs[b, i, candidates[b, k, i]]
    assert torch.equal(d.log_prob(candidates[:, 0]), found[:, 0])


def test_certainty_entropy_and_cells() -> None:
    d = read(logits(2, 3, V), "sedd")
    tokens = torch.tensor([[0, 1, 2], [0, 3, 3]])
    sure = d.certain(tokens)
    assert torch.equal(sure.x0, tokens) and not bool(sure.entropy.any()) and sure.native_log_score is None
    assert sure.log_probs.min() == NEVER and torch.equal(d.entropy[0, 1], torch.zeros(()).double())
    p = d.probs[0, 0, :MASK]
    assert d.entropy[0, 0] == pytest.approx(-(p * p.log()).sum().item(), rel=1e-6)
    part = d.cells(slice(1, 3))
    assert torch.equal(part.x_t, X[:, 1:]) and torch.equal(part.score, d.score[:, 1:])
    grid = TokenPrediction(V, MASK).read(logits(2, 2, 3, V), X[:, None].expand(2, 2, 3), PROCESS, T)
    assert torch.equal(grid.cells(slice(2, 4)).log_probs, grid.log_probs.flatten(1, 2)[:, 2:4])


def test_guided_logits_are_guided_log_probabilities() -> None:
    """log p = log p_u + s (log p_c - log p_u), renormalised; a row's constant in the logits has no effect."""
    cond, uncond = logits(2, 3, V), logits(2, 3, V, seed=1) + 7.0
    mixed = ClassifierFree(2.5).combine({"cond": cond, "uncond": uncond}, T, StepInfo())
    told = uncond.log_softmax(-1) + 2.5 * (cond.log_softmax(-1) - uncond.log_softmax(-1))
    assert torch.allclose(read(mixed).log_probs, read(told).log_probs, atol=1e-4)


def test_draws_have_the_law_of_their_weights() -> None:
    from gencore.noise import Keyed

    weights = torch.tensor([0.5, 2.0, 0.0, 1.0, 0.25]).double()
    drawn = draw(weights.expand(50_000, V), Keyed([0]).draw("exponential", ("x",), (50_000, V))[0])
    assert abs(surprise(torch.bincount(drawn, minlength=V), weights / weights.sum())) < 4


def test_the_tail_of_a_draw_is_kept() -> None:
    """A token of probability 1e-9 is drawn when its exponential is small enough; float32 uniforms and the offset of
    1e-10 that they need cut that off."""
    u = torch.tensor([0.98, 1 - 1e-12], dtype=torch.float64)
    weights = torch.tensor([1 - 1e-9, 1e-9], dtype=torch.float64)
    assert draw(weights, -u.log()) == 1
    single = 1e-10 - (u.float() + 1e-10).log()
    assert single.dtype == torch.float32 and draw(weights.float(), single) == 0


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"parameterization: got 'sub'.*did you mean 'subs'"):
        TokenPrediction(V, MASK, "sub")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"mask_id: got 5; accepted: 0\.\.4"):
        TokenPrediction(V, 5)
    with pytest.raises(InputError, match="subs_masking: got with subs"):
        TokenPrediction(V, MASK, subs_masking=True)
    with pytest.raises(InputError, match="network output: got shape"):
        read(logits(2, 3, V - 1))
    with pytest.raises(InputError, match="mask_id: got 2 of the process; accepted: 4"):
        TokenPrediction(V, MASK).read(logits(2, 3, V), X, Absorbing(2), T)
    assert TokenPrediction(**TokenPrediction(V, MASK, "d3pm", True).config()) == TokenPrediction(V, MASK, "d3pm", True)
