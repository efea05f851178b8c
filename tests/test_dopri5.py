"""The adaptive solver against torchdiffeq, against exact solutions, and against itself in other batches."""

from __future__ import annotations

import math

import pytest
import torch
import torchdiffeq
from torch import Tensor

from gencore.denoiser import NotFinite
from gencore.errors import InputError
from gencore.noise import Keyed
from gencore.processes.flows import LinearFlow, TrigFlow
from gencore.samplers.dopri5 import Dopri5, Fields, drive, integrate
from gencore.testing.analytic import Mixture
from gencore.testing.orders import SAMPLES, errors, solve, walk


def swing(t: Tensor, y: Tensor) -> Tensor:
    """A field with no symmetry between samples, components or directions of time."""
    return torch.sin(3 * y) * torch.cos(2 * t.reshape(-1, 1)) - y + torch.sin(2 * y.flip(-1))


START = torch.linspace(-0.5, 1, 15, dtype=torch.float64).reshape(5, 3)
TIMES = [torch.tensor([0.0, 0.3, 1.5]), torch.tensor([1.0, 0.2, 0.15, -0.5])]


def ours(y: Fields, times: Tensor, norm, rtol: float) -> tuple[Fields, int]:
    calls = 0

    def field(t: Tensor, y: Fields, stage: str) -> Fields:
        nonlocal calls
        calls += 1
        assert t.shape == (len(y[0]),)
        return tuple(swing(t, c) for c in y)

    return drive(integrate(y, times, rtol=rtol, atol=1e-6, norm=norm, max_steps=1000), field), calls


@pytest.mark.parametrize("times", TIMES, ids=["up", "down"])
@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-7])
@pytest.mark.parametrize("parts", [1, 2])
def test_with_one_norm_it_takes_torchdiffeqs_steps(times: Tensor, rtol: float, parts: int) -> None:
    times, y = times.double(), (START, 0.3 * START[:, :2])[:parts]
    calls = 0

    def field(t: Tensor, y: Fields) -> Fields:
        nonlocal calls
        calls += 1
        return tuple(swing(t, c) for c in y)

    expected = torchdiffeq.odeint(field, y, times, rtol=rtol, atol=1e-6, method="dopri5")
    got, count = ours(y, times, "batch", rtol)
    assert count == calls
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("times", TIMES, ids=["up", "down"])
def test_a_sample_takes_its_own_steps_alone_and_in_a_batch(times: Tensor) -> None:
    (together,), _ = ours((START,), times.double(), "sample", 1e-4)
    for i in range(len(START)):
        (alone,), calls = ours((START[i : i + 1],), times.double(), "sample", 1e-4)
        torch.testing.assert_close(alone[:, 0], together[:, i], rtol=0, atol=1e-13)
        # Alone, the norm over the sample is the norm over the batch.
        (batch,), same = ours((START[i : i + 1],), times.double(), "batch", 1e-4)
        assert torch.equal(batch, alone) and calls == same


def test_samples_of_a_batch_do_take_different_steps() -> None:
    process, noise = LinearFlow(), Keyed(range(6), dtype=torch.float64)
    sampler = Dopri5(rtol=1e-5)
    *_, last = walk(sampler, process, SAMPLES, noise, times=sampler.times(process, "x0", 1))
    memory = last.state.memory[0]
    assert len(set(memory.accepted.tolist())) > 1 and (memory.attempted >= memory.accepted).all()


@pytest.mark.parametrize("process", [LinearFlow(), TrigFlow()], ids=["linear", "trig"])
@pytest.mark.parametrize("norm", ["sample", "batch"])
def test_the_error_follows_the_tolerance(process, norm) -> None:
    gaps = [errors(Dopri5(rtol=r, atol=r, norm=norm), process, steps=(1,), batch=16)[0] for r in (1e-4, 1e-6, 1e-8)]
    for r, gap in zip((1e-4, 1e-6, 1e-8), gaps, strict=True):
        assert gap < 50 * r
    # Error per step is held, so the global error falls like the tolerance, give or take the steps' number.
    assert 0.7 < math.log(gaps[0] / gaps[2], 1e4) < 1.4


def test_requested_times_on_the_way_are_exact_too() -> None:
    process, data = TrigFlow(), Mixture.gaussian(0.5, 0.6)
    times, noise = torch.tensor([1.0, 0.7, 0.21, 0.0], dtype=torch.float64), Keyed(range(4), dtype=torch.float64)
    *_, last = walk(Dopri5(1e-8, 1e-9), process, data, noise, times=times, kind="velocity")
    start = noise.draw("normal", ("init",), data.shape)
    for t, got in zip(times, last.state.memory[0].out[0], strict=True):
        ends = [process.coeffs(v.reshape(1, 1, 1)) for v in (times[0], t)]
        torch.testing.assert_close(got, data.flow(start, *ends), rtol=0, atol=1e-6)


def test_progress_is_unknown_until_it_ends() -> None:
    steps = list(walk(Dopri5(), LinearFlow(), SAMPLES, Keyed([0]), times=torch.tensor([1.0, 0.0]).double()))
    assert {s.total for s in steps} == {0} and [s.done for s in steps] == [False] * (len(steps) - 1) + [True]


def test_it_gives_up_in_words() -> None:
    noise, times = Keyed([0], dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    with pytest.raises(InputError, match="max_steps: got 3; accepted: more"):
        solve(Dopri5(1e-9, 1e-9, max_steps=3), LinearFlow(), SAMPLES, noise, times=times)
    with pytest.raises(InputError, match="one list of times for an adaptive solver"):
        solve(Dopri5(), LinearFlow(), SAMPLES, noise, times=torch.ones(2, 1))
    with pytest.raises((NotFinite, InputError)):
        drive(integrate((START,), times, rtol=1e-3, atol=1e-6, norm="sample", max_steps=50),
              lambda t, y, s: (y[0] / (t.reshape(-1, 1) - 0.5) ** 3,))  # fmt: skip
