"""Guidance through the real denoiser, against the linear combination it stands for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gencore.backbone import Backbone, Output
from gencore.condition import Condition, Conditions, Port
from gencore.context import Context, StepInfo
from gencore.denoised import Prediction
from gencore.denoiser import Denoiser, NotFinite
from gencore.errors import InputError
from gencore.guidance import COND, UNCOND, Branch, ClassifierFree, Guidance
from gencore.processes.flows import LinearFlow
from gencore.spec import broadcast_time


class Affine(Backbone):
    """value = x + label in the first channels, -label in the variance channels; counts its calls and their rows."""

    def __init__(self, null: Tensor | None = torch.tensor(0.0)) -> None:
        super().__init__()
        self.prediction = Prediction("velocity", "learned_range")
        self.ports = {"label": Port("modulation", 1, null)}
        self.rows: list[int] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
        label = cond["label"].value.reshape(-1, 1, 1)
        self.rows.append(len(x_t))
        assert torch.broadcast_shapes(broadcast_time(t, x_t).shape, x_t.shape) == x_t.shape
        first = x_t + label
        return Output(torch.cat([first, -label.expand_as(x_t)], dim=1))

    def config(self) -> dict[str, Any]:
        return {}


X = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(2, 2, 3)
T = torch.tensor([0.5, 0.5], dtype=torch.float64)
LABEL = {"label": Condition(torch.tensor([2.0, 3.0], dtype=torch.float64))}
L = LABEL["label"].value.reshape(-1, 1, 1)


def denoise(guidance: Guidance | None, net: Affine | None = None, t: Tensor = T) -> tuple[Tensor, Tensor, list[int]]:
    net = net or Affine()
    d = Denoiser(net, LinearFlow(), LABEL, guidance=guidance)(X, t)
    assert d.extra is not None
    return d.value, d.extra, net.rows


@pytest.mark.parametrize("scale", [-0.5, 0.0, 0.3, 2.0, 7.5])
def test_the_guided_output_is_u_plus_s_times_c_minus_u(scale: float) -> None:
    value, extra, _ = denoise(ClassifierFree(scale))
    torch.testing.assert_close(value, X + scale * L)
    # Variance channels are never guided; at scale 0 the only call is the unconditional one.
    torch.testing.assert_close(extra, (-L if scale else 0 * L).expand_as(X))


def test_scale_one_is_one_conditional_call_bit_for_bit_and_zero_one_unconditional() -> None:
    plain, guided, without = denoise(None), denoise(ClassifierFree(1.0)), denoise(ClassifierFree(0.0))
    assert torch.equal(plain[0], guided[0]) and torch.equal(plain[1], guided[1])
    assert plain[2] == guided[2] == without[2] == [2]
    assert torch.equal(without[0], X)


def test_both_branches_share_one_call() -> None:
    assert denoise(ClassifierFree(3.0))[2] == [4]


def test_guiding_some_channels_leaves_the_others_conditional() -> None:
    value, extra, rows = denoise(ClassifierFree(4.0, channels=2))
    torch.testing.assert_close(value, X + 4 * L)
    torch.testing.assert_close(extra, (-L).expand_as(X))
    value, extra, rows = denoise(ClassifierFree(0.0, channels=1))
    torch.testing.assert_close(value[:, :1], X[:, :1])
    torch.testing.assert_close(value[:, 1:], (X + L)[:, 1:])
    assert rows == [4]


def test_outside_its_interval_guidance_is_one_conditional_call() -> None:
    inside, outside = ClassifierFree(3.0, interval=(0.4, 0.6)), ClassifierFree(3.0, interval=(0.6, 0.9))
    assert denoise(inside)[2] == [4] and denoise(outside)[2] == [2]
    torch.testing.assert_close(denoise(outside)[0], X + L)
    # Two samples at two times: each is guided as it would be alone.
    value, _, _ = denoise(inside, t=torch.tensor([0.5, 0.7], dtype=torch.float64))
    torch.testing.assert_close(value, torch.cat([(X + 3 * L)[:1], (X + L)[1:]]))
    value, _, _ = denoise(ClassifierFree(0.0, interval=(0.4, 0.6)), t=torch.tensor([0.5, 0.7], dtype=torch.float64))
    torch.testing.assert_close(value, torch.cat([X[:1], (X + L)[1:]]))
    for bad in ((0.6, 0.4), (-0.1, 0.5), (0.5, 1.5)):
        with pytest.raises(InputError, match="guidance interval"):
            ClassifierFree(2.0, interval=bad)


def test_a_network_without_a_null_cannot_be_guided() -> None:
    with pytest.raises(InputError, match=r"condition 'label': .*use guidance 1"):
        denoise(ClassifierFree(2.0), Affine(null=None))
    assert torch.equal(denoise(ClassifierFree(1.0), Affine(null=None))[0], X + L)


def test_several_terms_and_a_negative_prompt_are_one_combine() -> None:
    class Two(Guidance):
        def branches(self, t: Tensor, info: StepInfo) -> tuple[Branch, ...]:
            return COND, UNCOND, Branch("weak", (), frozenset({1}))

        def combine(self, predictions: Any, t: Tensor, info: StepInfo) -> Tensor:
            return predictions["cond"] + 2 * (predictions["cond"] - predictions["uncond"]) + 0 * predictions["weak"]

        def config(self) -> dict[str, Any]:
            return {}

    value, _, rows = denoise(Two())
    torch.testing.assert_close(value, X + 3 * L)
    # A branch that leaves blocks out cannot share its call with the others.
    assert rows == [4, 2]


def test_a_finer_time_reaches_every_branch() -> None:
    shared = torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64).reshape(1, 1, 3)
    for t in (shared, shared.repeat(2, 1, 1)):
        value, _, rows = denoise(ClassifierFree(2.0), t=t)
        torch.testing.assert_close(value, X + 2 * L)
        assert rows == [4]


def test_nothing_that_is_not_finite_reaches_a_sampler() -> None:
    net = Affine()
    with pytest.raises(NotFinite, match="not finite at step 4 k2; check the weights"):
        Denoiser(net, LinearFlow(), LABEL)(X * float("inf"), T, StepInfo(4, 9, "k2"))


def test_config_builds_an_equal_one() -> None:
    guidance = ClassifierFree(2.5, channels=3, interval=(0.1, 0.8))
    assert ClassifierFree(**guidance.config()).config() == guidance.config()
