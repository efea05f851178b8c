"""Named axes: what a latent looks like and at which granularity its noise level may vary.

Nothing is guessed from shapes: ``(B, T)`` times on a ``b c t h w`` latent are ambiguous when ``T == C``, so finer
times are built by name with `LatentSpec.time` and always *broadcast* against the latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gencore.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class LatentSpec:
    """Axes of a batch of latents, batch first.

    Args:
        axes: space-separated names, the first is ``b``: ``"b c h w"``, ``"b c t h w"``, ``"b n"``.
        sizes: the sizes of the axes after ``b``.
        time_axes: axes along which a sample's own time may vary (``("t",)`` for per-frame noise).
        kind: ``"continuous"`` values or ``"discrete"`` token ids.
        vocab: number of token ids of a discrete latent.

    >>> LatentSpec("b c h w", (4, 32, 32)).shape(2)
    (2, 4, 32, 32)
    """

    axes: str
    sizes: tuple[int, ...]
    time_axes: tuple[str, ...] = ()
    kind: Literal["continuous", "discrete"] = "continuous"
    vocab: int | None = None

    def __post_init__(self) -> None:
        names = self.axes.split()
        if names[:1] != ["b"] or len(set(names)) != len(names) or len(names) != len(self.sizes) + 1:
            raise InputError("axes", f"'{self.axes}' with sizes {self.sizes}", "unique names, 'b' first, one size each")
        if stray := [a for a in self.time_axes if a not in names[1:]]:
            raise InputError("time_axes", ", ".join(stray), f"axes of '{self.axes}'")
        if (self.kind == "discrete") != (self.vocab is not None):
            raise InputError("vocab", self.vocab, "a size for discrete latents, none for continuous ones")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.axes.split())

    def shape(self, batch: int) -> tuple[int, ...]:
        """The shape of a batch of `batch` latents."""
        return (batch, *self.sizes)

    def size(self, axis: str) -> int:
        """The size of `axis` (any but ``b``)."""
        return self.sizes[self.names.index(axis) - 1]

    def check(self, x: Tensor, field: str = "latent") -> Tensor:
        """`x` if it has this spec's shape (any batch), else an `InputError` that names both shapes."""
        if x.ndim != len(self.names) or tuple(x.shape[1:]) != self.sizes:
            wanted = f"(B, {', '.join(map(str, self.sizes))}) = '{self.axes}'"
            raise InputError(field, f"shape {tuple(x.shape)}", wanted)
        return x

    def time(self, t: Tensor, axes: str = "b") -> Tensor:
        """Times whose dimensions are named, reshaped to broadcast against a latent.

        Args:
            t: times in [0, 1] with one dimension per name in `axes`, for instance (B, T) with ``"b t"``.

        Returns:
            (B,) untouched, or a tensor of the latent's rank with size 1 on every axis not named.

        >>> import torch
        >>> LatentSpec("b c t h w", (4, 3, 8, 8), ("t",)).time(torch.rand(2, 3), axes="b t").shape
        torch.Size([2, 1, 3, 1, 1])
        """
        given = axes.split()
        if given == ["b"]:
            return t
        allowed = ("b", *self.time_axes)
        if stray := [a for a in given if a not in allowed]:
            raise InputError("time axes", ", ".join(stray), " ".join(allowed))
        if t.ndim != len(given):
            raise InputError("time", f"{t.ndim} dimensions for axes '{axes}'", f"{len(given)} dimensions")
        order = [given.index(a) for a in self.names if a in given]
        shape = [t.shape[given.index(a)] if a in given else 1 for a in self.names]
        return t.permute(order).reshape(shape)

    def config(self) -> dict[str, Any]:
        return {"axes": self.axes, "sizes": list(self.sizes), "time_axes": list(self.time_axes), "kind": self.kind,
                "vocab": self.vocab}  # fmt: skip


def broadcast_time(t: Tensor, x: Tensor) -> Tensor:
    """`t` of shape (B,) or of `x`'s rank, as a tensor of `x`'s rank that broadcasts against it."""
    if t.ndim == x.ndim:
        return t
    if t.ndim > 1:
        raise InputError("time", f"shape {tuple(t.shape)}", f"(B,) or rank {x.ndim} with size 1 where shared")
    return t.reshape(-1, *(1,) * (x.ndim - 1))
