"""Dormand-Prince 5(4) with step control and dense output (Hairer, Norsett & Wanner, *Solving ODEs I*, II.4-6).

    error = rms(err / (atol + rtol max(|y|, |y_new|))),   accept if error <= 1
    h <- h clip(0.9 error^(-1/5), 0.2, 10),   never shorter right after an accepted step

Every sample controls its own steps, so a sample is the same alone and in any batch; ``norm="batch"`` takes one norm
over the whole batch, as torchdiffeq does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from gencore.denoised import Denoised, PredictionKind
from gencore.denoiser import NotFinite
from gencore.errors import InputError
from gencore.noise import Noise
from gencore.process import GaussianProcess
from gencore.processes.tables import TableProcess
from gencore.sampler import Query, Sampler, State, Steps
from gencore.schedules import interval

_C = (0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1)
_A = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_B = (*_A[6], 0)
_ERROR = (35 / 384 - 1951 / 21600, 0, 500 / 1113 - 22642 / 50085, 125 / 192 - 451 / 720,
          -2187 / 6784 + 12231 / 42400, 11 / 84 - 649 / 6300, -1 / 60)  # fmt: skip
_MIDDLE = (6025192743 / 30085553152 / 2, 0, 51252292925 / 65400821598 / 2, -2691868925 / 45128329728 / 2,
           187940372067 / 1594534317056 / 2, -1776094331 / 19743644256 / 2, 11237099 / 235043384 / 2)  # fmt: skip

Norm = Literal["sample", "batch"]
Fields = tuple[Tensor, ...]
"""Components of an ODE state, each (B, ...)."""
Slopes = Generator[tuple[Tensor, Fields, str], Fields, Any]
"""Asks for dy/dt at (t (B,), y, stage)."""


def _like(h: Tensor, y: Tensor) -> Tensor:
    return h.to(y.dtype).reshape(-1, *(1,) * (y.ndim - 1))


def _sum(y: Fields, slopes: list[Fields], weights: tuple[float, ...], h: Tensor) -> Fields:
    terms = [(w, k) for w, k in zip(weights, slopes, strict=False) if w != 0]
    return tuple(c + _like(h, c) * sum(w * k[j] for w, k in terms) for j, c in enumerate(y))


@dataclass(frozen=True)
class Adaptive:
    """The state of an integration over samples that each have their own time.

    Args:
        t: (B,) float64 current times.
        h: (B,) signed step to try.
        y: components at `t`.
        slope: dy/dt at `t`.
        shrank: (B,) the last attempt of this sample was rejected.
        out: (P, B, ...) per component, solutions at the requested times reached so far.
        accepted, attempted: (B,) counts.
    """

    t: Tensor
    h: Tensor
    y: Fields
    slope: Fields
    out: Fields
    accepted: Tensor
    attempted: Tensor


def _rms(parts: Fields, scale: Fields, norm: Norm) -> Tensor:
    """(B,) root mean square of parts / scale: largest over components, over each sample or over the whole batch."""
    squares = [((p / s).to(torch.float64) ** 2).reshape(len(p), -1) for p, s in zip(parts, scale, strict=True)]
    rows = torch.stack([square.mean(1) for square in squares])
    if norm == "batch":
        rows = rows.mean(1, keepdim=True).expand_as(rows)
    return rows.amax(0).sqrt()


def integrate(y: Fields, times: Tensor, *, rtol: float, atol: float, norm: Norm, max_steps: int) -> Slopes:
    """Solve dy/dt = f from ``times[0]`` through all of `times` (P,), monotone; returns components (P, B, ...).

    Raises:
        NotFinite: the field or the step became NaN or infinite.
        InputError: more than `max_steps` attempts.
    """
    state = yield from _start(y, times, rtol=rtol, atol=atol, norm=norm)
    for _ in range(max_steps):
        if bool(_finished(state, times).all()):
            return state.out
        state = yield from _attempt(state, times, rtol=rtol, atol=atol, norm=norm)
    raise InputError("max_steps", max_steps, "more", "or a larger rtol and atol")


def _finished(state: Adaptive, times: Tensor) -> Tensor:
    return (times[-1] - state.t) * (times[-1] - times[0]).sign() <= 0


def _start(y: Fields, times: Tensor, *, rtol: float, atol: float, norm: Norm) -> Slopes:
    """Hairer's starting step: two evaluations."""
    batch = y[0].shape[0]
    t = times[0].to(torch.float64).expand(batch).clone()
    direction = (times[-1] - times[0]).sign()
    scale = tuple(atol + rtol * c.abs() for c in y)
    f0 = yield t, y, "start"
    d0, d1 = _rms(y, scale, norm), _rms(f0, scale, norm)
    h0 = torch.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1.clamp(min=1e-30))
    f1 = yield t + direction * h0, _sum(y, [f0], (1.0,), direction * h0), "start"
    d2 = _rms(tuple(b - a for a, b in zip(f0, f1, strict=True)), scale, norm) / h0
    largest = torch.maximum(d1, d2)
    h1 = torch.where(largest <= 1e-15, (h0 * 1e-3).clamp(min=1e-6), (0.01 / largest.clamp(min=1e-30)) ** (1 / 5))
    h = direction * torch.minimum(100 * h0, h1)
    out = tuple(c.new_zeros((len(times), *c.shape)) for c in y)
    for component, c in zip(out, y, strict=True):
        component[0] = c
    zero = torch.zeros(batch, dtype=torch.int64)
    return Adaptive(t, h, y, f0, out, zero, zero)


