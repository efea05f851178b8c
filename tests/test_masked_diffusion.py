"""Objectives over tokens: recorded losses, exact entropies, and the limits where the published code gives NaN."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gencore.backbone import Backbone, Output
from gencore.categorical import TokenPrediction
from gencore.errors import InputError
from gencore.noise import Keyed, Recorded
from gencore.objective import Batch
from gencore.objectives.autoregressive import Autoregressive, token_nll
from gencore.objectives.masked_diffusion import MaskedDiffusion, token_mean
from gencore.objectives.masked_times import log_uniform_chance
from gencore.objectives.score_entropy import score_entropy
from gencore.processes.absorbing import Absorbing
from gencore.testing.joint import JointBackbone
from gencore.testing.laws import WORDS, Bulk
from gencore.weights.files import read_tensors

sys.path.append(str(Path(__file__).with_name("toy")))
from masked_reference import Published

VARIANTS = {
    "subs": ({}, {"antithetic": True}, ("subs", False)),
    "obj/subs_noanti": ({}, {}, ("subs", False)),
    "obj/subs_linear": ({"schedule": "linear"}, {"antithetic": True}, ("subs", False)),
    "obj/subs_changevar": ({}, {"antithetic": True, "times": "change_of_variables"}, ("subs", False)),
    "obj/subs_importance": ({}, {"antithetic": True, "times": "importance"}, ("subs", False)),
    "obj/subs_T100": ({}, {"antithetic": True, "steps": 100}, ("subs", False)),
    "obj/d3pm_T100": ({}, {"antithetic": True, "steps": 100}, ("d3pm", False)),
    "obj/d3pm_subsmask_T100": ({}, {"antithetic": True, "steps": 100}, ("d3pm", True)),
    "obj/sedd": ({"network_time": "sigma"}, {"antithetic": True}, ("sedd", False)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_recorded_losses(golden_dir: Path, name: str) -> None:
    case = golden_dir / "edlm" / "mdlm-tiny"
    io, weights = read_tensors(case / "io.safetensors")[0], read_tensors(case / "weights.safetensors")[0]
    process_options, options, (kind, subs_masking) = VARIANTS[name]
    process = Absorbing(27, **process_options)
    net = Published(weights, 2, TokenPrediction(28, 27, kind, subs_masking))
    objective, valid = MaskedDiffusion(process, **options), io["attention_mask"].bool()
    t, _, _ = objective.draw_times(Recorded([io["u_t"]]))
    chance = process.move_chance(t).float()
    torch.testing.assert_close(chance, io[f"{name}/move_chance"].flatten(), atol=3e-5, rtol=1e-4)
    nll = objective.token_losses(net, io["x0"], {}, Recorded([io["u_t"], io["u_mask"]]))
    torch.testing.assert_close((nll * valid).float(), io[f"{name}/nlls"], atol=3e-5, rtol=1e-4)
    loss = objective.loss("main", {"model": net}, Batch(io["x0"], {}, valid), Recorded([io["u_t"], io["u_mask"]]))
    torch.testing.assert_close(loss.total.float(), io[f"{name}/loss"], atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["loglinear", "linear"])
def test_recorded_importance_times(golden_dir: Path, name: str) -> None:
    io, _ = read_tensors(golden_dir / "edlm" / "mdlm-tiny" / "io.safetensors")
    process = Absorbing(27, name)
    chance, _ = log_uniform_chance(process, io["noise/t"])
    torch.testing.assert_close(process.time_at(chance).float(), io[f"noise/{name}/is_t"], atol=3e-5, rtol=1e-4)


# ---- the bound is exact for an exact network


ENTROPY = -(WORDS.table * WORDS.table.log()).sum().item() / WORDS.length
EXACT = JointBackbone(WORDS)


def words(count: int) -> torch.Tensor:
    """Sequences (count, L) of the joint."""
    index = torch.multinomial(WORDS.table.flatten(), count, True, generator=torch.Generator().manual_seed(0))
    return torch.stack(torch.unravel_index(index, WORDS.table.shape), 1)


@pytest.mark.parametrize(("process", "options"), [
    (Absorbing(3), {}), (Absorbing(3), {"antithetic": True}), (Absorbing(3, "cosine"), {}),
    (Absorbing(3, "cosine-squared"), {}), (Absorbing(3, "linear"), {"times": "importance"}),
    (Absorbing(3), {"times": "change_of_variables"}), (Absorbing(3), {"steps": 1000}),
])  # fmt: skip
def test_the_bound_of_an_exact_network_is_the_entropy(process: Absorbing, options: dict) -> None:
    count = 60_000
    nll = MaskedDiffusion(process, sampling_eps=1e-5, **options).token_losses(EXACT, words(count), {}, Bulk(count))
    each = nll.double().mean(1)
    # Steps of 1/1000, and the ends that importance times leave out, change the bound by at most 1 %.
    slack = 0.01 * ENTROPY if options.get("steps") or options.get("times") else 0.0
    assert abs(each.mean().item() - ENTROPY) < 4.5 * each.std().item() / count**0.5 + slack


def test_a_wrong_network_is_above_the_entropy() -> None:
    class Uniform(JointBackbone):
        def forward(self, x_t, t, cond, ctx) -> Output:
            return Output(torch.zeros(*x_t.shape, 4, dtype=torch.float64))

    nll = MaskedDiffusion(Absorbing(3)).token_losses(Uniform(WORDS), words(20_000), {}, Bulk(20_000))
    assert nll.mean().item() == pytest.approx(math.log(3), rel=0.03) and math.log(3) > 1.04 * ENTROPY


def test_next_token_likelihood_is_exact_for_a_causal_network() -> None:
    net, process, x0 = JointBackbone(WORDS, causal=True), Absorbing(3), words(50)
    nll = token_nll(net, process, x0)
    assert torch.allclose(-nll.sum(1), WORDS.log_prob(x0), atol=1e-9)
    valid = torch.ones(50, 3, dtype=torch.bool)
    valid[:, 2] = False
    loss = Autoregressive(process).loss("main", {"model": net}, Batch(x0, {}, valid), Keyed(range(50)))
    assert loss.total.item() == pytest.approx(nll[:, :2].mean().item())


def test_the_mask_is_no_next_token() -> None:
    """Whatever the network gives the mask's column, the other tokens' probabilities sum to 1."""
    net = JointBackbone(WORDS, causal=True)
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)
    assert (-token_nll(net, Absorbing(3), every)).sum(1).exp().sum().item() == pytest.approx(1.0)


# ---- where the published code gives NaN


class Learned(Backbone):
    """Logits that are weights."""

    def __init__(self, prediction: TokenPrediction) -> None:
        super().__init__()
        self.prediction, self.ports = prediction, {}
        self.table = nn.Parameter(torch.randn(3, prediction.vocab, generator=torch.Generator().manual_seed(0)))
        self.seen: list[torch.Tensor] = []

    def forward(self, x_t, t, cond, ctx) -> Output:
        self.seen.append(t)
        return Output(self.table.expand(len(x_t), -1, -1))

    def config(self):
        return {}


X0 = torch.tensor([[0, 1, 2], [2, 1, 0]])


@pytest.mark.parametrize("kind", ["subs", "d3pm"])
def test_the_lowest_level_is_finite_and_the_limit(kind: str) -> None:
    """At t = 1/T everything left is decided: T (log((1 - t) P / t + 1) - log p(x_0)), with no 0 / 0."""
    net, steps, noise = (
        Learned(TokenPrediction(4, 3, kind)),
        10,
        Recorded([torch.tensor([1e-6, 1e-6]), torch.zeros(2, 3)]),
    )
    nll = MaskedDiffusion(Absorbing(3), steps=steps, sampling_eps=0).token_losses(net, X0, {}, noise)
    assert bool(torch.isfinite(nll).all())
    log_p = net.table.log_softmax(-1) if kind == "d3pm" else net.table[:, :3].log_softmax(-1)
    for b in range(2):
        for i in range(3):
            own = log_p[i, X0[b, i]]
            mass = log_p[i, 3].exp() if kind == "d3pm" else torch.tensor(0.0)
            told = steps * (torch.log1p(0.9 * mass / 0.1) - own) - (own if kind == "d3pm" else 0)
            assert nll[b, i].item() == pytest.approx(told.item(), rel=1e-5)
    nll.mean().backward()
    assert net.table.grad is not None and bool(torch.isfinite(net.table.grad).all())


def test_the_last_level_is_finite() -> None:
    net, noise = Learned(TokenPrediction(4, 3, "d3pm")), Recorded([torch.ones(2) - 1e-7, torch.zeros(2, 3)])
    objective = MaskedDiffusion(Absorbing(3), steps=10)
    assert objective.draw_times(Recorded([torch.ones(2)]))[0].tolist() == [1.0, 1.0]
    assert bool(torch.isfinite(objective.token_losses(net, X0, {}, noise)).all())


def test_score_entropy_without_a_network_time_is_finite() -> None:
    net = Learned(TokenPrediction(4, 3, "sedd"))
    noise = Recorded([torch.tensor([0.2, 0.9]), torch.tensor([[0.0, 0.5, 0.0], [0.0, 1.0, 0.95]])])
    nll = MaskedDiffusion(Absorbing(3)).token_losses(net, X0, {}, noise)
    assert bool(torch.isfinite(nll).all()) and bool((nll >= 0).all()) and not bool(torch.stack(net.seen).any())
    assert (nll == 0).tolist() == [[False, True, False], [False, True, True]]


def test_score_entropy_is_least_at_the_true_ratio() -> None:
    """With every score off the token itself at 0, it is 0 at s(x_0) = 1 / (e^sigma - 1), and more beside it."""
    process, t = Absorbing(3), torch.tensor([0.4])
    ratio = 1 / torch.expm1(process.sigma(t)).item()
    found = []
    for factor in (0.5, 1.0, 2.0):
        z = torch.full((1, 1, 4), -60.0, dtype=torch.float64)
        z[..., 1] = math.log(factor * ratio) + math.log(3 / ratio)
        d = TokenPrediction(4, 3, "sedd").read(z, torch.tensor([[3]]), process, t)
        found.append(score_entropy(d, torch.tensor([[1]]), process).item())
    assert abs(found[1]) < 1e-9 and found[0] > 0.01 and found[2] > 0.01


# ---- draws


def test_a_samples_draws_depend_on_its_seed_alone_unless_antithetic() -> None:
    plain, spread = (MaskedDiffusion(Absorbing(3), antithetic=a) for a in (False, True))
    alone, batch = Keyed([8]), Keyed([7, 8, 9])
    assert torch.equal(plain.draw_times(alone)[0][0], plain.draw_times(batch)[0][1])
    assert not torch.equal(spread.draw_times(alone)[0][0], spread.draw_times(batch)[0][1])
    one = plain.token_losses(EXACT, words(3)[1:2], {}, alone)
    assert torch.equal(one[0], plain.token_losses(EXACT, words(3), {}, batch)[1])


@pytest.mark.parametrize("rank", [0, 1])
def test_antithetic_times_fill_the_strata_of_every_rank(rank: int) -> None:
    noise = Keyed(range(16 * rank, 16 * rank + 16))
    t = MaskedDiffusion(Absorbing(3), antithetic=True, sampling_eps=0.0).draw_times(noise)[0]
    assert sorted((t * 16).long().tolist()) == list(range(16))


def test_levels_are_those_of_the_grid() -> None:
    t = MaskedDiffusion(Absorbing(3), steps=4, sampling_eps=0).draw_times(Bulk(4000))[0]
    share = torch.bincount((t * 4).long(), minlength=5) / 4000
    assert share[0] == 0 and bool(((share[1:] - 0.25).abs() < 0.03).all())


def test_what_a_network_with_a_time_sees() -> None:
    """The total noise of the time in use, mapped times included; under a change of variables the drawn time itself."""
    u, process = torch.tensor([0.3, 0.8]), Absorbing(3, network_time="sigma")
    t = (1 - 1e-3) * u.double() + 1e-3
    chance, _ = log_uniform_chance(process, t)
    told = {
        "uniform": process.sigma(t), "importance": process.sigma(process.time_at(chance)), "change_of_variables": t,
    }  # fmt: skip
    for times, seen in told.items():
        net = Learned(TokenPrediction(4, 3))
        MaskedDiffusion(process, times=times).token_losses(net, X0, {}, Recorded([u, torch.zeros(2, 3)]))
        assert torch.allclose(net.seen[0], seen), times
    net = Learned(TokenPrediction(4, 3, "d3pm"))
    MaskedDiffusion(process, steps=10).token_losses(net, X0, {}, Recorded([u, torch.zeros(2, 3)]))
    levels = torch.tensor([0.4, 0.9], dtype=torch.float64)
    assert torch.allclose(net.seen[0], process.sigma(levels)) and not bool(net.seen[1].any())


# ---- what counts


def test_padding_does_not_count() -> None:
    net, objective = Learned(TokenPrediction(4, 3)), MaskedDiffusion(Absorbing(3))
    valid = torch.tensor([[True, True, False], [True, False, False]])
    kept = [objective.loss("main", {"model": net}, Batch(x, {}, valid), Keyed([1, 2])).total
            for x in (X0, torch.where(valid, X0, (X0 + 1) % 3))]  # fmt: skip
    assert torch.equal(kept[0], kept[1])
    nll = objective.token_losses(net, X0, {}, Keyed([1, 2]))
    assert kept[0].item() == pytest.approx(nll[valid].mean().item())
    holes = nll.masked_fill(~valid, torch.nan)
    assert torch.isfinite(token_mean(holes, valid)) and token_mean(nll, torch.zeros(1, 3).bool()) == 0


def test_clean_tokens_are_left_as_they_are() -> None:
    x0 = X0.clone()
    MaskedDiffusion(Absorbing(3)).token_losses(Learned(TokenPrediction(4, 3)), x0, {}, Keyed([1, 2]))
    assert torch.equal(x0, X0)


def test_config_and_refusals() -> None:
    process = Absorbing(3)
    objective = MaskedDiffusion(process, times="importance", antithetic=True)
    again = MaskedDiffusion(process, **json.loads(json.dumps(objective.config())))
    assert again.config() == objective.config()
    with pytest.raises(InputError, match=r"times: got 'importence'.*did you mean 'importance'"):
        MaskedDiffusion(process, times="importence")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="times: got importance sampling on a Cosine schedule; accepted: loglinear"):
        MaskedDiffusion(Absorbing(3, "cosine"), times="importance")
    with pytest.raises(InputError, match="steps: got 5 with importance times"):
        MaskedDiffusion(process, times="importance", steps=5)
    with pytest.raises(InputError, match="steps: got 0"):
        MaskedDiffusion(process, steps=0)
    with pytest.raises(InputError, match=r"sampling_eps: got 1\.0"):
        MaskedDiffusion(process, sampling_eps=1.0)
    with pytest.raises(InputError, match="parameterization: got d3pm with steps=None"):
        MaskedDiffusion(process).token_losses(Learned(TokenPrediction(4, 3, "d3pm")), X0, {}, Keyed([1, 2]))
    d = TokenPrediction(4, 3).read(torch.zeros(2, 3, 4), X0, process, torch.ones(2))
    with pytest.raises(InputError, match="parameterization: got no scores; accepted: sedd"):
        score_entropy(d, X0, process)
