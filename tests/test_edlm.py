"""Energy correction against exact laws on tiny joints, and against each fault of the published code."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gencore.backbone import Backbone, Output
from gencore.categorical import Categorical, TokenPrediction
from gencore.context import Context, StepInfo
from gencore.denoiser import Denoiser, NotFinite
from gencore.errors import InputError
from gencore.known import Known
from gencore.metrics.partition import joint_nll, log_partition, marginal_nll
from gencore.noise import Keyed, Recorded
from gencore.objective import Batch
from gencore.objectives.nce import NoiseContrastive, contrast
from gencore.process import AbsorbingProcess
from gencore.processes.absorbing import Absorbing
from gencore.run import stream
from gencore.samplers.masked import MaskedAncestral
from gencore.spec import LatentSpec
from gencore.transforms.edlm import EnergyCorrection, Resampling, effective_number
from gencore.transforms.energies import AutoregressiveLogProbs, NetworkEnergy, ResidualEnergy, ScoreEnergy

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "edlm"


def golden(case: str) -> dict[str, Tensor]:
    path = GOLDEN / case / "io.safetensors"
    if not path.exists():
        pytest.skip("the golden vectors lie outside this repository")
    return load_file(path)


class Straight(AbsorbingProcess):
    """A move chance of exactly t."""

    def __init__(self, mask_id: int) -> None:
        self.mask_id = mask_id

    def move_chance(self, t: Tensor) -> Tensor:
        return t.to(torch.float64)

    def model_time(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t, dtype=torch.float64)

    def config(self) -> dict[str, Any]:
        return {}


class Table(Backbone):
    """Logits table[l] + mean over cells of context[x]."""

    ports = MappingProxyType({})

    def __init__(self, table: Tensor, context: Tensor | None = None) -> None:
        super().__init__()
        vocab = table.shape[-1]
        self.prediction = TokenPrediction(vocab, vocab - 1)
        self.table = torch.nn.Parameter(table.double())
        self.context = torch.zeros(vocab, vocab, dtype=torch.float64) if context is None else context

    def forward(self, x_t: Tensor, t: Tensor, cond: Any, ctx: Context) -> Output:
        mean = self.context[x_t.flatten(1)].mean(1).reshape(len(x_t), *(1,) * (x_t.ndim - 1), -1)
        return Output(self.table + mean)

    def config(self) -> dict[str, Any]:
        return {}


def predicted(probs: Tensor, rows: int = 1, t: float = 1.0, process: AbsorbingProcess | None = None) -> Categorical:
    """The factorised denoiser with `probs` (L, V - 1) about all-masked states."""
    cells, tokens = probs.shape
    process = process or Straight(tokens)
    x = torch.full((rows, cells), process.mask_id)
    logits = torch.cat([probs.log(), torch.zeros(cells, 1)], dim=1).double()
    read = TokenPrediction(tokens + 1, tokens).read
    return read(logits.expand(rows, -1, -1), x, process, torch.full((rows,), t, dtype=torch.float64))


def forcing(tokens: Tensor, vocab: int) -> Tensor:
    """Exponentials (..., V) whose categorical draws are `tokens` (...)."""
    return torch.full((*tokens.shape, vocab), 1e9, dtype=torch.float64).scatter(-1, tokens[..., None], 1e-9)


class Lookup:
    """E of a state by its number in lexicographic order."""

    def __init__(self, energy: Tensor, base: int) -> None:
        self.energy, self.base = energy, base

    def __call__(self, candidates: Tensor, prediction: Any) -> Tensor:
        number = torch.zeros_like(candidates[..., 0])
        for cell in range(candidates.shape[-1]):
            number = number * self.base + candidates[..., cell]
        return self.energy[number]


def law(probs: Tensor, energy: Tensor, k: int, temperature: float = 1.0) -> Tensor:
    """The law of the pick, by running the transform on every k-tuple of candidates and weighing its weights."""
    cells, base = probs.shape
    states = torch.tensor(list(product(range(base), repeat=cells)))
    chance = probs.gather(1, states.T).prod(0)
    tuples = torch.tensor(list(product(range(len(states)), repeat=k)))
    seen: list[Resampling] = []
    transform = EnergyCorrection(Lookup(energy, base), k, temperature=temperature, report=seen.append)
    draws = [forcing(states[tuples], base + 1), torch.ones(len(tuples), k, dtype=torch.float64)]
    transform(predicted(probs, len(tuples)), StepInfo(), Recorded(draws))
    mass = chance[tuples].prod(1, keepdim=True) * seen[0].weights
    return torch.zeros(len(states), dtype=torch.float64).scatter_add(0, tuples.flatten(), mass.flatten())


@pytest.mark.parametrize("case", ["toy-exact", "toy-exact-temp"])
def test_the_law_of_the_pick_is_exact(case: str) -> None:
    io, temperature = golden(case), 0.5 if case.endswith("temp") else 1.0
    distances = []
    for k in (1, 2, 3):
        found = law(io["marginals"], io["energy"], k, temperature)
        assert torch.allclose(found, io[f"k{k}/dist"], atol=1e-9, rtol=0)
        distances.append(0.5 * (found - io["joint"]).abs().sum().item())
        assert distances[-1] == pytest.approx(io[f"k{k}/tv"].item(), abs=1e-9)
    if case == "toy-exact":
        assert [round(d, 3) for d in distances] == [0.206, 0.112, 0.076]


def test_more_candidates_come_nearer_to_any_joint() -> None:
    joint = torch.rand(4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    joint /= joint.sum()
    table = joint.reshape(2, 2)
    probs = torch.stack([table.sum(1), table.sum(0)])
    proposal = torch.outer(*probs).flatten()
    far = [0.5 * (law(probs, proposal.log() - joint.log(), k) - joint).abs().sum().item() for k in (1, 2, 4, 6)]
    assert far == sorted(far, reverse=True) and far[-1] < 0.3 * far[0]


def test_the_wrong_sign_moves_away_from_the_joint() -> None:
    io = golden("toy-exact")
    wrong = law(io["marginals"], -io["energy"], 2)
    assert 0.5 * (wrong - io["joint"]).abs().sum() > io["k1/tv"]


def test_the_golden_trajectory() -> None:
    io = golden("edlm-trajectory")
    init, trans, mask = io["ar_init_logp"], io["ar_trans_logp"], 5

    def log_probs(tokens: Tensor) -> Tensor:
        return torch.cat([init[tokens[:, :1]], trans[tokens[:, :-1], tokens[:, 1:]]], dim=1)

    net = Table(io["logit_table"], io["logit_context"])
    seen: list[Resampling] = []
    transform = EnergyCorrection(ResidualEnergy(log_probs), 3, window=(0.9, 0.3), temperature=0.7, report=seen.append)
    draws, inside = [], io["in_window"].tolist()
    for i, acts in enumerate(inside):
        names = ("u_candidate", "u_pick", "u_step") if acts else ("u_step",)
        draws += [1e-10 - torch.log(io[name][i] + 1e-10) for name in names]
    noise = Recorded(draws)
    denoise = Denoiser(net, Straight(mask), {}, transforms=[transform], noise=noise)
    sampler = MaskedAncestral()
    times = sampler.times(Straight(mask), "logits", 8)
    spec = LatentSpec("b n", (7,), kind="discrete", vocab=6)
    states = [step.x for step in stream(denoise, sampler, spec, times, noise)]
    assert torch.equal(torch.stack(states[:8]), io["x_after_step"])
    assert torch.equal(states[8], io["x_final"])
    assert [r.info.i for r in seen] == [i for i, acts in enumerate(inside) if acts]
    assert torch.equal(torch.stack([r.candidates for r in seen]), io["window/candidates"])
    assert torch.equal(torch.stack([r.chosen for r in seen]), io["window/chosen"])
    assert torch.allclose(torch.stack([r.energy for r in seen]), io["window/energy"], atol=1e-9, rtol=0)
    assert torch.allclose(torch.stack([r.weights for r in seen]), io["window/weights"], atol=1e-9, rtol=0)


def test_samples_of_a_batch_never_mix() -> None:
    """The published code repeats candidate by candidate and reads sample by sample: right for one sample only."""
    probs = torch.rand(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    energy = ScoreEnergy(lambda tokens: tokens.double().mul(torch.arange(1, 6)).sum(1), 0.3)
    seeds = [11, 4, 9]

    def run(some: list[int]) -> Resampling:
        seen: list[Resampling] = []
        prediction = predicted(probs / probs.sum(1, keepdim=True), len(some))
        out = EnergyCorrection(energy, 4, report=seen.append)(prediction, StepInfo(2, 8), Keyed(some))
        rows = torch.arange(len(some))
        assert torch.equal(out.x0, seen[0].candidates[rows, seen[0].chosen])
        return seen[0]

    together = run(seeds)
    for i, seed in enumerate(seeds):
        alone = run([seed])
        assert torch.equal(alone.candidates[0], together.candidates[i])
        assert torch.equal(alone.weights[0], together.weights[i]) and alone.chosen[0] == together.chosen[i]


def test_energies_are_of_log_probabilities() -> None:
    """The published sampler hands probabilities to an energy that sums logarithms."""
    probs = torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=torch.float64)
    candidates = torch.tensor([[[0, 0], [1, 1]]])
    other = torch.tensor([[0.1, 0.9], [0.4, 0.6]], dtype=torch.float64)
    energy = ResidualEnergy(lambda tokens: other.log().gather(1, tokens.T).T)(candidates, predicted(probs))
    expected = [math.log(0.5 * 0.25) - math.log(0.1 * 0.4), math.log(0.5 * 0.75) - math.log(0.9 * 0.6)]
    assert energy.tolist()[0] == pytest.approx(expected, abs=1e-12)


def test_carry_over_counts_open_tokens_for_nothing() -> None:
    x = torch.tensor([[1, 2]])
    d = TokenPrediction(3, 2).read(torch.zeros(1, 2, 3).double(), x, Straight(2), torch.ones(1))
    candidates = torch.tensor([[[1, 0], [1, 1]]])
    certain = ResidualEnergy(lambda tokens: torch.full(tokens.shape, -3.0), carry_over=True)(candidates, d)
    whole = ResidualEnergy(lambda tokens: torch.full(tokens.shape, -3.0))(candidates, d)
    assert certain.tolist()[0] == pytest.approx([3 - math.log(2)] * 2)
    assert whole.tolist()[0] == pytest.approx([6 - math.log(2)] * 2)


def test_an_energy_network_sees_the_time_its_process_shows() -> None:
    """The published sampler hands t where its networks take sigma."""
    process = Absorbing(2, network_time="sigma")
    seen = []

    class Net:
        def energy(self, candidates: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
            seen.append(t)
            return torch.zeros(candidates.shape[:2])

    d = predicted(torch.full((2, 2), 0.5), 2, 0.5, process)
    NetworkEnergy(Net())(torch.zeros(2, 3, 2, dtype=torch.int64), d)
    assert torch.equal(seen[0], process.sigma(d.t)) and not torch.equal(seen[0], d.t)


def test_a_network_that_stands_still_is_resampled_anew() -> None:
    """The published sampler keeps the chosen candidate while no token is opened."""
    net = Table(torch.zeros(2, 5))
    seen: list[Resampling] = []
    noise = Keyed([5])
    transform = EnergyCorrection(ScoreEnergy(lambda tokens: torch.zeros(len(tokens))), 3, report=seen.append)
    denoise = Denoiser(net, Straight(4), {}, transforms=[transform], noise=noise)
    spec, sampler = LatentSpec("b n", (2,), kind="discrete", vocab=5), MaskedAncestral()
    states = [s.x for s in stream(denoise, sampler, spec, sampler.times(Straight(4), "logits", 40), noise)]
    assert denoise.calls < 10
    shown = [torch.full((1, 2), 4), *states[:-2]]
    idle = [i for i in range(1, 40) if torch.equal(shown[i], shown[i - 1])]
    masked = [i for i in idle if bool((shown[i] == 4).all())]
    assert len(masked) > 5
    assert any(not torch.equal(seen[i].candidates, seen[i - 1].candidates) for i in masked)


def test_keyed_runs_follow_the_exact_law() -> None:
    """Ten thousand one-step samples against the law of three candidates, by a chi-square of 8 degrees of freedom."""
    io = golden("toy-exact")
    count = 10_000
    transform = EnergyCorrection(Lookup(io["energy"], 3), 3)
    out = transform(predicted(io["marginals"], count), StepInfo(), Keyed(range(count))).x0
    found = torch.bincount(out[:, 0] * 3 + out[:, 1], minlength=9)
    expected = io["k3/dist"] * count
    assert ((found - expected).square() / expected).sum() < 26.1  # the 99.9 % point


def test_rare_tokens_are_drawn_in_float64() -> None:
    """A Gumbel draw with a 1e-10 offset in float32 never reaches a tail of 1e-12."""
    d = predicted(torch.tensor([[1 - 1e-12, 1e-12]], dtype=torch.float64))
    eps = torch.tensor([[[[1.0, 1e-13, 1.0]]]], dtype=torch.float64)
    out = EnergyCorrection(ScoreEnergy(lambda tokens: torch.zeros(len(tokens))), 1)
    assert out(d, StepInfo(), Recorded([eps, torch.ones(1, 1).double()])).x0.item() == 1


@pytest.mark.parametrize("t, acts", [(0.91, False), (0.9, True), (0.5, True), (0.3, True), (0.29, False)])
def test_the_window_holds_both_its_ends(t: float, acts: bool) -> None:
    d = predicted(torch.full((3, 2), 0.5), 2, t)
    out = EnergyCorrection(ScoreEnergy(lambda tokens: tokens.sum(1)), 2, window=(0.9, 0.3))(
        d, StepInfo(), Keyed([1, 2])
    )
    assert bool((out.probs.amax(-1) == 1).all()) == acts
    assert (out is d) != acts


def test_refused_candidates_are_never_picked() -> None:
    """On a grid of tokens, an energy that refuses odd sums leaves even ones, also around known cells."""

    def even(tokens: Tensor) -> Tensor:
        return torch.where(tokens.flatten(1).sum(1) % 2 == 0, 0.0, -torch.inf)

    net, noise = Table(torch.zeros(3, 2, 5)), Keyed(range(40))
    transform = EnergyCorrection(ScoreEnergy(even), 24)
    denoise = Denoiser(net, Straight(4), {}, transforms=[transform], noise=noise)
    spec, sampler = LatentSpec("b h w", (3, 2), kind="discrete", vocab=5), MaskedAncestral("draw")
    free = torch.ones(1, 3, 2, dtype=torch.bool)
    free[0, 1, 1] = False
    known = Known(torch.full((1, 3, 2), 3), free)
    *_, last = stream(denoise, sampler, spec, sampler.times(Straight(4), "logits", 3), noise, known=known)
    assert bool((last.x.flatten(1).sum(1) % 2 == 0).all())
    assert bool((last.x[:, 1, 1] == 3).all()) and len(last.x.unique(dim=0)) > 30


def test_when_every_candidate_is_refused_the_denoiser_decides() -> None:
    d = predicted(torch.tensor([[0.5, 0.5]]), 1)
    seen: list[Resampling] = []
    none = ScoreEnergy(lambda tokens: torch.full((len(tokens),), -torch.inf))
    EnergyCorrection(none, 4, report=seen.append)(d, StepInfo(), Keyed([0]))
    assert seen[0].weights.tolist() == [[0.25] * 4] and seen[0].effective.item() == pytest.approx(4)


def test_candidates_are_added_until_enough_count() -> None:
    """One sample's energies are flat and one's are steep: the first draws once, the second up to the limit."""
    probs = torch.full((6, 3), 1 / 3, dtype=torch.float64)

    def energy(candidates: Tensor, prediction: Categorical) -> Tensor:
        steep = (prediction.t > 0.9).double()[:, None]
        return steep * candidates.double().mul(3.0 ** torch.arange(6)).sum(2)

    def run(times: list[float], seeds: list[int]) -> Resampling:
        seen: list[Resampling] = []
        d = predicted(probs, len(times))
        d = Categorical(d.log_probs, d.x_t, d.process, torch.tensor(times))
        EnergyCorrection(energy, 4, target=3.5, most=12, report=seen.append)(d, StepInfo(), Keyed(seeds))
        return seen[0]

    both = run([0.5, 1.0], [7, 8])
    assert both.weights.shape == (2, 12)
    assert both.effective[0].item() == pytest.approx(4) and bool((both.weights[0, 4:] == 0).all())
    flat, steep = run([0.5], [7]), run([1.0], [8])
    assert flat.weights.shape == (1, 4) and torch.equal(both.weights[0, :4], flat.weights[0])
    assert torch.equal(both.weights[1], steep.weights[0])
    assert torch.equal(both.chosen, torch.cat([flat.chosen, steep.chosen]))


def test_effective_number_lies_between_one_and_all() -> None:
    assert effective_number(torch.full((5,), 0.2)).item() == pytest.approx(5)
    assert effective_number(torch.tensor([1.0, 0, 0])).item() == 1


@pytest.mark.parametrize(
    "settings, field",
    [
        ({"candidates": 0}, "candidates"),
        ({"window": (0.2, 0.8)}, "energy window"),
        ({"window": (1.2, 0.8)}, "energy window"),
        ({"temperature": 0.0}, "energy temperature"),
        ({"target": 99.0, "most": 8}, "target"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as fault:
        EnergyCorrection(ScoreEnergy(lambda tokens: tokens.sum(1)), **settings)
    assert fault.value.field == field


def test_energies_that_are_none_are_refused() -> None:
    d = predicted(torch.tensor([[0.5, 0.5]]))
    with pytest.raises(NotFinite):
        EnergyCorrection(lambda c, d: torch.full(c.shape[:2], math.nan))(d, StepInfo(), Keyed([0]))
    with pytest.raises(InputError, match="one a candidate"):
        EnergyCorrection(lambda c, d: torch.zeros(len(c)))(d, StepInfo(), Keyed([0]))


def test_an_autoregressive_network_gives_normalised_log_probabilities() -> None:
    net = Table(torch.tensor([[0.0, 1.0, 9.0], [2.0, 0.0, -3.0]]))
    tokens = torch.tensor(list(product(range(2), repeat=2)))
    found = AutoregressiveLogProbs(net, Straight(2))(tokens).sum(1).exp()
    assert found.sum().item() == pytest.approx(1, abs=1e-12)


def test_bounds_hold_the_normaliser_and_close() -> None:
    """E[T_n] and E[upper] exactly, by every n-tuple of a two-point law."""
    energy, chance = torch.tensor([0.3, -1.2]).double(), torch.tensor([0.7, 0.3]).double()
    log_z = (chance * torch.exp(-energy)).sum().log()
    gaps = []
    for n in (2, 4, 8):
        tuples = torch.tensor(list(product(range(2), repeat=n)))
        mass, bounds = chance[tuples].prod(1), log_partition(energy[tuples])
        lower, upper = (mass * bounds.lower).sum(), (mass * bounds.upper).sum()
        assert lower < log_z < upper
        gaps.append((upper - lower).item())
    assert gaps == sorted(gaps, reverse=True)


@pytest.mark.parametrize("case", ["edlm-ar-tiny", "edlm-nce-tiny"])
def test_golden_weights_bounds_and_contrast(case: str) -> None:
    io, temperature = golden(case), 0.7 if case == "edlm-nce-tiny" else 1.0
    energy, candidates = io["is/energy"], io["is/candidates"]
    seen: list[Resampling] = []
    transform = EnergyCorrection(lambda c, d: energy, energy.shape[1], temperature=temperature, report=seen.append)
    d = TokenPrediction(28, 27).read(io["log_p_x0"], io["xt"], Absorbing(27), io["t"])
    transform(d, StepInfo(), Recorded([forcing(candidates, 28), torch.ones_like(energy).double()]))
    assert torch.allclose(seen[0].weights.float(), io["is/weights"], atol=5e-5, rtol=1e-4)
    assert not torch.allclose(seen[0].weights.float(), io["is/weights_reference_code_sign"], atol=1e-2)
    bounds = log_partition(energy)
    for name, found in zip(("lower", "upper", "leave_one_out_mean"), bounds, strict=True):
        assert torch.allclose(found.float(), io[f"z/log_z_{name}"], atol=5e-5, rtol=1e-4)
    prefix = "carry0/" if case == "edlm-ar-tiny" else ""
    each = contrast(io[f"{prefix}energy_pos"], io[f"{prefix}energy_neg"])
    assert torch.allclose(each.mean(), io[f"{prefix}nce_mean_over_batch"], atol=5e-5, rtol=1e-4)


def test_two_equal_coins_cost_one_bit_and_not_half() -> None:
    """The joint in the ELBO's place gives less than the entropy; the marginals give the entropy."""
    probs, process = torch.full((2, 2), 0.5, dtype=torch.float64), Straight(2)
    energy = Lookup(torch.tensor([-math.log(2), torch.inf, torch.inf, -math.log(2)]).double(), 2)
    x0, rows = torch.tensor([[0, 0]]).expand(4, 2), torch.tensor(list(product(range(2), repeat=2)))
    both = predicted(probs, 4, process=process)
    free = forcing(rows[None].expand(4, -1, -1), 3)
    joint = joint_nll(both, x0, energy, free)
    assert joint.lower.tolist() == pytest.approx([math.log(2)] * 4)
    marginal = marginal_nll(both, x0, energy, torch.tensor([0, 1, 0, 1]), torch.cat([free, free], dim=1))
    assert marginal.lower.mean() <= math.log(2) <= marginal.upper.mean()
    # With both masked at chance t^2 (one masked is certain of the other) the ELBO integrates t^2 / t.
    assert joint.upper[0].item() / 2 < math.log(2) <= 2 * marginal.upper[0].item() / 2 + 1e-9


