"""Masking processes: schedules, their slopes and inverses, and the law of corrupted tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gencore import components
from gencore.errors import InputError
from gencore.noise import Keyed
from gencore.processes.absorbing import Absorbing
from gencore.processes.mask_schedules import SCHEDULES
from gencore.spec import LatentSpec
from gencore.weights.files import read_tensors

names = pytest.mark.parametrize("name", SCHEDULES)
inside = st.floats(1e-3, 1 - 1e-3)


@names
def test_recorded_schedules(golden_dir: Path, name: str) -> None:
    io, _ = read_tensors(golden_dir / "edlm" / "mdlm-tiny" / "io.safetensors")
    schedule, t, at = SCHEDULES[name](), io["noise/t"], f"noise/{name.replace('cosine-squared', 'cosinesqr')}"
    # In float32, as recorded: at t = 1 the cosine's slope is a difference that float32 does not resolve.
    torch.testing.assert_close(schedule.sigma(t), io[f"{at}/sigma"], atol=3e-5, rtol=1e-4)
    torch.testing.assert_close(schedule.d_sigma(t), io[f"{at}/dsigma"], atol=3e-5, rtol=1e-4)


@names
@given(t=inside)
def test_slope_is_the_derivative_and_time_the_inverse(name: str, t: float) -> None:
    process, at = Absorbing(3, name), torch.tensor([t], dtype=torch.float64, requires_grad=True)
    sigma = process.sigma(at)
    (slope,) = torch.autograd.grad(sigma.sum(), at)
    assert torch.allclose(slope, process.d_sigma(at), rtol=1e-9)
    chance = process.move_chance(at)
    assert torch.allclose(chance, -torch.expm1(-sigma), rtol=1e-9) and 0 < chance < 1
    assert torch.allclose(process.time_at(chance), at, atol=1e-9)


@names
def test_the_chance_rises_from_data_to_noise(name: str) -> None:
    process = Absorbing(3, name)
    chance = process.move_chance(torch.linspace(0, 1, 101))
    assert chance.dtype == torch.float64 and bool((chance.diff() > 0).all())
    assert chance[0] <= 1e-3 and chance[-1] > 0.6
    assert process.time_at(torch.tensor([0.0, 1.0])).tolist() == [0.0, 1.0]


def test_loglinear_masks_in_proportion_to_time_exactly() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert torch.equal(Absorbing(3).move_chance(t), (1 - 1e-3) * t)
    assert torch.equal(Absorbing(3, eps=0.25).move_chance(t), 0.75 * t)


def test_a_token_is_masked_where_its_draw_is_below_the_chance() -> None:
    x0 = torch.tensor([[0, 1, 2], [2, 1, 0]])
    eps = torch.tensor([[0.1, 0.5, 0.9], [0.1, 0.5, 0.9]])
    x_t = Absorbing(3).corrupt(x0, torch.tensor([0.3, 0.7]), eps)
    assert x_t.tolist() == [[3, 1, 2], [3, 3, 0]] and x_t.dtype == torch.int64
    assert x0.tolist() == [[0, 1, 2], [2, 1, 0]]
    finer = Absorbing(3).corrupt(x0, torch.tensor([[0.0, 1.0, 1.0]]), eps)
    assert finer.tolist() == [[0, 3, 3], [2, 3, 3]]


@names
def test_the_share_of_masked_tokens_is_the_chance(name: str) -> None:
    process, noise, count = Absorbing(3, name), Keyed([0, 1]), 40_000
    t = torch.tensor([0.3, 0.8])
    x_t = process.corrupt(torch.zeros(2, count, dtype=torch.int64), t, noise.draw("uniform", ("mask",), (count,)))
    chance = process.move_chance(t)
    off = ((x_t == 3).double().mean(1) - chance).abs() / (chance * (1 - chance) / count).sqrt()
    assert bool((off < 4.5).all())


def test_noise_is_all_masks_and_given_tokens_stand_at_any_time() -> None:
    process, spec = Absorbing(3), LatentSpec("b n", (5,), kind="discrete", vocab=4)
    assert process.prior(spec, Keyed([1, 2])).tolist() == [[3] * 5] * 2
    value = torch.tensor([[0, 1, 2, 0, 1]])
    assert torch.equal(process.given(value, torch.ones(1), Keyed([0])), value)


def test_what_a_network_sees() -> None:
    t = torch.tensor([0.2, 0.9])
    assert Absorbing(3).model_time(t).tolist() == [0.0, 0.0]
    assert torch.equal(Absorbing(3, network_time="sigma").model_time(t), Absorbing(3).sigma(t))
    assert torch.equal(Absorbing(3, network_time="t").model_time(t), t.double())
    assert Absorbing(3).model_time(t).dtype == torch.float64


@names
def test_config_is_json_that_builds_it_again(name: str) -> None:
    process = Absorbing(7, name, network_time="sigma")
    again = components.build("process", json.loads(json.dumps(components.describe("process", process))))
    t = torch.rand(5, generator=torch.Generator().manual_seed(0))
    assert again.config() == process.config() and torch.equal(again.sigma(t), process.sigma(t)) and again.mask_id == 7


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"schedule: got 'loglinaer'.*did you mean 'loglinear'"):
        Absorbing(3, "loglinaer")
    with pytest.raises(InputError, match="schedule setting: got 'sigma_max'; accepted: eps"):
        Absorbing(3, sigma_max=2.0)
    with pytest.raises(InputError, match=r"eps: got 1\.5; accepted: between 0 and 1"):
        Absorbing(3, eps=1.5)
    with pytest.raises(InputError, match="network_time: got 'time'"):
        Absorbing(3, network_time="time")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="mask_id: got -1"):
        Absorbing(-1)
