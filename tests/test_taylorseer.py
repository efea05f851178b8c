"""Forecasts against closed forms and recorded numbers, and the schedules they are made by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gencore.context import Context, StepInfo
from gencore.errors import InputError
from gencore.interceptors.polynomial import Polynomial
from gencore.interceptors.reuse import reuse
from gencore.interceptors.taylorseer import TaylorSeer
from gencore.testing.golden import PASS, check_case

SMALL = Path(__file__).parent / "golden_small" / "taylorseer"
CASES = ("dit_trajectory", "predictions", "two_branches_two_requests")


def walk(cache: TaylorSeer, feature: Callable[[int], Tensor], n: int, times: Tensor | None = None,
         lanes: tuple[str, ...] = ("cond",)) -> tuple[Tensor, list[int]]:  # fmt: skip
    """What a site gives at every step (n, ...), and the steps at which it ran."""
    store: dict[tuple[str, ...], Any] = {}
    ran: list[int] = []
    outs = []
    for i in range(n):
        ctx = Context(StepInfo(i, n), t=None if times is None else times[i], store=store, lanes=lanes)
        ctx.path = "blocks.0."
        value = feature(i)

        def fn(x: Tensor, i: int = i, value: Tensor = value) -> Tensor:
            ran.append(i)
            return value

        outs.append(cache.around(ctx, "mlp", fn, torch.zeros(len(value), 1)))
    return torch.stack(outs), ran


def test_recorded_predictions_at_hand() -> None:
    outcome = check_case(SMALL / "predictions")
    assert outcome.status == PASS, outcome


@pytest.mark.parametrize("case", CASES)
def test_recorded_numbers(golden_dir: Path, case: str) -> None:
    outcome = check_case(golden_dir / "taylorseer" / case)
    assert outcome.status == PASS, outcome


# ---- schedules


@pytest.mark.parametrize(
    ("cache", "n", "computed"),
    [
        # DiT's 50 steps counted down are 49, 48, 44, 40, ...; the published code starts from a hard-coded 49.
        (TaylorSeer(4), 50, [0, 1, *range(5, 50, 4)]),
        (TaylorSeer(4), 11, [0, 1, 5, 9]),
        (TaylorSeer(5, warmup=3), 28, [0, 1, 2, 7, 12, 17, 22, 27]),
        (TaylorSeer(5, warmup=3, schedule="diffusers"), 17, [0, 1, 2, 4, 9, 14]),
        (TaylorSeer(5, warmup=3, schedule="diffusers", after=14), 17, [0, 1, 2, 4, 9, 14, 15, 16]),
        (TaylorSeer(steps=[0, 1, 4, 9]), 12, [0, 1, 4, 9]),
        # A run always computes where it starts.
        (TaylorSeer(steps=[3]), 6, [0, 3]),
        (TaylorSeer(1), 5, [0, 1, 2, 3, 4]),
        (reuse(3), 8, [0, 3, 6]),
    ],
)
def test_which_steps_compute(cache: TaylorSeer, n: int, computed: list[int]) -> None:
    _, ran = walk(cache, lambda i: torch.ones(1, 1), n)
    assert ran == computed


# ---- predictors


def curve(coefficients: Sequence[float]) -> Callable[[float], float]:
    return lambda s: sum(c * s**k for k, c in enumerate(coefficients))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(-2, 2), min_size=1, max_size=5),
    st.lists(st.integers(1, 4), min_size=5, max_size=9),
    st.integers(1, 5),
)
def test_newton_is_exact_for_polynomials_at_any_spacing(coefficients: list[float], gaps: list[int], ahead: int) -> None:
    f, model = curve(coefficients), Polynomial(len(coefficients) - 1, "newton")
    fit, s = None, 0
    for gap in gaps:
        s += gap
        fit = model.grow(fit, torch.tensor([f(s)], dtype=torch.float64), s)
    assert fit is not None and len(fit.terms) == len(coefficients)
    scale = max(1.0, max(abs(f(s + ahead)), *(abs(f(k)) for k in range(s))))
    assert abs(model.at(fit, s + ahead).item() - f(s + ahead)) < 1e-9 * scale


def test_taylor_divides_every_order_by_the_latest_spacing() -> None:
    # s^2 computed at 0, 1, 3: differences 1 then 4 apart; the second order is (4 - 1) / 2 with the latest gap, 2.
    model, fit = Polynomial(2), None
    for s in (0, 1, 3):
        fit = model.grow(fit, torch.tensor([float(s * s)]), s)
    assert fit is not None
    assert [term.item() for term in fit.terms] == [9, 4, 1.5]
    assert model.at(fit, 5).item() == 9 + 4 * 2 + 1.5 * 2**2 / math.factorial(2)
    # Newton's, on the same values, is the square itself.
    exact = Polynomial(2, "newton")
    fit = None
    for s in (0, 1, 3):
        fit = exact.grow(fit, torch.tensor([float(s * s)]), s)
    assert fit is not None and exact.at(fit, 5).item() == 25


def test_both_bases_are_the_same_line() -> None:
    fits = {}
    for basis in ("taylor", "newton"):
        model = Polynomial(1, basis)
        fit = None
        for s, value in ((0, 2.0), (3, -1.0), (4, 5.0)):
            fit = model.grow(fit, torch.tensor([value]), s)
        assert fit is not None
        fits[basis] = model.at(fit, 6).item()
    assert fits == {"taylor": 17.0, "newton": 17.0}


def test_the_guard_keeps_early_steps_from_forming_slopes() -> None:
    # With three warm-up steps, step 1 leaves its value only: order 2 first exists at the step after the warm-up.
    out, ran = walk(TaylorSeer(3, 2, warmup=3), lambda i: torch.tensor([[float(i * i)]]), 12)
    assert ran == [0, 1, 2, 5, 8, 11]
    # After step 2: F = 4, D_1 = 4 - 1 = 3 and no D_2.
    assert out[3].item() == 4 + 3 and out[4].item() == 4 + 2 * 3
    # diffusers has no guard: at step 2, D_2 = 3 - 1 = 2.
    out, _ = walk(TaylorSeer(3, 2, warmup=3, schedule="diffusers"), lambda i: torch.tensor([[float(i * i)]]), 12)
    assert out[3].item() == 4 + 3 + 2 / 2


def test_true_times_are_exact_where_steps_are_not() -> None:
    times = torch.tensor([1.0, 0.9, 0.85, 0.6, 0.5, 0.1, 0.05, 0.0], dtype=torch.float64)
    rows = torch.stack([times, times**2], dim=1)

    def feature(i: int) -> Tensor:
        return 3 - 2 * rows[i][:, None]

    wanted = torch.stack([feature(i) for i in range(len(times))])
    by_time, ran = walk(TaylorSeer(3, 1, abscissa="time"), feature, len(times), rows)
    by_step, _ = walk(TaylorSeer(3, 1), feature, len(times), rows)
    assert ran == [0, 1, 4, 7]
    # A sample has its own times: both rows are lines in theirs.
    torch.testing.assert_close(by_time[2:], wanted[2:], rtol=1e-9, atol=1e-9)
    assert (by_step - wanted).abs().max() > 0.1


def test_samples_whose_time_stands_still_stay_finite() -> None:
    rows = torch.tensor([[1.0, 0.5], [0.8, 0.5], [0.6, 0.5], [0.4, 0.5]], dtype=torch.float64)
    out, _ = walk(TaylorSeer(3, 1, abscissa="time"), lambda i: rows[i][:, None], 4, rows)
    torch.testing.assert_close(out[:, :, 0], rows)


def test_times_by_cell_are_refused() -> None:
    times = torch.zeros(3, 1, 1, 4)
    with pytest.raises(InputError, match="abscissa: got time"):
        walk(TaylorSeer(3, 1, abscissa="time"), lambda i: torch.ones(1, 1), 3, times)
    with pytest.raises(InputError, match="abscissa: got time"):
        walk(TaylorSeer(3, 1, abscissa="time"), lambda i: torch.ones(1, 1), 3)


def test_a_memory_of_fewer_bits() -> None:
    wide, _ = walk(TaylorSeer(4, 1), lambda i: torch.full((1, 1), 1 + i / 7), 12)
    small, _ = walk(TaylorSeer(4, 1, dtype="bfloat16"), lambda i: torch.full((1, 1), 1 + i / 7), 12)
    assert small.dtype == torch.float32
    assert 1e-4 < (wide - small).abs().max() < 0.03


# ---- input


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"interval": 0}, "interval: got 0; accepted: a whole number, 1 or more"),
        ({"interval": 2.5}, "interval"),
        ({"order": -1}, "order: got -1; accepted: a whole number, 0 or more"),
        ({"warmup": 0}, "warmup"),
        ({"schedule": "diffuser"}, "did you mean 'diffusers'"),
        ({"abscissa": "sigma"}, "abscissa"),
        ({"basis": "newt"}, "did you mean 'newton'"),
        ({"dtype": "int8"}, "dtype"),
        ({"steps": [0, 4, 2]}, "steps: got 0/4/2"),
        ({"steps": [0, 2], "interval": 3}, "one of them"),
        ({"lite": True, "sites": "attn"}, "lite"),
        ({"sites": []}, "sites"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        TaylorSeer(**settings)
