"""Diffusion transformer with adaLN-Zero on a grid of any rank (Peebles & Xie, arXiv:2212.09748).

    (s1, a1, g1, s2, a2, g2) = Linear(SiLU(c)),   c = time embedding + modulation conditions
    x <- x + g1 Attn(LN(x) (1 + a1) + s1),   x <- x + g2 MLP(LN(x) (1 + a2) + s2)

A time of its own per cell (any axis in `time_axes`) gives each token its own modulation: a token's time is the
largest of its cells'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencore.backbone import Block, Trunk
from gencore.condition import Conditions
from gencore.context import Context
from gencore.denoised import Prediction
from gencore.errors import InputError, unknown
from gencore.nn.embed import TimeEmbedding, patch_grid, patchify, sincos_grid, token_time, unpatchify
from gencore.nn.layers import CrossAttention, Mlp, Norm, NormKind, SelfAttention, modulate
from gencore.nn.ports import build_ports, enter
from gencore.nn.rope import Rope, grid_positions
from gencore.stream import Hidden, Mod, Stream

MAIN = "x"
_AXES = {1: ("n",), 2: ("h", "w"), 3: ("t", "h", "w")}


class DiTBlock(Block):
    """One adaLN-Zero block over the main stream; with `cross`, it also attends to the context streams."""

    def __init__(self, width: int, heads: int, *, mlp_ratio: float = 4.0, norm: NormKind = "layer",
                 qk_norm: NormKind | None = None, cross: tuple[str, ...] = ()) -> None:  # fmt: skip
        super().__init__()
        self.norm1, self.norm2 = Norm(width, norm), Norm(width, norm)
        self.attn = SelfAttention(width, heads, qk_norm=qk_norm)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.modulation = nn.Linear(width, 6 * width)
        self.cross = nn.ModuleDict({name: CrossAttention(width, heads, qk_norm=qk_norm) for name in cross})
        self.norm_cross = Norm(width, norm, affine=True) if cross else nn.Identity()
        self.rope: Rope | None = None

    def _attn(self, x: Tensor, shift: Tensor, scale: Tensor, stream: Stream, ctx: Context) -> Tensor:
        return self.attn(modulate(self.norm1(x), shift, scale), stream, ctx, self.rope)

    def _cross(self, x: Tensor, h: Hidden, ctx: Context) -> Tensor:
        y = self.norm_cross(x)
        return torch.stack([layer(y, h[name], ctx) for name, layer in self.cross.items()]).sum(0)

    def _mlp(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return self.mlp(modulate(self.norm2(x), shift, scale))

    def forward(self, h: Hidden, mod: Mod, ctx: Context) -> Hidden:
        stream = h[MAIN]
        s1, a1, g1, s2, a2, g2 = self.modulation(F.silu(mod.c)).chunk(6, dim=-1)
        x = stream.x
        x = torch.addcmul(x, g1, ctx.site("attn", self._attn, x, s1, a1, stream, ctx))
        if self.cross:
            x = x + ctx.site("cross", self._cross, x, h, ctx)
        x = torch.addcmul(x, g2, ctx.site("mlp", self._mlp, x, s2, a2))
        return {**h, MAIN: stream._replace(x=x)}


class DiT(Trunk):
    """The grid diffusion transformer.

    Args:
        channels: C of the state.
        patch: cells of a token along each grid axis; its length is the rank.
        width, depth, heads, mlp_ratio: of the trunk.
        ports: conditions by name, see `gencore.nn.ports.build_ports`.
        prediction: what the output means; `extra` channels double the output.
        norm: "layer" or "rms".
        qk_norm: normalise queries and keys, or None.
        pos: "sincos" table, rebuilt for any grid, axial "rope", or a trained "table" for one grid.
        grid: sizes of the token grid of a trained table.
        time_axes: axes along which cells may carry a time of their own.
        freq_shift: of `gencore.nn.embed.time_features`.

    Raises:
        InputError: the width does not suit the heads or the position table.
    """

    prediction: Prediction

    def __init__(
        self,
        channels: int,
        patch: Sequence[int],
        *,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        ports: Mapping[str, Mapping[str, Any]] | None = None,
        prediction: Prediction = Prediction(),
        norm: NormKind = "layer",
        qk_norm: NormKind | None = None,
        pos: Literal["sincos", "rope", "table"] = "sincos",
        grid: Sequence[int] | None = None,
        time_axes: Sequence[str] | None = None,
        freq_shift: int = 0,
    ) -> None:
        super().__init__()
        if len(patch) not in _AXES:
            raise InputError("patch", f"{len(patch)} axes", "1, 2 or 3 axes")
        for name, word, known in (("pos", pos, ("sincos", "rope", "table")), ("norm", norm, ("layer", "rms")),
                                  ("qk_norm", qk_norm or "layer", ("layer", "rms"))):  # fmt: skip
            if word not in known:
                raise unknown(name, word, known)
        if width % heads:
            raise InputError("width", width, f"a multiple of the {heads} heads")
        if (pos == "table") != (grid is not None):
            raise InputError("grid", grid, "the sizes of the token grid with pos='table', and only then")
        self.patch, self.width, self.prediction, self.pos = tuple(patch), width, prediction, pos
        self.grid = None if grid is None else tuple(grid)
        self.axes = _AXES[len(self.patch)]
        self.time_axes = self.axes if time_axes is None else tuple(time_axes)
        self._config = {
            "channels": channels, "patch": list(patch), "width": width, "depth": depth, "heads": heads,
            "mlp_ratio": mlp_ratio, "ports": {k: dict(v) for k, v in (ports or {}).items()},
            "prediction": prediction.config(), "norm": norm, "qk_norm": qk_norm, "pos": pos,
            "time_axes": list(self.time_axes), "freq_shift": freq_shift,
            **({} if grid is None else {"grid": list(grid)}),
        }  # fmt: skip
        self.conditioners = build_ports(ports or {}, width, len(self.patch))
        self.ports = {name: module.port for name, module in self.conditioners.items()}  # type: ignore[misc]
        joined = sum(p.dims for p in self.ports.values() if p.kind == "channel_concat")
        cell = math.prod(self.patch)
        self.patch_embed = nn.Linear((channels + joined) * cell, width)
        self.time_embed = TimeEmbedding(width, shift=freq_shift)
        cross = tuple(name for name, port in self.ports.items() if port.kind == "cross_attention")
        self.blocks = nn.ModuleList(
            DiTBlock(width, heads, mlp_ratio=mlp_ratio, norm=norm, qk_norm=qk_norm, cross=cross) for _ in range(depth)
        )
        if pos == "rope" and any(port.kind == "token_concat" for port in self.ports.values()):
            raise InputError("pos", "rope with token_concat ports", "sincos: the further tokens have no coordinates")
        if pos == "sincos":
            sincos_grid((1,) * len(self.patch), width)
        elif self.grid is not None:
            self.table = nn.Parameter(torch.zeros(math.prod(self.grid), width))
        else:
            rope = Rope(width // heads, axes=len(self.patch))
            for block in self.blocks:
                block.rope = rope  # type: ignore[assignment]
        self.final_norm = Norm(width, norm)
        self.final_modulation = nn.Linear(width, 2 * width)
        self.final = nn.Linear(width, cell * channels * prediction.channels)
        self._tables: dict[tuple[int, ...], Tensor] = {}
        initialise(self)

    def config(self) -> dict[str, Any]:
        return self._config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DiT:
        return cls(**{**config, "prediction": Prediction(**config["prediction"])})

    def _positions(self, grid: tuple[int, ...], device: torch.device) -> Tensor:
        if self.grid is not None:
            if grid != self.grid:
                raise InputError("size", f"a grid of {grid} tokens", f"{self.grid}, whose positions were trained")
            return self.table
        # A cache that tracing fills would have the next call traced again.
        tables = {} if torch.compiler.is_compiling() else self._tables
        table = tables.get(grid)
        if table is None or table.device != device:
            rope = self.pos == "rope"
            table = grid_positions(grid, device) if rope else sincos_grid(grid, self.width, device)
            tables[grid] = table
        return table

    def embed(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> tuple[Hidden, Mod]:
        grid = patch_grid(x_t.shape[2:], self.patch, self.axes)
        network_t = token_time(t, x_t.shape, self.patch, self.axes, self.time_axes)
        t_emb = self.time_embed(network_t)
        entered = enter(self.conditioners, self.ports, cond, x_t, t_emb)
        mod, extra = entered.c, list(entered.tokens.values())
        tokens = ctx.site("embed", self._tokens, entered.state)
        table = self._positions(grid, tokens.device)
        if self.pos != "rope":
            tokens = tokens + table.to(tokens.dtype)
        mask = None
        if extra:
            # Further tokens come first and keep the state's tokens a contiguous tail for the head.
            parts = [*extra, Stream(tokens)]
            tokens = torch.cat([s.x for s in parts], dim=1)
            if any(s.mask is not None for s in extra):
                count = [torch.ones(s.x.shape[:2], dtype=torch.bool, device=s.x.device) for s in parts]
                mask = torch.cat([c if s.mask is None else s.mask for s, c in zip(parts, count, strict=True)], dim=1)
            if network_t.shape[1] > 1:
                pad = sum(s.x.shape[1] for s in extra)
                mod = torch.cat([mod[:, :1].expand(-1, pad, -1), mod], dim=1)
        pos = table if self.pos == "rope" else None
        return {MAIN: Stream(tokens, grid, pos, mask), **entered.context}, Mod(network_t, t_emb, mod)

    def _tokens(self, state: Tensor) -> Tensor:
        return self.patch_embed(patchify(state, self.patch))

    def _out(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.final_modulation(F.silu(c)).chunk(2, dim=-1)
        return self.final(modulate(self.final_norm(x), shift, scale))

    def head(self, h: Hidden, mod: Mod, ctx: Context) -> Tensor:
        stream = h[MAIN]
        n = math.prod(stream.grid)
        c = mod.c if mod.c.shape[1] == 1 else mod.c[:, -n:]
        return unpatchify(ctx.site("head", self._out, stream.x[:, -n:], c), stream.grid, self.patch)


def initialise(net: Trunk) -> None:
    """adaLN-Zero: linears Xavier-uniform with zero bias, modulations and output zero, time MLP N(0, 0.02).

    Args:
        net: with the parts of `DiT`: `time_embed`, blocks with a `modulation`, `final_modulation` and `final`.
    """
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for i in (0, 2):
        nn.init.normal_(net.time_embed.mlp[i].weight, std=0.02)  # type: ignore[arg-type, index, union-attr]
    for linear in [*(b.modulation for b in net.blocks), net.final_modulation, net.final]:
        nn.init.zeros_(linear.weight)  # type: ignore[arg-type]
        nn.init.zeros_(linear.bias)  # type: ignore[arg-type]
