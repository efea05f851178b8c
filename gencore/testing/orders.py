"""Samplers against closed forms: the order of convergence, and what every sampler must keep whatever its method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gencore.denoised import PredictionKind
from gencore.denoiser import Denoiser
from gencore.known import MODES, Known
from gencore.noise import Keyed, Noise
from gencore.process import GaussianProcess
from gencore.processes.flows import LinearFlow, TrigFlow
from gencore.run import Step, stream
from gencore.sampler import Sampler
from gencore.schedules import uniform
from gencore.spec import LatentSpec
from gencore.testing import laws
from gencore.testing.analytic import AnalyticBackbone, Mixture
from gencore.testing.failures import CheckFailed

SAMPLES = Mixture.of([-1.0, 1.5], [0.5, 0.4], [0.4, 0.6])
"""A mixture of one cell, lopsided so that no error cancels by symmetry."""


class Silent:
    """Noise of which only the initial draw may be asked: what a deterministic sampler gets."""

    def __init__(self, noise: Noise) -> None:
        self._noise = noise

    @property
    def count(self) -> int:
        return self._noise.count

    def draw(self, kind: Any, key: tuple[str | int, ...], shape: tuple[int, ...]) -> Tensor:
        if key != ("init",):
            raise CheckFailed(f"draws {kind} noise for {key} but declares draws = None")
        return self._noise.draw(kind, key, shape)


def walk(sampler: Sampler, process: GaussianProcess, data: Mixture, noise: Noise, *, times: Tensor,
         x: Tensor | None = None, kind: PredictionKind = "x0", variance: float | None = None,
         **options: Any) -> Iterator[Step]:  # fmt: skip
    """Sample `data` with its exact network in float64, step by step.

    Args:
        x: (B, *shape) start in place of the initial draw.
        options: of `gencore.run.stream`.
    """
    denoise = Denoiser(AnalyticBackbone(data, process, kind, variance=variance), process, {})
    axes = "b " + " ".join(f"a{i}" for i in range(len(data.shape)))
    spec = LatentSpec(axes, data.shape, time_axes=tuple(axes.split()[2:]))
    if x is not None:
        options["state"] = sampler.init(x, times, process)
    return stream(denoise, sampler, spec, times, noise, dtype=torch.float64, **options)


def solve(sampler: Sampler, process: GaussianProcess, data: Mixture, noise: Noise, **options: Any) -> Tensor:
    """The last state of `walk`, (B, *shape)."""
    *_, last = walk(sampler, process, data, noise, **options)
    return last.x


def errors(sampler: Sampler, process: GaussianProcess, data: Mixture = SAMPLES, *,
           steps: Sequence[int] = (16, 32, 64), span: tuple[float, float] = (0.9, 0.1), batch: int = 32,
           kind: PredictionKind = "x0") -> list[float]:  # fmt: skip
    """Root mean square distance to the exact solution of the probability-flow ODE, for each number of steps.

    Args:
        span: (from, to) times; at neither end does any path diverge by default.
    """
    start, end = (process.coeffs(torch.tensor([t], dtype=torch.float64)) for t in span)
    rank = (1, *(1,) * len(data.shape))
    start, end = (type(c)(*(v.reshape(rank) for v in c)) for c in (start, end))
    noise = Keyed(range(batch), dtype=torch.float64)
    x = start.alpha * data.draw(noise) + start.sigma * noise.draw("normal", ("start",), data.shape)
    exact = data.flow(x, start, end)
    found = []
    for n in steps:
        got = solve(sampler, process, data, noise, times=uniform(n, *span), x=x, kind=kind)
        found.append((got - exact).square().mean().sqrt().item())
    return found


def measured_order(sampler: Sampler, process: GaussianProcess, data: Mixture = SAMPLES, *,
                   steps: Sequence[int] = (16, 32, 64), **options: Any) -> float:  # fmt: skip
    """The order of convergence: minus the slope of log error over log steps.

    Args:
        options: of `errors`.

    >>> from gencore.samplers.ddim import DDIM
    >>> 0.9 < measured_order(DDIM(), LinearFlow()) < 1.1
    True
    """
    log_n = torch.tensor(steps, dtype=torch.float64).log()
    log_e = torch.tensor(errors(sampler, process, data, steps=steps, **options), dtype=torch.float64).log()
    n, e = log_n - log_n.mean(), log_e - log_e.mean()
    return -(n @ e / (n @ n)).item()


def _order(sampler: Sampler) -> None:
    for process in (LinearFlow(), TrigFlow()):
        name, declared = type(process).__name__, sampler.order
        if adaptive(sampler, process):
            if (error := errors(sampler, process, steps=(1,))[0]) > 0.1:
                raise CheckFailed(f"adaptive, but {error:.2g} from the exact solution on {name}")
        elif declared > 0 and (found := measured_order(sampler, process, steps=(32, 96))) < declared - 0.3:
            raise CheckFailed(f"declares order {declared}, measured {found:.2f} on {name}")


def _moments(sampler: Sampler) -> None:
    if sampler.order > 0:
        return
    data, count, process = Mixture.gaussian(0.7, 0.5, (1, 4096)), 4096, LinearFlow()
    x = solve(sampler, process, data, Keyed([0]), times=sampler.times(process, "x0", 100), variance=-1.0)
    mean, std = x.mean().item(), x.std().item()
    # Four standard errors of the estimate and 5 % for the finite step.
    if abs(mean - 0.7) > 4 * 0.5 / count**0.5 + 0.035 or abs(std - 0.5) > 4 * 0.5 / (2 * count) ** 0.5 + 0.025:
        raise CheckFailed(f"N(0.7, 0.5^2) comes out with mean {mean:.3f} and standard deviation {std:.3f}")


def _ends(sampler: Sampler) -> None:
    process, data = LinearFlow(), Mixture.gaussian(0.7, 0.05, (1, 64))
    for n in (1, 64):
        times = sampler.times(process, "x0", n)
        if not bool((times[1:] < times[:-1]).all()) or times[0] > 1 or times[-1] < 0:
            raise CheckFailed(f"times for {n} steps are not falling within [0, 1]")
        x = solve(sampler, process, data, Keyed([0]), times=times, variance=-1.0)
        if n > 1 and (gap := (x - 0.7).abs().max().item()) > 0.3:
            raise CheckFailed(f"N(0.7, 0.05^2) comes out up to {gap:.2g} from its mean after {n} steps")


def _resumes(sampler: Sampler) -> None:
    noise = _noise(sampler, range(3))
    steps: list[Step] = []
    kept: list[Tensor] = []
    for step in _run(sampler, noise):
        if steps and not torch.equal(steps[-1].x, kept[-1]):
            raise CheckFailed(f"step {step.index} changes the state it was given")
        steps.append(step)
        kept.append(step.x.clone())
    for step in steps[:-1]:
        *_, last = _run(sampler, noise, state=step.state)
        if not torch.equal(last.x, steps[-1].x):
            raise CheckFailed(f"continuing after step {step.index} ends elsewhere than the straight run")


def _repeats(sampler: Sampler) -> None:
    noise = _noise(sampler, range(3))
    runs = [_run(sampler, noise) for _ in range(2)]
    *_, alone = _run(sampler, noise)
    for a, b in zip(*runs, strict=True):
        if not torch.equal(a.x, b.x):
            raise CheckFailed(
                f"two equal runs taken in turns differ at step {a.index}: something is kept in the sampler"
            )
    if not torch.equal(a.x, alone.x):
        raise CheckFailed("the same call twice gives two results")


def _alone(sampler: Sampler) -> None:
    *_, batch = _run(sampler, _noise(sampler, range(5)))
    for seed in range(5):
        *_, one = _run(sampler, _noise(sampler, [seed]))
        if (gap := (one.x[0] - batch.x[seed]).abs().max().item()) > 1e-10:
            raise CheckFailed(f"a sample differs by {gap:.2g} between alone and in a batch of 5")


def _known(sampler: Sampler) -> None:
    process, data = LinearFlow(), Mixture.gaussian(0.3, 0.8, (1, 4, 4))
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    mask[..., :2] = True
    given = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, 1, 4, 4)
    free = solve(sampler, process, data, _noise(sampler, range(2)), times=_grid(sampler, process), variance=-1.0)
    for mode in MODES:
        x = solve(sampler, process, data, _noise(sampler, range(2)), times=_grid(sampler, process), variance=-1.0,
                  known=Known(given, mask, mode))  # fmt: skip
        if not torch.equal(x[..., 2:], given[..., 2:].expand(2, -1, -1, -1)):
            raise CheckFailed(f"given cells change with known mode '{mode}'")
        # Cells of this data are independent, so given ones must not move the others.
        if not adaptive(sampler, process) and (gap := (x - free)[..., :2].abs().max().item()) > 1e-9:
            raise CheckFailed(f"independent free cells move by {gap:.2g} with known mode '{mode}'")


def _config(sampler: Sampler) -> None:
    make = getattr(type(sampler), "from_config", lambda config: type(sampler)(**config))
    try:
        again = make(sampler.config())
    except TypeError as fault:
        raise CheckFailed(f"config() does not build it again: {fault}") from fault
    if again.config() != sampler.config():
        raise CheckFailed("config() changes when it is built again from it")


SAMPLER_CHECKS: dict[str, Callable[[Sampler], None]] = {
    "order": _order,
    "moments": _moments,
    "end-point": _ends,
    "resume": _resumes,
    "repeat": _repeats,
    "batch": _alone,
    "known": _known,
    "config": _config,
}
"""What `check_sampler` checks of a continuous sampler, in order."""

LAW_CHECKS: dict[str, Callable[[Sampler], None]] = {
    "law": laws.check_law,
    "end-point": laws.check_ends,
    "resume": _resumes,
    "repeat": _repeats,
    "batch": _alone,
    "known": laws.check_known,
    "config": _config,
}
"""What it checks of a discrete one."""


def check_sampler(sampler: Sampler) -> None:
    """Hold a sampler against its contract on data with exact predictions; a few seconds on one core.

    Checks the declared order (or, for order 0, the moments of the result), the end point, that a run resumed from any
    step equals the straight one, that nothing is kept between runs, that a sample does not depend on its batch, that
    known cells come back bit for bit in every mode, and that `config` builds it again.  A discrete sampler of an order
    above 0 must have the exact law of a small vocabulary as steps grow, beside given tokens too.

    >>> from gencore.samplers.runge_kutta import heun
    >>> check_sampler(heun())

    Raises:
        CheckFailed: lists every check that fails, with what was measured.
    """
    failures = []
    checks = LAW_CHECKS if sampler.kind == "discrete" else SAMPLER_CHECKS
    for name, check in checks.items():
        try:
            check(sampler)
        except CheckFailed as fault:
            failures.append(f"{name}: {fault}")
        except Exception as fault:
            failures.append(f"{name}: {type(fault).__name__}: {fault}")
    if failures:
        raise CheckFailed(f"{type(sampler).__name__}: " + "; ".join(failures))


def adaptive(sampler: Sampler, process: GaussianProcess) -> bool:
    """Whether the sampler chooses its own steps."""
    times = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return sampler.init(torch.zeros(1, 1, 1, dtype=torch.float64), times, process).steps == 0


def _run(sampler: Sampler, noise: Noise, **options: Any) -> Iterator[Step]:
    """A short walk on data of the sampler's kind."""
    if sampler.kind == "discrete":
        return laws.walk(sampler, noise, **options)
    process = LinearFlow()
    return walk(sampler, process, SAMPLES, noise, times=_grid(sampler, process), variance=-1.0, **options)


def _grid(sampler: Sampler, process: GaussianProcess) -> Tensor:
    return sampler.times(process, "x0", 6)


def _noise(sampler: Sampler, seeds: Sequence[int]) -> Noise:
    noise = Keyed(seeds, dtype=torch.float64)
    return noise if sampler.draws else Silent(noise)
