"""RF-Edit: share the values of self-attention between an inversion and the run that edits it (arXiv:2411.04746).

In the k steps nearest noise of the inversion, V of the self-attentions in the later blocks is recorded; in the first k
steps of the edit it replaces the edit's own V, so that the picture's structure stays while the words change.  Steps
pair by their noisier end: the inversion's step that ends at a time with the edit's step that starts there, evaluation
by evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gencore.context import Context, Interceptor
from gencore.errors import InputError

if TYPE_CHECKING:
    from gencore.attend import KV
    from gencore.sampler import Sampler


@dataclass
class RFEdit:
    """One edit's bank of values, and the two interceptors that fill and use it.

    Args:
        inject: k, the steps that share values.
        blocks: share of the blocks, from the last one back, whose values are shared.
        values: (B, heads, tokens, channels) by (step from the noisy end, evaluation, site).

    Raises:
        InputError: a value out of range.
    """

    inject: int
    blocks: float = 0.5
    values: dict[tuple[int, str, str], Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.inject < 0:
            raise InputError("inject", self.inject, "0 or more steps")
        if not 0 <= self.blocks <= 1:
            raise InputError("blocks", self.blocks, "a share, 0..1")

    @property
    def recording(self) -> Interceptor:
        """Listens to the inversion."""
        return _Record(self)

    @property
    def replaying(self) -> Interceptor:
        """Listens to the edit."""
        return _Replay(self)

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(v.nbytes for v in self.values.values())

    def key(self, kind: str, step: int, ctx: Context) -> tuple[int, str, str] | None:
        """Where this call's values belong; None where they are not shared."""
        block = int(ctx.path.split(".")[1]) if ctx.path else -1
        if kind != "attn" or step >= self.inject or block < round((1 - self.blocks) * ctx.depth):
            return None
        return step, ctx.info.stage, ctx.path + kind


class _Record(Interceptor):
    def __init__(self, edit: RFEdit) -> None:
        self.edit = edit

    def kv(self, kind: str, kv: KV, ctx: Context) -> KV:
        key = self.edit.key(kind, ctx.info.n - 1 - ctx.info.i, ctx)
        if key is not None:
            if len(ctx.lanes) > 1:
                raise InputError("guidance", "a guided inversion", "guidance 1, whose values are those of the data")
            self.edit.values[key] = kv.v.detach()
        return kv


class _Replay(Interceptor):
    def __init__(self, edit: RFEdit) -> None:
        self.edit = edit

    def kv(self, kind: str, kv: KV, ctx: Context) -> KV:
        key = self.edit.key(kind, ctx.info.i, ctx)
        if key is None or (v := self.edit.values.get(key)) is None:
            return kv
        return kv._replace(v=v.repeat(len(ctx.lanes), 1, 1, 1))

    def report(self, store: Mapping[tuple[str, ...], Any], sampler: Sampler | None = None) -> dict[str, Any]:
        return {"shared": len(self.edit.values), "bytes": self.edit.bytes}
