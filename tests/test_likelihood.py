"""Exact log densities along the probability flow, in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from gencore.denoiser import Denoiser
from gencore.noise import Keyed
from gencore.process import GaussianProcess
from gencore.processes.flows import LinearFlow, TrigFlow, VariancePreserving
from gencore.processes.tables import TableProcess
from gencore.samplers.likelihood import log_likelihood
from gencore.testing.analytic import AnalyticBackbone, Mixture
from gencore.testing.orders import SAMPLES

NOISE = Keyed(range(4), dtype=torch.float64)


def expected(data: Mixture, process: GaussianProcess, x: torch.Tensor, start: float, end: float) -> torch.Tensor:
    """log p_start(x) where the standard normal stands in for the marginal at `end`: exact for any path."""
    low, high = (process.coeffs(torch.full((1,) * x.ndim, t, dtype=torch.float64)) for t in (start, end))
    code = data.flow(x, low, high)
    normal = -0.5 * code.square().flatten(1).sum(1) - 0.5 * code[0].numel() * math.log(2 * math.pi)
    return data.log_prob(x, low) + normal - data.log_prob(code, high)


@pytest.mark.parametrize(
    ("process", "kind", "interval"),
    [
        (LinearFlow(), "velocity", (0.0, 1.0)),
        (TrigFlow(), "v", (0.0, 1.0)),
        (LinearFlow(), "epsilon", (0.0, 0.999)),
        (VariancePreserving(), "score", (1e-3, 1.0)),
        (TableProcess.named(), "epsilon", (1e-3, 1.0)),
    ],
    ids=["linear", "trig", "linear-epsilon", "vp", "table"],
)
@pytest.mark.parametrize("data", [Mixture.gaussian(0.5, 0.7, (2, 3)), SAMPLES], ids=["gaussian", "mixture"])
def test_densities_are_exact(process: GaussianProcess, kind, interval: tuple[float, float], data: Mixture) -> None:
    x = data.draw(NOISE)
    found = log_likelihood(Denoiser(AnalyticBackbone(data, process, kind), process, {}), x, NOISE, interval=interval,
                           rtol=1e-7, atol=1e-8)  # fmt: skip
    # A table's path has kinks of 1/T^2, and single cells or independent ones make the probes exact.
    atol = 1e-3 if isinstance(process, TableProcess) else 2e-5
    torch.testing.assert_close(found.log_p, expected(data, process, x, *interval), rtol=0, atol=atol)
    low, high = (process.coeffs(torch.full((1,) * x.ndim, t, dtype=torch.float64)) for t in interval)
    torch.testing.assert_close(found.code, data.flow(x, low, high), rtol=0, atol=atol)


def test_on_a_whole_path_it_is_the_datas_own_density() -> None:
    data, process = Mixture.gaussian(0.5, 0.7, (2, 3)), TrigFlow()
    x = data.draw(NOISE)
    found = log_likelihood(Denoiser(AnalyticBackbone(data, process, "v"), process, {}), x, NOISE, rtol=1e-8, atol=1e-9)
    normal = torch.distributions.Normal(torch.tensor(0.5).double(), torch.tensor(0.7).double())
    torch.testing.assert_close(found.log_p, normal.log_prob(x).flatten(1).sum(1), rtol=0, atol=1e-5)


def test_probes_are_unbiased_where_cells_depend_on_each_other() -> None:
    data = Mixture.of([-1.0, 1.0], [0.6, 0.6], [0.5, 0.5], (1, 4))
    process = LinearFlow()
    x = data.draw(Keyed([3], dtype=torch.float64)).expand(200, -1, -1)
    noise = Keyed(range(200), dtype=torch.float64)
    net = Denoiser(AnalyticBackbone(data, process, "velocity"), process, {})
    found = log_likelihood(net, x, noise, rtol=1e-4, atol=1e-5).log_p
    clean = process.coeffs(torch.zeros(1, 1, 1, dtype=torch.float64))
    error = found.std().item() / 200**0.5
    assert 0 < error < 0.2
    assert abs(found.mean().item() - data.log_prob(x[:1], clean).item()) < 4 * error + 1e-3


def test_a_sample_has_one_density_in_any_batch() -> None:
    data, process = SAMPLES, LinearFlow()
    net = Denoiser(AnalyticBackbone(data, process, "velocity"), process, {})
    x = data.draw(NOISE)
    together = log_likelihood(net, x, NOISE)
    for i in range(4):
        alone = log_likelihood(net, x[i : i + 1], Keyed([i], dtype=torch.float64))
        torch.testing.assert_close(alone.log_p[0], together.log_p[i], rtol=0, atol=1e-10)