class PairEnergy(Backbone):
    """A free number for every state of two cells."""

    ports = MappingProxyType({})
    prediction = SimpleNamespace(kind="energy")  # type: ignore[assignment]

    def __init__(self, energy: Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(energy.clone())

    def energy(self, candidates: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return self.table[candidates[..., 0] * 2 + candidates[..., 1]]

    def forward(self, x_t: Tensor, t: Tensor, cond: Any, ctx: Context) -> Output:
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        return {}


def nce(energy: Tensor, rows: int = 2000) -> tuple[Any, PairEnergy, Table]:
    """The loss at times near 1, where everything is masked, for equal coins against a denoiser of fair ones."""
    net, denoiser = PairEnergy(energy), Table(torch.zeros(2, 3)).train()
    x0 = torch.tensor([[0, 0], [1, 1]]).repeat(rows // 2, 1)
    objective = NoiseContrastive(Straight(2), first=0.999999)
    return objective.loss("main", {"model": net, "denoiser": denoiser}, Batch(x0), Keyed(range(rows))), net, denoiser


def test_contrast_starts_at_two_log_two_and_leaves_the_denoiser() -> None:
    loss, net, denoiser = nce(torch.zeros(4))
    assert loss.total.item() == pytest.approx(2 * math.log(2), abs=1e-6)
    loss.total.backward()
    assert denoiser.table.grad is None and denoiser.training
    # Data are equal coins: their energies must fall and those of unequal ones rise.
    assert net.table.grad is not None and (net.table.grad[[0, 3]] > 0).all() and (net.table.grad[[1, 2]] < 0).all()


def test_the_best_energy_is_the_log_ratio() -> None:
    """At E = log p_theta - log q the expected gradient vanishes: -log 2 on data, large elsewhere."""
    best = torch.tensor([-math.log(2), 12.0, 12.0, -math.log(2)])
    loss, net, _ = nce(best, 2000)
    loss.total.backward()
    assert net.table.grad is not None and net.table.grad.abs().max() < 0.02
    assert loss.total < nce(torch.zeros(4), 2000)[0].total
    for shift in (-0.5, 0.5):
        assert loss.total < nce(best + torch.tensor([shift, 0, 0, shift]), 2000)[0].total


def test_contrast_keeps_padding_and_wants_its_roles() -> None:
    x0 = torch.tensor([[0, 0]]).repeat(64, 1)
    valid = torch.tensor([[True, False]]).repeat(64, 1)
    seen = []

    class Watching(PairEnergy):
        def energy(self, candidates: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
            seen.append(candidates)
            return super().energy(candidates, x_t, t)

    roles = {"model": Watching(torch.zeros(4)), "denoiser": Table(torch.zeros(2, 3))}
    NoiseContrastive(Straight(2)).loss("main", roles, Batch(x0, valid=valid), Keyed(range(64)))
    assert bool((seen[0][:, 1, 1] == 0).all()) and not bool((seen[0][:, 1, 0] == 0).all())
    with pytest.raises(InputError, match="denoiser"):
        NoiseContrastive(Straight(2)).loss("main", {"model": roles["model"]}, Batch(x0), Keyed(range(64)))
