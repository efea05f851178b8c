"""Given cells come back bit for bit with every sampler, every mode and any mask, and guide the others."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.denoised import Prediction
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.known import MODES, Known
from gencore.nn.init import seeded
from gencore.noise import Keyed
from gencore.processes.flows import LinearFlow, VariancePreserving
from gencore.run import stream
from gencore.sampler import Query, Sampler
from gencore.samplers.ancestral import Ancestral
from gencore.samplers.ddim import DDIM
from gencore.samplers.dopri5 import Dopri5
from gencore.samplers.dpm_solver import DPMSolver
from gencore.samplers.runge_kutta import TABLEAUX, RungeKutta, heun
from gencore.samplers.sde import StochasticInterpolant
from gencore.spec import LatentSpec
from gencore.testing.analytic import Mixture
from gencore.testing.orders import solve

SAMPLERS: list[Sampler] = [
    DDIM(), DDIM(eta=1.0), Ancestral(), DPMSolver("2M"), DPMSolver("2S"), Dopri5(), StochasticInterpolant(),
    StochasticInterpolant("heun"), *(RungeKutta(m) for m in TABLEAUX),
]  # fmt: skip
SPEC = LatentSpec("b c h w", (2, 4, 6), time_axes=("h", "w"))
NOISE = Keyed([3, 4])
GIVEN = Keyed([9]).draw("normal", ("given",), (2, 4, 6))


def network() -> DiT:
    with seeded(0):
        net = DiT(2, (2, 2), width=24, depth=2, heads=2, prediction=Prediction("velocity"))
        for p in net.parameters():
            if not p.any():
                torch.nn.init.normal_(p, std=0.1)
    return net.eval()


NET = network()


def run(sampler: Sampler, known: Known | None, process=LinearFlow()) -> Tensor:
    times = sampler.times(process, "velocity", 4)
    *_, last = stream(Denoiser(NET, process, {}), sampler, SPEC, times, NOISE, known=known)
    return last.x


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(SAMPLERS), st.sampled_from(MODES), st.integers(0, 2**30), st.sampled_from(["c h w", "h w", "w"]))
def test_given_cells_come_back_bit_for_bit(sampler: Sampler, mode, seed: int, shape: str) -> None:
    sizes = [n if a in shape else 1 for a, n in zip("chw", (2, 4, 6), strict=True)]
    mask = torch.rand(1, *sizes, generator=torch.Generator().manual_seed(seed)) < 0.5
    x = run(sampler, Known(GIVEN, mask, mode))
    free = mask.expand(2, 2, 4, 6)
    assert torch.equal(x[~free], GIVEN.expand(2, -1, -1, -1)[~free])
    assert x.isfinite().all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_nothing_given_is_no_known_and_everything_given_is_the_given(sampler: Sampler, mode) -> None:
    ones = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    torch.testing.assert_close(run(sampler, Known(GIVEN, ones, mode)), run(sampler, None), rtol=0, atol=1e-5)
    assert torch.equal(run(sampler, Known(GIVEN, ~ones, mode)), GIVEN.expand(2, -1, -1, -1))


def test_true_means_generate() -> None:
    mask = torch.zeros(1, 1, 4, 6, dtype=torch.bool)
    mask[..., :3] = True
    known = Known(GIVEN, mask)
    assert known.share == 0.5
    x = run(DDIM(), known)
    assert torch.equal(x[..., 3:], GIVEN[..., 3:].expand(2, -1, -1, -1))
    assert (x[..., :3] - GIVEN[..., :3]).abs().min() > 0


@pytest.mark.parametrize("mode", MODES)
def test_given_cells_speak_to_the_others(mode) -> None:
    mask = torch.zeros(1, 1, 4, 6, dtype=torch.bool)
    mask[..., :3] = True
    one, other = (run(heun(), Known(value, mask, mode))[..., :3] for value in (GIVEN, -GIVEN))
    assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize("process", [LinearFlow(), VariancePreserving()], ids=["linear", "vp"])
def test_replaced_cells_stand_at_the_states_time(process) -> None:
    mask = torch.zeros(1, 1, 4, 6, dtype=torch.bool)
    mask[..., :3] = True
    seen: list[tuple[Tensor, Tensor]] = []

    class Watch(DDIM):
        def step(self, state, noise):
            seen.append((state.now[0], state.x))
            return super().step(state, noise)

    run(Watch(), Known(GIVEN, mask), process)
    eps = NOISE.draw("normal", ("init",), (2, 4, 6))
    for t, x in seen:
        c = process.coeffs(t)
        torch.testing.assert_close(x[..., 3:], (c.alpha * GIVEN + c.sigma * eps)[..., 3:].float(), rtol=0, atol=1e-6)


def test_modes_show_the_network_what_they_say() -> None:
    x, t = torch.full((2, 2, 4, 6), 5.0), torch.tensor([0.3, 0.6], dtype=torch.float64)
    mask = torch.ones(1, 2, 4, 6, dtype=torch.bool)
    mask[:, :, 0, 0] = False
    mask[:, 0, 3, 5] = False
    replace, compose, tokens = (Known(GIVEN, mask, m).query(Query(x, t), SPEC) for m in MODES)
    assert replace.x is x and replace.t is t
    assert torch.equal(compose.x, torch.where(mask, x, GIVEN)) and torch.equal(compose.t, t)
    assert tokens.t.shape == (2, 1, 4, 6) and torch.equal(tokens.x, compose.x)
    # A cell's time is 0 where all its channels are given; where only some are, it stays noisy.
    assert (tokens.t[:, 0, 0, 0] == 0).all() and torch.equal(tokens.t[:, 0, 3, 5], t)
    frames = LatentSpec("b c h w", (2, 4, 6), time_axes=("h",))
    rows = mask.clone()
    rows[:, :, 2] = False
    by_row = Known(GIVEN, rows, "per_token_time").query(Query(x, t), frames).t
    assert by_row.shape == (2, 1, 4, 1) and (by_row[:, 0, 2] == 0).all() and torch.equal(by_row[:, 0, 0, 0], t)


def test_repainting_gaussian_data_keeps_its_moments() -> None:
    """Independent cells: the free ones must have the data's own mean and spread whatever is given beside them."""
    data, n = Mixture.gaussian(0.7, 0.5, (1, 4000)), 2000
    mask = torch.zeros(1, 1, 4000, dtype=torch.bool)
    mask[..., :n] = True
    given = torch.full((1, 1, 4000), -3.0, dtype=torch.float64)
    for mode in MODES:
        for sampler in (heun(), StochasticInterpolant()):
            times = sampler.times(LinearFlow(), "x0", 60)
            x = solve(sampler, LinearFlow(), data, Keyed([1], dtype=torch.float64), times=times,
                      known=Known(given, mask, mode))[..., :n]  # fmt: skip
            assert abs(x.mean().item() - 0.7) < 4 * 0.5 / n**0.5 + 0.01
            assert abs(x.std().item() - 0.5) < 4 * 0.5 / (2 * n) ** 0.5 + 0.01


def test_what_cannot_be_known_is_refused() -> None:
    mask = torch.ones(1, 1, 4, 6, dtype=torch.bool)
    with pytest.raises(InputError, match="known mode: got 'replace'"):
        Known(GIVEN, mask, "replace")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"mask: got torch.float32; accepted: bool, True = generate"):
        Known(GIVEN, mask.float())
    for shape in ((1, 1, 4, 5), (3, 2, 4, 6), (2, 2, 2, 4, 6)):
        with pytest.raises(InputError, match="mask: got shape"):
            Known(GIVEN, torch.ones(shape, dtype=torch.bool))
    with pytest.raises(InputError, match="not finite"):
        Known(GIVEN * float("nan"), mask)
    with pytest.raises(InputError, match="one time a sample"):
        Known(GIVEN, mask, "per_token_time").query(Query(GIVEN, torch.zeros(1)), LatentSpec("b c h w", (2, 4, 6)))


def test_given_cells_cost_no_import_of_a_computer_algebra_system() -> None:
    code = ("import sys, torch; from gencore.known import Known; "
            "Known(torch.zeros(1, 2), torch.tensor([True, False])); print('sympy' in sys.modules)")  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
