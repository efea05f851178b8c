"""Time grids: values, exact times in, never shifted silently."""

from __future__ import annotations

import torch
from torch import Tensor

from gencore.denoised import PredictionKind
from gencore.errors import InputError
from gencore.process import GaussianProcess
from gencore.processes.flows import VariancePreserving
from gencore.processes.tables import TableProcess, respace


def uniform(steps: int, start: float = 1.0, end: float = 0.0) -> Tensor:
    """(steps + 1,) equally spaced float64 times falling from `start` to `end`."""
    if steps < 1:
        raise InputError("steps", steps, "1 or more")
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def levels(process: TableProcess, spec: str | int | None) -> Tensor:
    """The times of the kept levels of a table process, falling, then 0 (see `respace` for `spec`)."""
    kept = torch.tensor(respace(process.steps, str(spec) if isinstance(spec, int) else spec)[::-1])
    return torch.cat([process.at(kept), torch.zeros(1, dtype=torch.float64)])


def shifted(times: Tensor, shift: float) -> Tensor:
    """s t / (1 + (s - 1) t): more steps near noise for s > 1 (arXiv:2403.03206, eq. 23)."""
    if shift <= 0:
        raise InputError("shift", shift, "more than 0")
    return shift * times / (1 + (shift - 1) * times)


def interval(process: GaussianProcess, kind: PredictionKind, eps: float = 1e-3) -> tuple[float, float]:
    """The times (cleanest, noisiest) between which the ODE's velocity is finite.

    A path whose sigma has an infinite slope at t = 0 starts at `eps` (a table process at its first level), and so does
    a prediction that says nothing about the noise at clean data (x0); one that says nothing about x_0 at pure noise
    (epsilon, score) ends `eps` before t = 1 where alpha vanishes.
    """
    ends = process.coeffs(torch.tensor([0.0, 1.0], dtype=torch.float64))
    low, high = 0.0, 1.0
    if isinstance(process, TableProcess):
        low = process.at(torch.tensor(0)).item()
    elif ends.d_sigma[0].abs() > 1e6 or (kind == "x0" and ends.sigma[0] <= 0):
        low = eps
    if kind in ("epsilon", "score") and ends.alpha[1] < 1e-6:
        high = 1 - eps
    return low, high


def transport_interval(
    process: GaussianProcess,
    kind: PredictionKind,
    *,
    sde: bool = False,
    last_step: float = 0.0,
    reverse: bool = False,
    train: bool = False,
    train_eps: float | None = None,
    sample_eps: float | None = None,
) -> tuple[float, float]:
    """Where SiT's transport starts and ends (arXiv:2401.08740), *in its own time*: s = 0 noise, s = 1 data, t = 1 - s.

    | process, kind      | start                                  | end, or with an SDE and h = last_step > 0 |
    |--------------------|----------------------------------------|-------------------------------------------|
    | VP                 | 0                                      | 1 - eps,  1 - h                           |
    | others, velocity   | 0                                      | 1,        1 - h                           |
    | others, the rest   | eps                                    | 1 - eps,  1 - h                           |

    eps is 1e-3, for training a VP path 1e-5.  Checkpoints were trained and published figures sampled between these
    ends; `interval` gives the widest that is finite.

    >>> transport_interval(VariancePreserving(), "velocity", sde=True, last_step=0.04)
    (0.0, 0.96)

    Args:
        sde: stochastic sampling whose last step has the width `last_step`.
        reverse: from data to noise: both ends become 1 - s.
        train: the interval training times are drawn from.
        train_eps, sample_eps: in place of the default eps; as in the published code `sample_eps` counts only beside
            `train_eps`, and neither for a velocity on a path other than VP.
    """
    vp = isinstance(process, VariancePreserving)
    asked = None if train_eps is None else train_eps if train else sample_eps
    eps = asked if asked is not None else 1e-5 if vp and train else 1e-3
    if kind == "velocity" and not vp:
        eps = 0.0
    start = 0.0 if vp or kind == "velocity" else eps
    end = 1 - last_step if sde and last_step > 0 else 1 - eps
    return (1 - start, 1 - end) if reverse else (start, end)


def default_times(process: GaussianProcess, kind: PredictionKind, steps: int) -> Tensor:
    """The grid of samplers that only look at the process at given times: its own levels, or uniform times down to 0."""
    if isinstance(process, TableProcess):
        if not 1 <= steps <= process.steps:
            raise InputError("steps", steps, f"1..{process.steps}, the levels this model was trained on")
        return levels(process, steps)
    return uniform(steps, interval(process, kind)[1])


def open_times(process: GaussianProcess, kind: PredictionKind, steps: int) -> Tensor:
    """`steps` + 1 evenly spaced levels of a table process, rounded half to even, without level 0, then clean data.

    >>> process = TableProcess.named("linear", 1000)
    >>> process.level(open_times(process, "x0", 5)).tolist()
    [999.0, 799.0, 599.0, 400.0, 200.0, -1.0]
    """
    if not isinstance(process, TableProcess):
        return default_times(process, kind, steps)
    if not 1 <= steps < process.steps:
        raise InputError("steps", steps, f"1..{process.steps - 1}")
    kept = torch.linspace(process.steps - 1, 0, steps + 1, dtype=torch.float64).round()[:-1]
    return torch.cat([process.at(kept), torch.zeros(1, dtype=torch.float64)])


def ode_times(process: GaussianProcess, kind: PredictionKind, steps: int) -> Tensor:
    """The grid of ODE solvers: uniform over `interval`, then down to 0 where that ends earlier."""
    low, high = interval(process, kind)
    if low == 0 or steps == 1:
        return uniform(steps, high)
    return torch.cat([uniform(steps - 1, high, low), torch.zeros(1, dtype=torch.float64)])
