"""What training minimises: optima in closed form, where gradients go, and how often each time is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gencore.backbone import Backbone, Output
from gencore.condition import Conditions
from gencore.context import Context
from gencore.denoised import Denoised, Prediction, PredictionKind
from gencore.errors import InputError
from gencore.noise import Keyed
from gencore.objective import Batch
from gencore.objectives.denoising import Denoising, denoising_loss
from gencore.objectives.flow import FlowMatching, diffusion_scale, flow_loss
from gencore.objectives.times import density
from gencore.objectives.variational import discretised_log_likelihood, gaussian_kl, variational_term
from gencore.process import GaussianProcess
from gencore.processes.flows import LinearFlow, TrigFlow, VariancePreserving
from gencore.processes.posterior import posterior
from gencore.processes.tables import TableProcess
from gencore.testing.analytic import AnalyticBackbone, Mixture

DATA = Mixture.of([-1.0, 1.5], [0.5, 0.4], [0.4, 0.6], (1, 2))
N = 4000
NOISE = Keyed(range(N), dtype=torch.float64)


class Off(Backbone):
    """The exact network plus a constant error."""

    def __init__(self, exact: AnalyticBackbone, by: float) -> None:
        super().__init__()
        self.exact, self.by, self.prediction, self.ports = exact, by, exact.prediction, {}

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
        return Output(self.exact(x_t, t, cond, ctx).pred + self.by)

    def config(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("process", [LinearFlow(), TrigFlow()], ids=["linear", "trig"])
def test_the_velocity_loss_is_least_at_the_exact_velocity(process: GaussianProcess) -> None:
    """E|v_hat - target|^2 = E Var + bias^2, so a constant error e adds e^2 and never less."""
    x0 = DATA.draw(NOISE)
    objective, exact = FlowMatching(process), AnalyticBackbone(DATA, process, "velocity")
    at = {
        by: objective.loss("main", {"model": Off(exact, by)}, Batch(x0), NOISE).total.item() for by in (-0.2, 0.0, 0.2)
    }
    for by in (-0.2, 0.2):
        # The cross term 2 e E(v_hat - target) is zero up to the standard error of that mean.
        assert at[by] - at[0.0] == pytest.approx(0.04, abs=4 * 0.4 * (at[0.0] / N) ** 0.5)
    assert at[0.0] > 0.05


def test_the_target_is_the_pathwise_velocity_of_data_and_noise() -> None:
    x0, eps = torch.randn(2, 5, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.rand(5, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for process in (LinearFlow(), TrigFlow(), VariancePreserving()):
        h = 1e-6
        slope = (process.corrupt(x0, t + h, eps) - process.corrupt(x0, t - h, eps)) / (2 * h)
        d = Denoised("velocity", slope, process.corrupt(x0, t, eps), process.coeffs(t))
        assert flow_loss(d, x0, eps).max() < 1e-9
        # The loss knows the data: other data at the same noisy state are another target.
        shifted = process.coeffs(t).d_alpha.flatten() ** 2
        torch.testing.assert_close(flow_loss(d, x0 + 1, eps), shifted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["epsilon", "score"])
def test_weights_turn_losses_of_other_kinds_into_velocity_and_likelihood_ones(kind: PredictionKind) -> None:
    """The same error of the network weighs (lambda/sigma)^2 as a velocity, whatever is predicted."""
    process, g = TrigFlow(), torch.Generator().manual_seed(0)
    x0, eps, wrong = torch.randn(3, 6, 1, 3, dtype=torch.float64, generator=g)
    t = torch.linspace(0.1, 0.9, 6, dtype=torch.float64).reshape(6, 1, 1)
    c = process.coeffs(t)
    x = process.corrupt(x0, t, eps)
    value = wrong if kind == "epsilon" else -wrong / c.sigma
    d = Denoised(kind, value, x, c)
    as_velocity = flow_loss(Denoised("velocity", d.velocity, x, c), x0, eps)
    torch.testing.assert_close(flow_loss(d, x0, eps, "velocity"), as_velocity, rtol=1e-9, atol=0)
    plain = flow_loss(d, x0, eps)
    torch.testing.assert_close(plain, ((wrong - eps) ** 2).flatten(1).mean(1))
    lam = diffusion_scale(c).flatten()
    torch.testing.assert_close(flow_loss(d, x0, eps, "likelihood"), plain * lam / c.sigma.flatten() ** 2)
    # lambda = sigma sigma' - (alpha'/alpha) sigma^2 is pi/2 tan(pi t / 2) on this path.
    torch.testing.assert_close(lam, math.pi / 2 * torch.tan(math.pi / 2 * t).flatten())


def test_what_has_no_loss_is_refused() -> None:
    z, c = torch.zeros(1, 1), LinearFlow().coeffs(torch.full((1, 1), 0.5))
    with pytest.raises(InputError, match="weight: got likelihood"):
        flow_loss(Denoised("velocity", z, z, c), z, z, "likelihood")
    with pytest.raises(InputError, match="prediction: got v;"):
        flow_loss(Denoised("v", z, z, c), z, z)
    with pytest.raises(InputError, match="prediction: got velocity"):
        denoising_loss(TableProcess.named(), z, z, torch.zeros(1, dtype=torch.long), Denoised("velocity", z, z, c))
    with pytest.raises(InputError, match=r"density: got 'logitnormal'.*did you mean 'logit_normal'"):
        density("logitnormal")


# ---- the variational bound


def test_the_bound_trains_the_variance_and_never_the_mean() -> None:
    process, level = TableProcess.named(respacing="20"), torch.tensor([0, 3, 19])
    g = torch.Generator().manual_seed(0)
    x0, eps, raw, share = torch.randn(4, 3, 1, 4, dtype=torch.float64, generator=g)
    x0, raw, share = x0.clamp(-1, 1), raw.requires_grad_(), share.tanh().requires_grad_()
    t = process.at(level).reshape(3, 1, 1)
    d = Denoised("epsilon", raw, process.corrupt(x0, t, eps), process.coeffs(t), share)
    terms = denoising_loss(process, x0, eps, level, d)
    on_mean, on_variance = torch.autograd.grad(terms["vb"].sum(), (raw, share), allow_unused=True, retain_graph=True)
    assert on_mean is None and on_variance is not None and (on_variance != 0).any()
    on_mean, on_variance = torch.autograd.grad(terms["mse"].sum(), (raw, share), allow_unused=True)
    torch.testing.assert_close(on_mean, 2 * (raw - eps) / 4)
    assert on_variance is None
    torch.testing.assert_close(terms["loss"], terms["mse"] + terms["vb"])
    # Alone, the bound trains both.
    whole = denoising_loss(process, x0, eps, level, d, loss="kl")["loss"].sum()
    assert torch.autograd.grad(whole, raw)[0].abs().min() > 0
    scaled = denoising_loss(process, x0, eps, level, d, loss="rescaled_mse")
    torch.testing.assert_close(scaled["vb"], terms["vb"] * 20 / 1000)


def test_an_exact_prediction_with_the_true_variance_costs_nothing() -> None:
    process, level = TableProcess.named(respacing="20"), torch.tensor([1, 7, 19])
    x0, eps = torch.randn(2, 3, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = process.at(level).reshape(3, 1, 1)
    d = Denoised("x0", x0, process.corrupt(x0, t, eps), process.coeffs(t))
    torch.testing.assert_close(variational_term(process, x0, level, d, "fixed_small"), torch.zeros(3).double())
    # A mean off by e costs on_x0^2 e^2 / (2 variance) nats, from the formula of the KL.
    off = Denoised("x0", x0 + 0.1, d.x_t, d.coeffs)
    p = posterior(process.coeffs(t), process.coeffs(process.at(level - 1).reshape(3, 1, 1)))
    nats = (p.on_x0**2 * 0.01 / (2 * p.variance)).flatten()
    torch.testing.assert_close(variational_term(process, x0, level, off, "fixed_small"), nats / math.log(2))


def test_the_kl_is_that_of_two_normals() -> None:
    m1, v1, m2, v2 = (torch.tensor(v, dtype=torch.float64) for v in (0.3, -0.4, -0.2, 0.5))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(m1, (v1 / 2).exp()), normal(m2, (v2 / 2).exp()))
    torch.testing.assert_close(gaussian_kl(m1, v1, m2, v2), expected)


def test_the_256_levels_share_all_the_probability() -> None:
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    for mean, std in ((0.2, 0.3), (-0.9, 0.5), (0.0, 0.02)):
        logvar = torch.full_like(levels, 2 * math.log(std))
        p = discretised_log_likelihood(levels, torch.full_like(levels, mean), logvar).exp()
        assert p.sum().item() == pytest.approx(1, abs=1e-9)
        exact = torch.distributions.Normal(mean, std)
        inner = exact.cdf(levels + 1 / 255) - exact.cdf(levels - 1 / 255)
        # The tanh formula is a few 1e-4 off the error function.
        torch.testing.assert_close(p[1:-1], inner[1:-1], rtol=0, atol=5e-4)


def test_levels_are_drawn_evenly_and_the_loss_is_that_of_its_terms() -> None:
    process = TableProcess.named(respacing="10")
    seen: list[Tensor] = []

    class Spy(Off):
        def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
            seen.append(t)
            return super().forward(x_t, t, cond, ctx)

    net = Spy(AnalyticBackbone(DATA, process, "epsilon", variance=0.0), 0.0)
    loss = Denoising(process).loss("main", {"model": net}, Batch(DATA.draw(NOISE)), NOISE)
    counts = torch.bincount(torch.searchsorted(process.levels.double(), seen[0]), minlength=10)
    assert len(counts) == 10 and (counts - N / 10).abs().max() < 4 * (N * 0.09) ** 0.5
    torch.testing.assert_close(loss.total, loss.parts["mse"] + loss.parts["vb"])
    again = Denoising(process).loss("main", {"model": net}, Batch(DATA.draw(NOISE)), NOISE)
    assert torch.equal(again.total, loss.total)


def test_gradients_reach_the_network_through_either_objective() -> None:
    class Line(Backbone):
        def __init__(self, kind: PredictionKind) -> None:
            super().__init__()
            self.prediction, self.ports = Prediction(kind), {}
            self.weight = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

        def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
            return Output(self.weight * x_t)

        def config(self) -> dict[str, Any]:
            return {}

    x0 = DATA.draw(Keyed(range(8), dtype=torch.float64))
    table = TableProcess.named()
    for objective, kind in (
        (FlowMatching(LinearFlow()), "velocity"),
        (Denoising(table, variance="fixed_small"), "epsilon"),
    ):
        net = Line(kind)
        for step in range(2):
            loss = objective.loss(
                "main", {"model": net}, Batch(x0), Keyed(range(8), prefix=("s",), dtype=torch.float64)
            )
            (g,) = torch.autograd.grad(loss.total, net.weight)
            if step == 0:
                first, net.weight.data = loss.total.item(), net.weight.data - 0.1 * g
        assert loss.total.item() < first
        assert all(not part.requires_grad for part in loss.parts.values())


# ---- densities of time


def logit(t: Tensor) -> Tensor:
    return (t / (1 - t)).log()


def mode_cdf(scale: float) -> Callable[[Tensor], Tensor]:
    """F(t) = 1 - u where t = f(u) falls monotonically; solved by bisection."""

    def cdf(t: Tensor) -> Tensor:
        low, high = torch.zeros_like(t), torch.ones_like(t)
        for _ in range(60):
            u = (low + high) / 2
            f = 1 - u - scale * (torch.cos(math.pi / 2 * u) ** 2 - 1 + u)
            low, high = torch.where(f > t, u, low), torch.where(f > t, high, u)
        return 1 - low

    return cdf


@pytest.mark.parametrize(
    ("name", "arguments", "cdf"),
    [
        ("uniform", {}, lambda t: t),
        ("uniform", {"low": 0.2, "high": 0.7}, lambda t: ((t - 0.2) / 0.5).clamp(0, 1)),
        ("logit_normal", {}, lambda t: torch.special.ndtr(logit(t))),
        ("logit_normal", {"mean": -0.8, "std": 1.7}, lambda t: torch.special.ndtr((logit(t) + 0.8) / 1.7)),
        ("mode", {"scale": 0.0}, lambda t: t),
        ("mode", {"scale": 1.29}, mode_cdf(1.29)),
        # u = 2/pi arctan(1/(1-t) - 1)
        ("cosmap", {}, lambda t: 2 / math.pi * torch.atan(t / (1 - t))),
    ],
    ids=lambda v: str(v) if isinstance(v, str | dict) else "",
)
def test_times_follow_their_density(name: str, arguments: dict[str, float], cdf: Callable[[Tensor], Tensor]) -> None:
    t = density(name, **arguments)(NOISE)
    assert t.shape == (N,) and t.dtype == torch.float64 and (t > 0).all() and (t < 1).all()
    edges = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    found = (t[:, None] <= edges).double().mean(0)
    expected = cdf(edges)
    # Four standard errors of a binomial share at every edge.
    assert ((found - expected).abs() <= 4 * (expected * (1 - expected) / N).sqrt() + 1e-12).all()
    assert torch.equal(density(name, **arguments)(Keyed(range(5), dtype=torch.float64)), t[:5])
