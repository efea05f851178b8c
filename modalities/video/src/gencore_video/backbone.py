"""Video diffusion transformer: temporal, then spatial attention in every block (VDT, arXiv:2305.13311).

    x <- x + F(Attn_t(LN(x)))                     over the frames at each place; no gate, no modulation
    x <- x + g1 Attn_s((1 + a1) LN(x) + s1)       within each frame; adaLN-Zero as in `gencore.backbones.dit`
    x <- x + g2 MLP((1 + a2) LN(x) + s2)

so that work and memory grow linearly in the number of frames, the T x T scores of a place apart.  What is given and
what is to be generated is told by the input alone: given cells are clean (`gencore.known`, "compose_input").  Tokens
are frame-major, and both position tables are rebuilt for any number of frames, height and width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gencore.backbone import Trunk
from gencore.backbones.dit import MAIN, DiTBlock, initialise
from gencore.condition import Conditions
from gencore.context import Context
from gencore.denoised import Prediction
from gencore.errors import InputError, unknown
from gencore.nn.embed import TimeEmbedding, patch_grid, patchify, sincos_1d, sincos_grid, token_time, unpatchify
from gencore.nn.layers import Norm, NormKind, SelfAttention, modulate
from gencore.nn.ports import build_ports, enter
from gencore.stream import Hidden, Mod, Stream

AXES = ("t", "h", "w")
Temporal = Literal["attention", "table", "none"]


class TemporalAttention(nn.Module):
    """F(Attn_t(LN(x))) over the frames at each place of (B, T * S, D) tokens, S places a frame."""

    def __init__(self, width: int, heads: int, *, qk_norm: NormKind | None = None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.attn = SelfAttention(width, heads, qk_norm=qk_norm)
        self.fc = nn.Linear(width, width)

    def forward(self, x: Tensor, frames: int, ctx: Context) -> Tensor:
        b, n, d = x.shape
        places = x.view(b, frames, n // frames, d).transpose(1, 2).reshape(-1, frames, d)
        y = self.fc(self.attn(self.norm(places), Stream(places, (frames,)), ctx, kind="temporal"))
        return y.view(b, -1, frames, d).transpose(1, 2).reshape(x.shape)


class VDTBlock(DiTBlock):
    """Temporal attention (if `temporal`), then a DiT block whose attention stays within each frame.

    Its sub-layers are the sites "temporal", "attn", "cross" and "mlp".
    """

    def __init__(self, width: int, heads: int, *, temporal: bool = True, mlp_ratio: float = 4.0,
                 qk_norm: NormKind | None = None, cross: tuple[str, ...] = ()) -> None:  # fmt: skip
        super().__init__(width, heads, mlp_ratio=mlp_ratio, qk_norm=qk_norm, cross=cross)
        self.temporal = TemporalAttention(width, heads, qk_norm=qk_norm) if temporal else None
        self.checkpointing = False

    def _attn(self, x: Tensor, shift: Tensor, scale: Tensor, stream: Stream, ctx: Context) -> Tensor:
        y = modulate(self.norm1(x), shift, scale)
        frames = y.view(x.shape[0] * stream.grid[0], -1, x.shape[2])
        return self.attn(frames, Stream(frames, stream.grid[1:]), ctx).view(x.shape)

    def _layers(self, h: Hidden, mod: Mod, ctx: Context) -> Hidden:
        if self.temporal is not None:
            stream = h[MAIN]
            x = stream.x + ctx.site("temporal", self.temporal, stream.x, stream.grid[0], ctx)
            h = {**h, MAIN: stream._replace(x=x)}
        return super().forward(h, mod, ctx)

    def forward(self, h: Hidden, mod: Mod, ctx: Context) -> Hidden:
        if self.checkpointing and torch.is_grad_enabled():
            again = checkpoint(self._layers, h, mod, ctx, use_reentrant=False, preserve_rng_state=False)
            return cast(Hidden, again)
        return self._layers(h, mod, ctx)


class VDT(Trunk):
    """The video transformer on latents (B, C, T, H, W).

    Args:
        channels: C of the state.
        patch: side p of a token, p x p cells of one frame.
        width, depth, heads, mlp_ratio, qk_norm: of the trunk; `SIZES` holds the published ones.
        ports: conditions by name, see `gencore.nn.ports.build_ports`; all kinds but "token_concat".
        prediction: what the output means; `extra` channels double the output.
        temporal: "attention" in every block; "table" keeps only the frame's place in time, so that frames do not see
            each other (an ablation); "none" has no notion of time at all (image mode).

    Attributes:
        checkpointing: recompute each block in the backward pass instead of keeping its activations; set it before
            training where memory is short.

    Raises:
        InputError: a width that does not suit the heads or the tables, or a port of a kind it has no place for.

    >>> net = VDT(1, 2, width=16, depth=1, heads=2, prediction=Prediction("velocity"))
    >>> net(torch.zeros(1, 1, 3, 4, 6), torch.zeros(1), {}, Context()).pred.shape
    torch.Size([1, 1, 3, 4, 6])
    """

    prediction: Prediction
    time_axes = ("t",)

    def __init__(
        self,
        channels: int,
        patch: int,
        *,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        qk_norm: NormKind | None = None,
        ports: Mapping[str, Mapping[str, Any]] | None = None,
        prediction: Prediction = Prediction(),
        temporal: Temporal = "attention",
    ) -> None:
        super().__init__()
        if temporal not in get_args(Temporal):
            raise unknown("temporal", temporal, get_args(Temporal))
        if width % heads:
            raise InputError("width", width, f"a multiple of the {heads} heads")
        sincos_grid((1, 1), width)
        self.patch, self.width, self.prediction, self.temporal = (1, patch, patch), width, prediction, temporal
        self._config = {
            "channels": channels, "patch": patch, "width": width, "depth": depth, "heads": heads,
            "mlp_ratio": mlp_ratio, "qk_norm": qk_norm, "ports": {k: dict(v) for k, v in (ports or {}).items()},
            "prediction": prediction.config(), "temporal": temporal,
        }  # fmt: skip
        self.conditioners = build_ports(ports or {}, width, len(AXES))
        self.ports = {name: module.port for name, module in self.conditioners.items()}  # type: ignore[misc]
        kinds = {name: port.kind for name, port in self.ports.items()}
        if tokens := [name for name, kind in kinds.items() if kind == "token_concat"]:
            raise InputError("ports", f"{tokens[0]} (token_concat)", "modulation, channel_concat or cross_attention",
                             "no frame would hold its tokens")  # fmt: skip
        joined = sum(port.dims for port in self.ports.values() if port.kind == "channel_concat")
        cross = tuple(name for name, kind in kinds.items() if kind == "cross_attention")
        self.patch_embed = nn.Linear((channels + joined) * patch**2, width)
        self.time_embed = TimeEmbedding(width)
        self.blocks = nn.ModuleList(
            VDTBlock(width, heads, temporal=temporal == "attention", mlp_ratio=mlp_ratio, qk_norm=qk_norm, cross=cross)
            for _ in range(depth)
        )
        self.final_norm = Norm(width)
        self.final_modulation = nn.Linear(width, 2 * width)
        self.final = nn.Linear(width, patch**2 * channels * prediction.channels)
        self._tables: dict[tuple[int, ...], Tensor] = {}
        initialise(self)

    def config(self) -> dict[str, Any]:
        return self._config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> VDT:
        return cls(**{**config, "prediction": Prediction(**config["prediction"])})

    @property
    def checkpointing(self) -> bool:
        return all(cast(VDTBlock, block).checkpointing for block in self.blocks)

    @checkpointing.setter
    def checkpointing(self, on: bool) -> None:
        for block in self.blocks:
            cast(VDTBlock, block).checkpointing = on

    def _positions(self, grid: tuple[int, ...], device: torch.device) -> Tensor:
        """(T * S, D) float32: the table of a frame's places plus that of the frames."""
        # A cache that tracing fills would have the next call traced again.
        tables = {} if torch.compiler.is_compiling() else self._tables
        table = tables.get(grid)
        if table is None or table.device != device:
            table = sincos_grid(grid[1:], self.width, device).expand(grid[0], -1, -1)
            if self.temporal != "none":
                table = table + sincos_1d(torch.arange(grid[0], device=device), self.width).float()[:, None]
            tables[grid] = table = table.flatten(0, 1)
        return table

    def embed(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> tuple[Hidden, Mod]:
        if x_t.ndim != 2 + len(AXES):
            raise InputError("state", f"{x_t.ndim} axes", "5 axes, (B, C, T, H, W)", "a picture is one frame, T = 1")
        grid = patch_grid(x_t.shape[2:], self.patch, AXES)
        network_t = token_time(t, x_t.shape, self.patch, AXES, self.time_axes)
        t_emb = self.time_embed(network_t)
        entered = enter(self.conditioners, self.ports, cond, x_t, t_emb)
        tokens = ctx.site("embed", self._tokens, entered.state)
        tokens = tokens + self._positions(grid, tokens.device).to(tokens.dtype)
        return {MAIN: Stream(tokens, grid), **entered.context}, Mod(network_t, t_emb, entered.c)

    def _tokens(self, state: Tensor) -> Tensor:
        return self.patch_embed(patchify(state, self.patch))

    def _out(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.final_modulation(F.silu(c)).chunk(2, dim=-1)
        return self.final(modulate(self.final_norm(x), shift, scale))

    def head(self, h: Hidden, mod: Mod, ctx: Context) -> Tensor:
        stream = h[MAIN]
        return unpatchify(ctx.site("head", self._out, stream.x, mod.c), stream.grid, self.patch)


SIZES: dict[str, dict[str, int]] = {
    "s": {"width": 384, "depth": 12, "heads": 6},
    "l": {"width": 1152, "depth": 28, "heads": 16},
}
"""VDT-S and VDT-L; the published ones have patch 2."""
