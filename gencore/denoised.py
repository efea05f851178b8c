"""One contract between networks and samplers: a prediction of any kind, converted when somebody asks.

Every kind is a linear form ``value = a x_0 + b eps`` of the two unknowns of ``x_t = alpha x_0 + sigma eps``, so one
2x2 solve converts them all:

    det = alpha b - sigma a,   x_0 = (b x_t - sigma value) / det,   eps = (alpha value - a x_t) / det

| kind       | value                    | a        | b        |
|------------|--------------------------|----------|----------|
| `epsilon`  | eps                      | 0        | 1        |
| `x0`       | x_0                      | 1        | 0        |
| `v`        | alpha eps - sigma x_0    | -sigma   | alpha    | (arXiv:2202.00512)
| `velocity` | alpha' x_0 + sigma' eps  | alpha'   | sigma'   | (arXiv:2209.03003, 2303.08797)
| `score`    | -eps / sigma             | 0        | -1/sigma |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gencore.errors import unknown
from gencore.process import Coeffs, GaussianProcess
from gencore.spec import broadcast_time

PredictionKind = Literal["epsilon", "x0", "v", "velocity", "score"]
Extra = Literal["learned_range", "drop"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a network's output means.

    Args:
        kind: the quantity in the first C channels.
        extra: meaning of C further channels: ``"learned_range"`` interpolates the log variance (arXiv:2102.09672),
            ``"drop"`` carries nothing (a checkpoint trained with dead channels).
        reverse: the network's own time runs from noise to data, so a velocity comes with the opposite sign.
    """

    kind: PredictionKind = "epsilon"
    extra: Extra | None = None
    reverse: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(PredictionKind):
            raise unknown("prediction", self.kind, get_args(PredictionKind))

    @property
    def channels(self) -> int:
        """Output channels per data channel."""
        return 1 if self.extra is None else 2

    def split(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """The predicted quantity (B, C, ...) in an output (B, C * channels, ...), and its further channels."""
        if self.extra is None:
            return output, None
        value, rest = output.chunk(2, dim=1)
        return value, rest

    def read(self, output: Tensor, x_t: Tensor, process: GaussianProcess, t: Tensor) -> Denoised:
        """The network's `output` (B, C * channels, ...) for the state `x_t` (B, C, ...) at times `t`."""
        value, rest = self.split(output)
        if self.reverse and self.kind == "velocity":
            value = -value
        coeffs = process.coeffs(broadcast_time(t, x_t))
        return Denoised(self.kind, value, x_t, coeffs, rest if self.extra == "learned_range" else None)

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "extra": self.extra, "reverse": self.reverse}


def linear_form(kind: PredictionKind, c: Coeffs) -> tuple[Tensor | float, Tensor | float]:
    """(a, b) of ``value = a x_0 + b eps`` for `kind`, from the table above."""
    match kind:
        case "epsilon":
            return 0.0, 1.0
        case "x0":
            return 1.0, 0.0
        case "v":
            return -c.sigma, c.alpha
        case "velocity":
            return c.d_alpha, c.d_sigma
        case "score":
            return 0.0, -1.0 / _away_from_zero(c.sigma)


def _away_from_zero(x: Tensor) -> Tensor:
    # The clamp comes before any `where` that would select a limit: a masked 0/0 still has a NaN gradient.
    tiny = 1e-12
    return torch.where(x < 0, x.clamp(max=-tiny), x.clamp(min=tiny))


@dataclass(frozen=True, slots=True)
class Denoised:
    """A prediction about one noisy state, readable as any kind.  The native value is returned untouched.

    Args:
        value: the prediction, (B, C, ...) like `x_t`.
        x_t: the state it is about (the free-running one, also where the network saw a composed input).
        coeffs: of the time of `x_t`, broadcasting against it.
        extra: raw variance channels in [-1, 1], (B, C, ...), if the network has them.

    >>> half = torch.full((1, 1), 0.5, dtype=torch.float64)
    >>> d = Denoised("epsilon", torch.ones(1, 1), torch.ones(1, 1), Coeffs(half, half, -2 * half, 2 * half))
    >>> d.x0.item(), d.velocity.item()
    (1.0, 0.0)
    """

    kind: PredictionKind
    value: Tensor
    x_t: Tensor
    coeffs: Coeffs
    extra: Tensor | None = None

    def read(self, kind: PredictionKind) -> Tensor:
        """This prediction as `kind`, in the dtype of `x_t`.

        Linear in (value, x_t): ``p value + q x_t`` with p, q computed in float64.
        """
        if kind == self.kind:
            return self.value
        c, dtype = self.coeffs, self.x_t.dtype
        a, b = linear_form(self.kind, c)
        u, w = linear_form(kind, c)
        det = _away_from_zero(c.alpha * b - c.sigma * a)
        on_value, on_state = (w * c.alpha - u * c.sigma) / det, (u * b - w * a) / det
        return on_value.to(dtype) * self.value + on_state.to(dtype) * self.x_t

    @property
    def x0(self) -> Tensor:
        return self.read("x0")

    @property
    def epsilon(self) -> Tensor:
        return self.read("epsilon")

    @property
    def v(self) -> Tensor:
        return self.read("v")

    @property
    def velocity(self) -> Tensor:
        """d x_t / d t along the probability-flow ODE, t rising towards noise."""
        return self.read("velocity")

    @property
    def score(self) -> Tensor:
        return self.read("score")

    def clamp_x0(self, low: float, high: float) -> Denoised:
        """The same prediction with its x_0 clamped; epsilon is then re-derived from the clamped value."""
        return Denoised("x0", self.x0.clamp(low, high), self.x_t, self.coeffs, self.extra)