def _attempt(state: Adaptive, times: Tensor, *, rtol: float, atol: float, norm: Norm, within: bool = False) -> Slopes:
    """One trial step of every unfinished sample; it ends at the last time at the latest if `within`."""
    active = ~_finished(state, times)
    h = torch.where(active, state.h, 0.0)
    if within:
        left = times[-1] - state.t
        h = torch.where(h.abs() > left.abs(), left, h)
    slopes = [state.slope]
    y_new = state.y
    for j in range(1, 7):
        y_new = _sum(state.y, slopes, _A[j], h)
        slopes.append((yield state.t + _C[j] * h, y_new, f"k{j + 1}"))
    error = tuple(_sum(tuple(torch.zeros_like(c) for c in state.y), slopes, _ERROR, h))
    scale = tuple(atol + rtol * torch.maximum(a.abs(), b.abs()) for a, b in zip(state.y, y_new, strict=True))
    ratio = _rms(error, scale, norm)
    if not bool(ratio.isfinite().all()):
        raise NotFinite(f"dopri5: not finite at t={float(state.t.min()):.4g}; keep away from the end where it diverges")
    accept = active & (ratio <= 1)
    factor = (0.9 * ratio.clamp(min=1e-10) ** (-1 / 5)).clamp(0.2, 10)
    factor = torch.where(accept, factor.clamp(min=1.0), factor)
    t_new = state.t + h
    out = _dense(state, y_new, slopes, h, t_new, accept, times)

    def choose(a: Fields, b: Fields) -> Fields:
        return tuple(torch.where(_like(accept, p).bool(), p, q) for p, q in zip(a, b, strict=True))

    return Adaptive(
        torch.where(accept, t_new, state.t), torch.where(active, state.h * factor, state.h), choose(y_new, state.y),
        choose(slopes[6], state.slope), out, state.accepted + accept, state.attempted + active,
    )  # fmt: skip


def _dense(state: Adaptive, y_new: Fields, slopes: list[Fields], h: Tensor, t_new: Tensor, accept: Tensor,
           times: Tensor) -> Fields:  # fmt: skip
    """The quartic through both ends, both slopes and the middle, at every requested time this step passed."""
    sign = (times[-1] - times[0]).sign()
    at = times.to(torch.float64)[:, None]
    passed = accept & ((at - state.t) * sign > 0) & ((t_new - at) * sign >= 0)
    if not bool(passed.any()):
        return state.out
    middle = _sum(state.y, slopes, _MIDDLE, h)
    theta = torch.where(passed, (at - state.t) / torch.where(h == 0, 1.0, h), 0.0)
    result = []
    for j, (y0, y1, ym, old) in enumerate(zip(state.y, y_new, middle, state.out, strict=True)):
        step = _like(h, y0)
        f0, f1 = slopes[0][j] * step, slopes[6][j] * step
        a = 2 * (f1 - f0) - 8 * (y1 + y0) + 16 * ym
        b = 5 * f0 - 3 * f1 + 18 * y0 + 14 * y1 - 32 * ym
        c = f1 - 4 * f0 - 11 * y0 - 5 * y1 + 16 * ym
        x = theta.to(y0.dtype).reshape(*theta.shape, *(1,) * (y0.ndim - 1))
        dense = y0 + x * (f0 + x * (c + x * (b + x * a)))
        result.append(torch.where(passed.reshape(x.shape), dense, old))
    return tuple(result)


