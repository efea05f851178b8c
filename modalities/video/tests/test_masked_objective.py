"""Training with given cells: what the network is shown, which cells count, and by how much."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from gencore import components, plugins
from gencore.backbone import Backbone, Output
from gencore.denoised import Prediction
from gencore.errors import InputError
from gencore.nn.init import seeded
from gencore.noise import Keyed
from gencore.objective import Batch, Objective
from gencore.objectives.denoising import Denoising
from gencore.objectives.flow import FlowMatching
from gencore.objectives.known_region import KnownRegion
from gencore.objectives.region import Region
from gencore.processes.flows import LinearFlow
from gencore.processes.tables import TableProcess
from gencore_video.backbone import VDT
from gencore_video.masks.complete import Complete
from gencore_video.masks.frames import Predict, Unconditional
from gencore_video.masks.tasks import video_tasks

FLOW, TABLE = LinearFlow(), TableProcess.named("linear", 1000)
LEARNED = Prediction("epsilon", "learned_range")
SIZE = (6, 4, 4)
X0 = Keyed(range(40, 44)).draw("normal", ("x0",), (2, *SIZE))
NOISE = Keyed(range(4))


def columns(keep: int) -> Callable[[Any, Random], Tensor]:
    """A kind that generates the first `keep` columns."""
    return lambda size, rng: (torch.arange(size[2]) < keep).reshape(1, 1, -1)


class Answer(Backbone):
    """A network that answers with what `fn(shown, t)` says, and keeps what it was shown."""

    ports, time_axes = {}, ("t",)

    def __init__(self, prediction: Prediction, fn: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.prediction, self.fn = prediction, fn
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.shown: list[Tensor] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Any, ctx: Any) -> Output:
        self.shown.append(x_t)
        return Output(self.fn(x_t, t) + self.weight)

    def config(self) -> dict[str, Any]:
        return {}


def zero(channels: int) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, t: torch.zeros(len(x), channels, *x.shape[2:])


def loss(objective: Objective, net: Backbone, x0: Tensor = X0, valid: Tensor | None = None, noise: Any = NOISE) -> Any:
    return objective.loss("main", {"model": net}, Batch(x0, valid=valid), noise)


# ---- what the network is shown


@pytest.mark.parametrize("base", [FlowMatching(FLOW), Denoising(TABLE)], ids=["flow", "denoising"])
def test_given_cells_are_shown_clean_and_the_others_at_the_samples_time(base: Any) -> None:
    net = Answer(Prediction("velocity") if isinstance(base, FlowMatching) else LEARNED,
                 zero(2 if isinstance(base, FlowMatching) else 4))  # fmt: skip
    loss(base, net)
    loss(KnownRegion(base, Predict(2)), net)
    whole, masked = net.shown
    assert torch.equal(masked[:, :, :2], X0[:, :, :2])
    assert torch.equal(masked[:, :, 2:], whole[:, :, 2:])
    assert not torch.equal(whole[:, :, :2], X0[:, :, :2])


def test_samples_of_a_batch_have_tasks_of_their_own() -> None:
    net = Answer(Prediction("velocity"), zero(2))
    x0 = X0.repeat(8, 1, 1, 1, 1)
    loss(KnownRegion(FlowMatching(FLOW), Predict((1, -1))), net, x0, noise=Keyed(range(32)))
    clean = (net.shown[0] == x0).flatten(3).all(3).all(1)
    lengths = clean.sum(1)
    assert set(lengths.tolist()) == {1, 2, 3, 4, 5}
    assert all(row[:n].all() and not row[n:].any() for row, n in zip(clean, lengths, strict=True))


# ---- which cells count


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_errors_in_given_cells_cost_nothing(keep: int) -> None:
    eps = NOISE.draw("normal", ("eps",), (2, *SIZE))

    def exact(x: Tensor, t: Tensor) -> Tensor:
        right = eps - X0
        wrong = right + 100 * (torch.arange(4) >= keep)
        return wrong

    net = Answer(Prediction("velocity"), exact)
    assert loss(KnownRegion(FlowMatching(FLOW), columns(keep)), net).total.item() < 1e-10
    assert (loss(FlowMatching(FLOW), net).total.item() > 1000) == (keep < 4)


@pytest.mark.parametrize("bound", [True, False])
def test_the_bound_counts_given_cells_only_where_asked(bound: bool) -> None:
    # Published: the variational term scores given cells too.
    def variance(size: float) -> Callable[[Tensor, Tensor], Tensor]:
        given = size * (torch.arange(4) >= 2).expand(4, 2, *SIZE)
        return lambda x, t: torch.cat([torch.zeros(4, 2, *SIZE), given], dim=1)

    objective = KnownRegion(Denoising(TABLE), columns(2), bound=bound)
    terms = [loss(objective, Answer(LEARNED, variance(size))).parts for size in (0.0, 1.0)]
    assert torch.equal(terms[0]["mse"], terms[1]["mse"])
    assert torch.equal(terms[0]["vb"], terms[1]["vb"]) == bound


def test_the_bound_of_generated_cells_is_that_of_a_smaller_clip() -> None:
    """Nothing but the cells that count enters: cutting the others off leaves every term as it is."""
    x0, eps = X0[:1], NOISE.draw("normal", ("eps",), (2, *SIZE))[:1]
    out = Keyed([9]).draw("normal", ("out",), (4, *SIZE))
    masked = KnownRegion(Denoising(TABLE), columns(3))

    class Cut(Keyed):
        def draw(self, kind: Any, key: Any, shape: Any) -> Tensor:
            return eps[..., : shape[-1]] if key == ("eps",) else super().draw(kind, key, shape)

    for seed in (1, 2, 3):
        whole = loss(masked, Answer(LEARNED, lambda x, t: out), x0, noise=Cut([seed])).parts
        cut = loss(Denoising(TABLE), Answer(LEARNED, lambda x, t: out[..., :3]), x0[..., :3], noise=Cut([seed])).parts
        for name in ("mse", "vb", "loss"):
            torch.testing.assert_close(whole[name], cut[name])


def test_gradients_reach_generated_cells_only() -> None:
    out = torch.zeros(4, 4, *SIZE, requires_grad=True)
    net = Answer(LEARNED, lambda x, t: out)
    loss(KnownRegion(Denoising(TABLE), columns(2)), net).total.backward()
    assert out.grad is not None
    assert not out.grad[..., 2:].any() and out.grad[:, :2, :, :, :2].all() and out.grad[:, 2:, :, :, :2].all()


def test_padding_never_counts() -> None:
    valid = torch.ones(4, *SIZE, dtype=torch.bool)
    valid[:, :, 2:] = False
    x0 = X0.clone()
    x0[:, :, :, 2:] = 1e4
    net = Answer(Prediction("velocity"), zero(2))
    objective = KnownRegion(FlowMatching(FLOW), Predict(3))
    padded = loss(objective, net, x0, valid).total
    eps = NOISE.draw("normal", ("eps",), (2, *SIZE))
    torch.testing.assert_close(padded, (eps - x0)[:, :, 3:, :2].square().mean())


# ---- by how much


@pytest.mark.parametrize("keep", [1, 3, 4])
def test_a_small_mask_weighs_as_much_as_a_large_one(keep: int) -> None:
    # Published: the error is divided by all elements, so that half a mask is half a loss.
    net, x0 = Answer(Prediction("velocity"), zero(2)), torch.full((64, 2, *SIZE), 3.0)
    noise = Keyed(range(64))
    eps = noise.draw("normal", ("eps",), (2, *SIZE))
    expected = (eps - x0)[..., :keep].square().mean()
    mean = loss(KnownRegion(FlowMatching(FLOW), columns(keep)), net, x0, noise=noise).total
    torch.testing.assert_close(mean, expected)
    assert abs(mean.item() - 10) < 0.5
    published = loss(KnownRegion(FlowMatching(FLOW), columns(keep), reduction="reference"), net, x0, noise=noise).total
    torch.testing.assert_close(published, expected * keep / 4)


def test_everything_generated_is_the_base_objective() -> None:
    for base, net in ((FlowMatching(FLOW), Answer(Prediction("velocity"), zero(2))),
                      (Denoising(TABLE), Answer(LEARNED, zero(4)))):  # fmt: skip
        for reduction in ("masked_mean", "reference"):
            masked = loss(KnownRegion(base, Unconditional(), reduction=reduction), net)  # type: ignore[arg-type]
            torch.testing.assert_close(masked.total, loss(base, net).total)


@pytest.mark.parametrize("variance", ["learned_range", "fixed_large"])
@pytest.mark.parametrize("kind", ["mse", "rescaled_mse", "kl", "rescaled_kl"])
def test_every_loss_of_the_base_can_be_masked(variance: Any, kind: Any) -> None:
    base = Denoising(TABLE, variance=variance, loss=kind)
    net = Answer(Prediction("epsilon", "learned_range" if variance == "learned_range" else None),
                 zero(4 if variance == "learned_range" else 2))  # fmt: skip
    masked = loss(KnownRegion(base, columns(1)), net)
    assert masked.total.isfinite() and masked.total != loss(base, net).total


def test_a_samples_loss_does_not_depend_on_its_batch() -> None:
    with seeded(0):
        net = VDT(2, 2, width=24, depth=1, heads=2, prediction=Prediction("velocity"))
    for p in net.parameters():
        if not p.any():
            p.data = 0.1 * torch.ones_like(p)
    objective = KnownRegion(FlowMatching(FLOW), video_tasks())
    with torch.no_grad():
        together = loss(objective, net).total
        alone = [loss(objective, net, X0[i : i + 1], noise=Keyed([i])).total for i in range(4)]
    torch.testing.assert_close(torch.stack(alone).mean(), together, rtol=1e-5, atol=1e-6)


def test_a_region_of_nothing_is_finite() -> None:
    none = torch.zeros(1, 1, 1, dtype=torch.bool)
    assert Region(none).mean(torch.full((2, 3, 4), torch.inf)).tolist() == [0, 0]


# ---- written down


@pytest.mark.parametrize(
    "objective",
    [
        KnownRegion(FlowMatching(FLOW, times="logit_normal", mean=0.3), video_tasks()),
        KnownRegion(Denoising(TABLE, loss="rescaled_mse"), Complete(0.4), reduction="reference", bound=False),
    ],
    ids=["flow", "denoising"],
)
def test_a_configuration_builds_an_equal_objective(objective: KnownRegion) -> None:
    config = json.loads(json.dumps(components.describe("objective", objective)))
    name = config.pop("type")
    process: Any = objective.base.process  # type: ignore[attr-defined]
    again = plugins.resolve("objective", name).from_config(config, process)
    assert components.describe("objective", again) == {"type": name, **config}
    net = Answer(LEARNED, zero(4)) if process is TABLE else Answer(Prediction("velocity"), zero(2))
    assert torch.equal(loss(objective, net).total, loss(again, net).total)


def test_what_cannot_be_confined_is_refused() -> None:
    class Whole(Objective):
        def loss(self, *args: Any) -> Any: ...

        def config(self) -> dict[str, Any]:
            return {}

    with pytest.raises(InputError, match="Whole"):
        KnownRegion(Whole(), Predict())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="masked_mean"):
        KnownRegion(FlowMatching(FLOW), Predict(), reduction="mean")  # type: ignore[arg-type]
