"""Discrete-time diffusion from a table of betas (DDPM, arXiv:2006.11239; named schedules of ADM, arXiv:2105.05233).

Level k = T t - 1 in {0 .. T-1} sits at t = (k+1)/T and t = 0 is clean data:

    alpha_bar_k = prod_{i<=k} (1 - beta_i),   alpha = sqrt(alpha_bar),   sigma = sqrt(1 - alpha_bar)

Between levels alpha-bar is interpolated linearly, so continuous solvers run on discrete checkpoints too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from gencore.errors import InputError, unknown
from gencore.process import Coeffs, GaussianProcess

_SNAP = 1e-4  # a level this close to an integer is that integer: times may have passed through float32


def _linspace(start: float, end: float, steps: int) -> Tensor:
    return torch.linspace(start, end, steps, dtype=torch.float64)


def _warmup(steps: int, start: float, end: float, share: float) -> Tensor:
    betas = torch.full((steps,), end, dtype=torch.float64)
    ramp = int(steps * share)
    betas[:ramp] = _linspace(start, end, ramp)
    return betas


def _cosine(steps: int) -> Tensor:
    """``min(1 - f((i+1)/T) / f(i/T), 0.999)``, f(u) = cos^2(pi/2 (u + 0.008) / 1.008) (arXiv:2102.09672, eq. 17)."""
    f = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
    return torch.tensor([min(1 - b / a, 0.999) for a, b in pairwise(f)], dtype=torch.float64)


SCHEDULES: dict[str, Callable[[int], Tensor]] = {
    "linear": lambda n: _linspace(0.1 / n, 20.0 / n, n),
    "squaredcos_cap_v2": _cosine,
    "quad": lambda n: _linspace(math.sqrt(0.1 / n), math.sqrt(20.0 / n), n) ** 2,
    "const": lambda n: torch.full((n,), 20.0 / n, dtype=torch.float64),
    "jsd": lambda n: 1.0 / _linspace(n, 1, n),
    "warmup10": lambda n: _warmup(n, 0.1 / n, 20.0 / n, 0.1),
    "warmup50": lambda n: _warmup(n, 0.1 / n, 20.0 / n, 0.5),
}
"""Betas of `T` steps by name, float64; the linear family is scaled by 1000/T and needs T >= 20."""


def respace(steps: int, spec: str | Sequence[int] | None) -> list[int]:
    """The kept levels of a `steps`-level process, rising.

    Args:
        spec: ``"N"`` keeps N evenly spaced levels; ``"a,b,c"`` splits the levels into equal sections and keeps that
            many in each (0 keeps none, 1 the first); ``"ddimN"`` uses the smallest integer stride with exactly N
            members; empty or None keeps all.

    Raises:
        InputError: a section smaller than its count, no stride with N members, no level kept, or another text.

    >>> respace(10, "4")
    [0, 3, 6, 9]
    """
    if spec is None or spec == "":
        return list(range(steps))
    ddim = isinstance(spec, str) and spec.startswith("ddim")
    words = spec.removeprefix("ddim").split(",") if isinstance(spec, str) else spec
    try:
        counts = [int(word) for word in words]
    except ValueError:
        raise InputError("respacing", repr(spec), "N, a,b,c, ddimN or nothing") from None
    if min(counts) < 0 or sum(counts) == 0 or (ddim and len(counts) != 1):
        raise InputError("respacing", repr(spec), "counts of 0 or more that keep at least one level")
    if ddim:
        count = counts[0]
        for stride in range(1, steps + 1):
            if len(range(0, steps, stride)) == count:
                return list(range(0, steps, stride))
        raise InputError("respacing", spec, f"a count that some integer stride over {steps} levels gives exactly")
    size, longer = divmod(steps, len(counts))
    kept, start = [], 0
    for i, count in enumerate(counts):
        section = size + (i < longer)
        if count > section:
            raise InputError("respacing", f"{count} levels of a section of {section}", f"at most {section}")
        stride, position = 1.0 if count <= 1 else (section - 1) / (count - 1), 0.0
        for _ in range(count):
            # Half-to-even on a running sum, not i*stride: published checkpoints were sampled at these indices.
            kept.append(start + round(position))
            position += stride
        start += section
    return kept


class TableProcess(GaussianProcess):
    """A Gaussian process given by betas.

    Args:
        betas: (T,) values in (0, 1], any float; kept in float64.
        levels: (T,) what the network was trained to see at each level, default 0..T-1.
        final: the state at t <= 0: ``"clean"`` has alpha-bar 1, ``"first"`` repeats level 0 (BDIA).
        schedule: the name the betas came from, kept for `config`.
        single: whether they were rounded to float32, likewise.
    """

    def __init__(
        self,
        betas: Tensor,
        *,
        levels: Sequence[int] | None = None,
        final: Literal["clean", "first"] = "clean",
        schedule: str | None = None,
        single: bool = False,
    ) -> None:
        betas = betas.to(torch.float64)
        if betas.ndim != 1 or not len(betas) or not bool(((betas > 0) & (betas <= 1)).all()):
            wild = f" from {betas.min():.3g} to {betas.max():.3g}" if betas.numel() else ""
            raise InputError("betas", f"shape {tuple(betas.shape)}{wild}", "(T,) values in (0, 1]")
        self.betas, self.schedule, self.single, self.steps = betas, schedule, single, len(betas)
        self.final: Literal["clean", "first"] = final
        self.alphas_cumprod = torch.cumprod(1 - betas, 0)
        self.levels = torch.arange(len(betas)) if levels is None else torch.as_tensor(levels)
        below = torch.ones(1, dtype=torch.float64) if final == "clean" else self.alphas_cumprod[:1]
        padded = torch.cat([below, self.alphas_cumprod])
        slopes = padded.diff()
        central = torch.cat([slopes[:1], (slopes[:-1] + slopes[1:]) / 2, slopes[-1:]])
        if final == "first" and len(slopes) > 1:
            central[1] = slopes[1]
        levels_seen = self.levels.to(torch.float64)
        self._table = torch.stack([padded, _rises(padded), central, _rises(central)], dim=1)
        self._level_table = torch.stack([levels_seen, _rises(levels_seen)], dim=1)

    @classmethod
    def named(cls, schedule: str = "linear", steps: int = 1000, *, respacing: str | None = None,
              final: Literal["clean", "first"] = "clean", single: bool = False) -> TableProcess:  # fmt: skip
        """The process of a named schedule with `steps` levels, optionally respaced.

        Args:
            single: round the betas to float32, as diffusers stores them: a beta of 0.999 then leaves another alpha.
        """
        if schedule not in SCHEDULES:
            raise unknown("schedule", schedule, SCHEDULES)
        betas = SCHEDULES[schedule](steps)
        process = cls(betas.float() if single else betas, final=final, schedule=schedule, single=single)
        return process if not respacing else process.respaced(respacing)

    def respaced(self, spec: str) -> TableProcess:
        """The process of the kept levels only; the network still sees the original indices."""
        kept = torch.tensor(respace(self.steps, spec))
        abar = self.alphas_cumprod[kept]
        before = torch.cat([torch.ones(1, dtype=torch.float64), abar[:-1]])
        return TableProcess(1 - abar / before, levels=self.levels[kept].tolist(), final=self.final)

    def _position(self, t: Tensor) -> Tensor:
        position = t.to(torch.float64) * self.steps
        near = position.round()
        return torch.where((position - near).abs() < _SNAP, near, position)

    def level(self, t: Tensor) -> Tensor:
        """T t - 1 in float64, integers restored."""
        return self._position(t) - 1

    def at(self, level: Tensor) -> Tensor:
        """The time of a level, (level + 1) / T in float64."""
        return (level.to(torch.float64) + 1) / self.steps

    def coeffs(self, t: Tensor) -> Coeffs:
        position = self._position(t).clamp(0, self.steps)
        low = position.long()
        value, rise, slope, bend = self._table.to(t.device)[low].unbind(-1)
        abar = torch.addcmul(value, position - low, rise)
        # The line's own slope is wrong by O(1/T), which would bound every solver to first order.
        half = torch.addcmul(slope, position - low, bend) * (self.steps / 2)
        alpha, sigma = abar.sqrt(), (1 - abar).sqrt()
        return Coeffs(alpha, sigma, half / alpha, -half / sigma.clamp(min=1e-12))

    def model_time(self, t: Tensor) -> Tensor:
        level = self.level(t).clamp(0, self.steps - 1)
        low = level.long()
        value, rise = self._level_table.to(t.device)[low].unbind(-1)
        return torch.addcmul(value, level - low, rise)

    def config(self) -> dict[str, Any]:
        named = self.schedule is not None
        return {
            **({"schedule": self.schedule, "steps": self.steps} if named else {"betas": self.betas.tolist()}),
            **({} if named else {"levels": self.levels.tolist()}),
            "final": self.final, **({"single": True} if named and self.single else {}),
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TableProcess:
        if "schedule" in config:
            return cls.named(**config)
        return cls(**{**config, "betas": torch.tensor(config["betas"], dtype=torch.float64)})


def _rises(table: Tensor) -> Tensor:
    """What each entry lacks to the next, and 0 for the last, so that a table may be interpolated from every entry."""
    return torch.cat([table.diff(), table.new_zeros(1)])
