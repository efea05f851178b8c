"""One contract for five kinds of prediction: all 25 conversions against the table they come from."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gencore.denoised import Denoised, Prediction, PredictionKind
from gencore.errors import InputError
from gencore.process import Coeffs, GaussianProcess
from gencore.processes.flows import LinearFlow, TrigFlow, VariancePreserving
from gencore.processes.tables import TableProcess
from gencore.spec import broadcast_time

KINDS = get_args(PredictionKind)
PROCESSES = [LinearFlow(), TrigFlow(), VariancePreserving(), TableProcess.named(), TableProcess.named(final="first")]
processes = st.sampled_from(PROCESSES)


def value(kind: str, x0: Tensor, eps: Tensor, c: Coeffs) -> Tensor:
    """What a perfect network of this kind returns, straight from each definition."""
    match kind:
        case "epsilon":
            return eps
        case "x0":
            return x0
        case "v":
            return c.alpha * eps - c.sigma * x0
        case "velocity":
            return c.d_alpha * x0 + c.d_sigma * eps
    return -eps / c.sigma


@settings(deadline=None, max_examples=60)
@given(processes, st.floats(0.05, 0.95), st.integers(0, 99))
def test_every_kind_reads_as_every_other(process: GaussianProcess, t: float, seed: int) -> None:
    x0, eps = torch.randn(2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    c = process.coeffs(torch.tensor([[t], [1 - t]], dtype=torch.float64))
    x = c.alpha * x0 + c.sigma * eps
    for kind in KINDS:
        d = Denoised(kind, value(kind, x0, eps, c), x, c)
        assert d.read(kind) is d.value
        for other in KINDS:
            torch.testing.assert_close(d.read(other), value(other, x0, eps, c), rtol=1e-9, atol=1e-9)
        assert torch.equal(d.velocity, d.read("velocity")) and torch.equal(d.score, d.read("score"))


@pytest.mark.parametrize("process", PROCESSES[:4], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_finite_at_both_ends(process: GaussianProcess, dtype: torch.dtype) -> None:
    t = torch.tensor([0.0, 0.0, 0.5, 1.0], dtype=torch.float64)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    for kind in KINDS:
        for other in KINDS:
            raw, state = torch.full_like(x, 0.5).requires_grad_(True), x.clone().requires_grad_(True)
            got = Denoised(kind, raw, state, process.coeffs(broadcast_time(t, x))).read(other)
            assert got.dtype == dtype and got.isfinite().all(), (kind, other)
            got.sum().backward()
            assert raw.grad is not None and raw.grad.isfinite().all(), (kind, other)
            assert state.grad is None or state.grad.isfinite().all(), (kind, other)


def test_no_information_is_lost_where_it_exists() -> None:
    """At t = 1 a velocity or v still tells x_0 on paths whose alpha vanishes; at t = 0 an x_0 stays itself."""
    x0, eps = torch.randn(2, 1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for process in (LinearFlow(), TrigFlow()):
        c = process.coeffs(torch.ones(1, 1, dtype=torch.float64))
        for kind in ("velocity", "v", "x0"):
            d = Denoised(kind, value(kind, x0, eps, c), eps * c.sigma + c.alpha * x0, c)
            torch.testing.assert_close(d.x0, x0, rtol=0, atol=1e-12)
            torch.testing.assert_close(d.epsilon, eps, rtol=0, atol=1e-12)


def test_clamping_x0_rederives_epsilon() -> None:
    c = LinearFlow().coeffs(torch.full((1, 1), 0.25, dtype=torch.float64))
    x = torch.tensor([[2.0]], dtype=torch.float64)
    d = Denoised("epsilon", torch.tensor([[-1.0]], dtype=torch.float64), x, c).clamp_x0(-1, 1)
    assert d.x0.item() == 1 and d.epsilon.item() == pytest.approx((2 - 0.75) / 0.25)


def test_a_prediction_splits_its_channels_and_turns_reversed_velocities() -> None:
    x, out = torch.zeros(2, 3, 4), torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    process, t = LinearFlow(), torch.full((2,), 0.5, dtype=torch.float64)
    d = Prediction("epsilon", "learned_range").read(out, x, process, t)
    assert torch.equal(d.value, out[:, :3]) and d.extra is not None and torch.equal(d.extra, out[:, 3:])
    assert Prediction("epsilon", "drop").read(out, x, process, t).extra is None
    assert torch.equal(Prediction("velocity", reverse=True).read(out[:, :3], x, process, t).value, -out[:, :3])
    assert Prediction("x0", "drop").channels == 2
    assert Prediction(**Prediction("v", "drop").config()) == Prediction("v", "drop")
    with pytest.raises(InputError, match="did you mean 'epsilon'"):
        Prediction("epsilonn")  # type: ignore[arg-type]
