"""Samplers of masked diffusion against recorded runs, enumerated laws, and the loops they replace."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gencore import components
from gencore.backbone import Backbone, Output
from gencore.categorical import Categorical, TokenPrediction
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.known import Known
from gencore.noise import Keyed, Recorded
from gencore.processes.absorbing import Absorbing
from gencore.processes.mask_schedules import SCHEDULES
from gencore.run import stream
from gencore.samplers.blockwise import Blockwise
from gencore.samplers.confidence import Confidence
from gencore.samplers.ddim import DDIM
from gencore.samplers.masked import MaskedAncestral, reverse_weights
from gencore.samplers.tweedie import Tweedie, tweedie_weights
from gencore.spec import LatentSpec
from gencore.testing.joint import Joint
from gencore.testing.laws import WORDS, Bulk, solve, surprise, walk
from gencore.testing.orders import check_sampler
from gencore.weights.files import read_tensors

sys.path.append(str(Path(__file__).with_name("toy")))
from masked_reference import Published

SAMPLERS = {
    "ancestral": MaskedAncestral(),
    "ancestral by draws": MaskedAncestral("draw"),
    "tweedie": Tweedie(),
    "low confidence": Confidence(),
    "entropy": Confidence("entropy"),
    "margin": Confidence("margin"),
    "random": Confidence("random"),
    "greedy": Confidence(temperature=0.0),
    "blocks": Blockwise(size=2),
    "blocks by confidence": Blockwise(Confidence("random"), size=2),
}
every = pytest.mark.parametrize("name", SAMPLERS)
V, L, MASK = WORDS.mask_id, WORDS.length, WORDS.mask_id


def exponentials(uniforms: torch.Tensor) -> list[torch.Tensor]:
    """Recorded uniforms as the exponentials they were made into."""
    return list(1e-10 - torch.log(uniforms.double() + 1e-10))


# ---- recorded runs


@pytest.fixture
def published(golden_dir: Path):
    case = golden_dir / "edlm" / "mdlm-tiny"
    io, weights = read_tensors(case / "io.safetensors")[0], read_tensors(case / "weights.safetensors")[0]
    return io, Published(weights, 2, TokenPrediction(28, 27)), Absorbing(27)


def test_recorded_steps(published) -> None:
    io, net, process = published
    x, t, dt = io["step/x"], io["step/t"].double(), io["step/dt"].double()
    d = net.prediction.read(net(x, torch.zeros(3), {}, None).pred, x, process, t)
    found = {
        "step/cache/q_xs": reverse_weights(d, t, t - dt),
        "step/ddpm/q_xs": reverse_weights(d, process.move_chance(t), process.move_chance(t - dt)),
        "step/analytic/probs": tweedie_weights(d, process.sigma(t) - process.sigma(t - dt)),
        "step/denoiser/probs": tweedie_weights(d, process.sigma(t), last=True),
    }
    for name, weights in found.items():
        torch.testing.assert_close(weights.float(), io[name], atol=3e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("name", ["ddpm", "ddpm_cache", "analytic"])
def test_recorded_runs(published, name: str) -> None:
    io, net, process = published
    sampler = Tweedie() if name == "analytic" else MaskedAncestral()
    denoise, spec = Denoiser(net, process, {}), LatentSpec("b n", (12,), kind="discrete", vocab=28)
    times = sampler.times(process, "logits", 6)
    *_, last = stream(denoise, sampler, spec, times, Recorded(exponentials(io[f"traj/{name}/uniforms"])))
    assert torch.equal(last.x, io[f"traj/{name}/out"])
    assert net.calls == denoise.calls == io[f"traj/{name}/calls"]


class Table(Backbone):
    """Logits of a table, moved by the mean over the tokens of a second one."""

    def __init__(self, io: dict[str, torch.Tensor], prediction: TokenPrediction) -> None:
        super().__init__()
        self.io, self.prediction, self.ports, self.seen = io, prediction, {}, []

    def forward(self, x_t, t, cond, ctx) -> Output:
        self.seen.append(t)
        return Output(self.io["logit_table"] + self.io["logit_context"][x_t].mean(1, keepdim=True))

    def config(self):
        return {}


def run_table(io, process: Absorbing, **how):
    net, sampler = Table(io, TokenPrediction(6, 5)), MaskedAncestral()
    denoise, spec = Denoiser(net, process, {}, **how), LatentSpec("b n", (5,), kind="discrete", vocab=6)
    noise = Recorded(exponentials(io["u_step"]))
    return net, list(stream(denoise, sampler, spec, sampler.times(process, "logits", 24), noise))


def test_an_idle_step_takes_no_call_and_changes_nothing(golden_dir: Path) -> None:
    io, _ = read_tensors(golden_dir / "edlm" / "cached-ancestral" / "io.safetensors")
    net, steps = run_table(io, Absorbing(5))
    assert all(torch.equal(step.x, x) for step, x in zip(steps, io["x_after_step"], strict=False))
    assert torch.equal(steps[-1].x, io["x_final"]) and len(steps) == 25
    # The recorded count holds a last call that is made whether or not a token moved; here it is not.
    changed = io["changed"][-1].item()
    assert len(net.seen) == io["calls_cached"].item() - (not changed) < io["calls_uncached"].item()


def test_a_network_with_a_time_is_asked_at_every_step(golden_dir: Path) -> None:
    io, _ = read_tensors(golden_dir / "edlm" / "cached-ancestral" / "io.safetensors")
    process = Absorbing(5, network_time="sigma")
    net, steps = run_table(io, process)
    assert len(net.seen) == io["calls_uncached"] and torch.equal(steps[-1].x, io["x_final"])
    # It sees the total noise of the step, not its time, at the last step too.
    times = MaskedAncestral().times(process, "logits", 24)[:-1]
    assert torch.allclose(torch.stack([t[0] for t in net.seen]), process.sigma(times))


def test_transforms_act_anew_where_the_network_is_not_asked(golden_dir: Path) -> None:
    io, _ = read_tensors(golden_dir / "edlm" / "cached-ancestral" / "io.safetensors")
    asked = []

    def note(d: Categorical, info, noise) -> Categorical:
        asked.append(info.i)
        return d

    net, _ = run_table(io, Absorbing(5), transforms=[note], noise=Keyed([0, 1]))
    assert asked == list(range(25)) and len(net.seen) < 25


# ---- laws


@pytest.mark.parametrize("name", ["ancestral", "tweedie", "low confidence", "entropy", "blocks by confidence"])
def test_the_public_check_passes(name: str) -> None:
    check_sampler(SAMPLERS[name])


def test_what_is_declared_exact() -> None:
    assert [s.order for s in SAMPLERS.values()] == [1, 1, 1, 0, 1, 1, 1, 0, 1, 1]
    assert Confidence("random", temperature=0.7).order == 0


def product_of_marginals(x: torch.Tensor) -> torch.Tensor:
    """The law of opening everything at once, given the open tokens of `x` (L,)."""
    (p,) = WORDS.marginals(x[None])
    return torch.einsum("a,b,c->abc", p[0], p[1], p[2])


def test_one_step_draws_from_the_product_and_not_from_the_joint() -> None:
    x = solve(MaskedAncestral("draw"), Bulk(4000), steps=1)
    hidden = torch.full((L,), MASK)
    assert abs(surprise(WORDS.counts(x), product_of_marginals(hidden))) < 4
    assert surprise(WORDS.counts(x), WORDS.table) > 50


@pytest.mark.parametrize("schedule", ["loglinear", "cosine"])
def test_the_law_of_two_steps_by_enumeration(schedule: str) -> None:
    """Each token opens in the first step with chance (m_1 - m_s) / m_1, by its marginal; the rest in the second."""
    chances = Absorbing(MASK, schedule).move_chance(torch.tensor([1.0, 0.5]))
    opens = ((chances[0] - chances[1]) / chances[0]).item()
    start, law = torch.full((L,), MASK), torch.zeros_like(WORDS.table)
    (p,) = WORDS.marginals(start[None])
    for state in itertools.product(range(V + 1), repeat=L):
        chance = 1.0
        for i, token in enumerate(state):
            chance *= 1 - opens if token == MASK else opens * p[i, token].item()
        law += chance * product_of_marginals(torch.tensor(state))
    x = solve(MaskedAncestral("draw"), Bulk(6000), steps=2, schedule=schedule)
    assert abs(surprise(WORDS.counts(x), law)) < 4
    assert surprise(WORDS.counts(x), product_of_marginals(start)) > 6


@settings(deadline=None, max_examples=30)
@given(name=st.sampled_from(list(SCHEDULES)), t=st.floats(0.05, 1.0), share=st.floats(0.0, 0.95))
def test_tweedie_steps_have_the_ancestral_law_for_a_normalised_denoiser(name: str, t: float, share: float) -> None:
    process, x = Absorbing(MASK, name), torch.tensor([[MASK, 1, MASK]])
    here, there = (torch.tensor([[u]], dtype=torch.float64) for u in (t, share * t))
    logits = torch.randn(1, 3, V + 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    d = TokenPrediction(V + 1, MASK).read(logits, x, process, here)
    one = reverse_weights(d, process.move_chance(here), process.move_chance(there))
    two = tweedie_weights(d, process.sigma(here) - process.sigma(there))
    one, two = (w / w.sum(-1, keepdim=True) for w in (one, two))
    assert torch.allclose(one[0, [0, 2]], two[0, [0, 2]], atol=1e-9)
    assert two[0, 1].tolist() == [0, 1, 0, 0]


def test_reverse_weights_are_the_posterior_of_any_prediction() -> None:
    """q(x_s | x_t = mask) prop. to Q_{t|s}[., mask] (Q_s^T p), for p with some probability on the mask too."""
    process, p = Absorbing(MASK), torch.tensor([0.2, 0.3, 0.4, 0.1]).double()
    m_t, m_s = 0.7, 0.4
    d = Categorical(p.log()[None, None], torch.tensor([[MASK]]), process, torch.tensor([0.7]))
    found = reverse_weights(d, torch.tensor([[m_t]]).double(), torch.tensor([[m_s]]).double())[0, 0]
    prior = (1 - m_s) * p
    prior[MASK] += m_s
    moves = torch.tensor([1 - (1 - m_t) / (1 - m_s)] * V + [1.0]).double()
    posterior = prior * moves
    assert torch.allclose(found / found.sum(), posterior / posterior.sum())


def test_temperature_raises_probabilities_to_a_power() -> None:
    single = Joint(torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64))
    x = solve(Confidence(temperature=0.5), Bulk(8000), data=single, steps=1)
    law = single.table**2 / (single.table**2).sum()
    assert abs(surprise(single.counts(x), law)) < 4
    assert solve(Confidence(temperature=0.0), Bulk(50), data=single, steps=1).unique().tolist() == [0]


# ---- fixed counts


def opened(steps) -> list[list[int]]:
    masked = [torch.full_like(steps[0].x, MASK), *(step.x for step in steps)]
    counts = [(x == MASK).sum(1) for x in masked]
    return [(a - b).tolist() for a, b in itertools.pairwise(counts)]


class Flat(Backbone):
    """The same logits at every position, lower from left to right."""

    def __init__(self) -> None:
        super().__init__()
        self.prediction, self.ports = TokenPrediction(V + 1, MASK), {}

    def forward(self, x_t, t, cond, ctx) -> Output:
        sharp = torch.linspace(3, 1, x_t.shape[1], dtype=torch.float64)[:, None]
        return Output((sharp * torch.tensor([1.0, 0.0, 0.5, 0.0])).expand(len(x_t), -1, -1))

    def config(self):
        return {}


def flat(sampler, length: int, steps: int, seeds=(0,), known: Known | None = None):
    spec, process = LatentSpec("b n", (length,), kind="discrete", vocab=V + 1), Absorbing(MASK)
    times = sampler.times(process, "logits", steps)
    return list(stream(Denoiser(Flat(), process, {}), sampler, spec, times, Keyed(seeds), known=known))


@pytest.mark.parametrize(("length", "steps", "counts"), [
    (10, 4, [3, 3, 2, 2]), (8, 4, [2, 2, 2, 2]), (3, 5, [1, 1, 1, 0, 0]), (7, 1, [7]), (49, 7, [7] * 7),
])  # fmt: skip
def test_equal_shares_open_with_the_remainder_first(length: int, steps: int, counts: list[int]) -> None:
    for remasking in ("low_confidence", "random"):
        assert [n for (n,) in opened(flat(Confidence(remasking), length, steps))] == counts


def test_each_sample_shares_out_its_own_masks() -> None:
    """Given tokens leave less to open; the counts of the other samples of a batch do not change."""
    value = torch.zeros(2, 8, dtype=torch.int64)
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[1, :4] = False
    steps = flat(Confidence(), 8, 4, (0, 1), Known(value, mask))
    left = [(step.x == MASK).sum(1).tolist() for step in steps]
    assert left == [[6, 3], [4, 2], [2, 1], [0, 0]]


def test_the_surest_tokens_open_first() -> None:
    for sampler in (Confidence(temperature=0.0), Confidence("margin"), Confidence("entropy")):
        steps = flat(sampler, 6, 3)
        for step in steps:
            assert bool((step.x[0, : 2 * step.index] != MASK).all()) and bool(
                (step.x[0, 2 * step.index :] == MASK).all()
            )
    assert flat(Confidence(temperature=0.0), 6, 3)[-1].x.tolist() == [[0] * 6]


# ---- what every one of them keeps


@every
def test_open_tokens_stay_and_none_is_left_masked(name: str) -> None:
    states = [torch.full((64, L), MASK), *(step.x for step in walk(SAMPLERS[name], Bulk(64), steps=4))]
    for before, after in itertools.pairwise(states):
        assert bool(((before == MASK) | (before == after)).all())
    assert not bool((states[-1] == MASK).any())


@every
def test_prefix_suffix_and_blanks_come_back_and_a_sample_stands_alone(name: str) -> None:
    length = 7
    spec, process = LatentSpec("b n", (length,), kind="discrete", vocab=V + 1), Absorbing(MASK, network_time="sigma")
    value = torch.tensor([[2, 0, 1, 2, 2, 1, 0]])
    sampler = SAMPLERS[name]
    times = sampler.times(process, "logits", 5)
    free = [(2, 3, 4, 5, 6), (0, 1, 2), (1, 4, 5), (), tuple(range(length))]
    for cells in free:
        mask = torch.zeros(1, length, dtype=torch.bool)
        mask[:, list(cells)] = True
        for mode in ("replace_state", "compose_input"):
            known = Known(value, mask, mode)
            ends = []
            for seeds in ((3, 4, 5), (4,)):
                *_, last = stream(Denoiser(Flat(), process, {}), sampler, spec, times, Keyed(seeds), known=known)
                ends.append(last.x)
            assert torch.equal(ends[0][:, ~mask[0]], value[:, ~mask[0]].expand(3, -1))
            assert torch.equal(ends[0][1:2], ends[1]) and not bool((ends[0] == MASK).any())


@every
def test_draws_are_double_exponentials(name: str) -> None:
    class Watched(Keyed):
        def draw(self, kind, key, shape):
            eps = super().draw(kind, key, shape)
            assert kind == "exponential" and eps.dtype == torch.float64
            keys.append(key)
            return eps

    keys: list[tuple] = []
    solve(SAMPLERS[name], Watched([0, 1], dtype=torch.float32), steps=3)
    assert len(keys) == len(set(keys))


@every
def test_config_builds_it_again(name: str) -> None:
    sampler = SAMPLERS[name]
    again = components.build("sampler", components.describe("sampler", sampler))
    assert again == sampler and again.kind == "discrete"
    assert torch.equal(solve(again, Keyed([0])), solve(sampler, Keyed([0])))


def test_steps_of_the_grid() -> None:
    process = Absorbing(MASK)
    assert MaskedAncestral().times(process, "logits", 2).tolist() == pytest.approx([1.0, 0.500005, 1e-5, 0.0])
    state = Blockwise(size=2).init(torch.zeros(1, 5).long(), torch.tensor([1.0, 0.5, 0.0]), process)
    assert state.steps == 6 and state.times.tolist() == [1.0, 0.5, 1.0, 0.5, 1.0, 0.5, 0.0]


def test_times_of_its_own_for_every_token() -> None:
    """A token whose time stands still stays as it is; the others open."""
    sampler = MaskedAncestral("draw")
    times = torch.tensor([[[1.0, 1.0, 1.0]], [[0.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]]], dtype=torch.float64)
    first, last = walk(sampler, Bulk(200), times=times)
    assert bool((first.x[:, 0] != MASK).all()) and bool((first.x[:, 1:] == MASK).all())
    assert not bool((last.x == MASK).any())


def test_refusals() -> None:
    process, finer = Absorbing(MASK), torch.ones(2, 1, 3, dtype=torch.float64)
    with pytest.raises(InputError, match="final: got 'none'; accepted: argmax, draw"):
        MaskedAncestral("none")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="remasking: got 'confidence'"):
        Confidence("confidence")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="temperature: got -1; accepted: 0 or more"):
        Confidence(temperature=-1)
    with pytest.raises(InputError, match="inner: got DDIM"):
        Blockwise(DDIM())
    with pytest.raises(InputError, match="size: got 0"):
        Blockwise(size=0)
    for sampler in (Confidence(), Blockwise()):
        with pytest.raises(InputError, match="times: got a time for each cell"):
            sampler.init(torch.zeros(1, 3).long(), finer, process)
    with pytest.raises(InputError, match="steps: got 0"):
        MaskedAncestral().times(process, "logits", 0)
    assert components.build("sampler", {"type": "block", "inner": "confidence", "size": 4}).inner == Confidence()