@dataclass(frozen=True)
class Dopri5(Sampler):
    """Adaptive solver of the probability-flow ODE; one `step` is one attempt.

    ``times`` are output points, not steps: the solution at each is in ``state.memory[0].out``.

    Args:
        rtol, atol: error tolerances.
        norm: "sample" controls each sample's steps alone, "batch" takes one norm over the batch.
        max_steps: attempts before giving up.
    """

    rtol: float = 1e-3
    atol: float = 1e-6
    norm: Norm = "sample"
    max_steps: int = 1000
    order = 5

    def __post_init__(self) -> None:
        if self.rtol <= 0 or self.atol <= 0:
            raise InputError("tolerance", f"rtol={self.rtol} atol={self.atol}", "more than 0")

    def times(self, process: GaussianProcess, kind: PredictionKind, steps: int) -> Tensor:
        low, high = interval(process, kind)
        return torch.tensor([high, low], dtype=torch.float64)

    def init(self, x: Tensor, times: Tensor, process: GaussianProcess) -> State:
        if times.ndim != 1:
            raise InputError("times", f"shape {tuple(times.shape)}", "one list of times for an adaptive solver")
        return AdaptiveState(x, 0, times, process)

    def step(self, state: State, noise: Noise) -> Steps:
        memory, seen = state.memory[0] if state.memory else None, []
        settings: dict[str, Any] = {"rtol": self.rtol, "atol": self.atol, "norm": self.norm}
        if state.i >= self.max_steps:
            raise InputError("max_steps", self.max_steps, "more", "or a larger rtol and atol")
        if memory is None:
            memory = yield from _asking(_start((state.x,), state.times, **settings), seen)
        elif not torch.equal(state.x, memory.y[0]):
            # A known region replaced cells between steps: the slope kept from the step before is another state's.
            slope = yield from _slope(memory.t, state.x, seen)
            memory = replace(memory, y=(state.x,), slope=(slope,))
        # Beyond its first level a table has a slope without bound.
        within = isinstance(state.process, TableProcess)
        memory = yield from _asking(_attempt(memory, state.times, **settings, within=within), seen)
        done = bool(_finished(memory, state.times).all())
        x = memory.out[0][-1] if done else memory.y[0]
        return AdaptiveState(x, state.i + 1, state.times, state.process, (memory,), seen[0])

    def config(self) -> dict[str, Any]:
        return asdict(self)


def _slope(t: Tensor, x: Tensor, seen: list[Denoised]) -> Generator[Query, Denoised, Tensor]:
    d = yield Query(x, t, "known")
    seen.append(d)
    return d.velocity


def _asking(slopes: Slopes, seen: list[Denoised]) -> Generator[Query, Denoised, Any]:
    try:
        t, y, stage = next(slopes)
        while True:
            d = yield Query(y[0], t, stage)
            seen.append(d)
            t, y, stage = slopes.send((d.velocity,))
    except StopIteration as stop:
        return stop.value


class AdaptiveState(State):
    """A state whose run ends when every sample has reached the last time."""

    @property
    def steps(self) -> int:
        return 0

    @property
    def now(self) -> Tensor:
        return self.memory[0].t if self.memory else self.time(0)

    @property
    def done(self) -> bool:
        return bool(self.memory) and bool(_finished(self.memory[0], self.times).all())


def drive(slopes: Slopes, field: Callable[[Tensor, Fields, str], Fields]) -> Any:
    """Answer an integration from a plain function; returns what the integration returns."""
    try:
        question = next(slopes)
        while True:
            question = slopes.send(field(*question))
    except StopIteration as stop:
        return stop.value
