"""The video transformer once more, in plain PyTorch: `nn` layers in the order of its equations, and nothing else.

    x <- x + F(Attn_t(LN(x)));   x <- x + g1 Attn_s((1 + a1) LN(x) + s1);   x <- x + g2 MLP((1 + a2) LN(x) + s2)

Written as one would write this one network for one clip size (VDT, arXiv:2305.13311), with the fused attention that
PyTorch offers; tables are made once.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencore_video.backbone import VDT


class Attention(nn.Module):
    """Multi-head self-attention over the middle axis of (N, L, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(n, length, width))


class Block(nn.Module):
    """Temporal attention, spatial attention, MLP on (B, T, S, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.temporal_norm = nn.LayerNorm(width, eps=1e-5)
        self.temporal_attn, self.temporal_fc = Attention(width, heads), nn.Linear(width, width)
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6, elementwise_affine=False) for _ in range(2))
        self.attn = Attention(width, heads)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        b, t, s, d = x.shape
        s1, a1, g1, s2, a2, g2 = self.modulation(F.silu(c))[:, None, None].chunk(6, dim=-1)
        places = x.transpose(1, 2).reshape(b * s, t, d)
        y = self.temporal_fc(self.temporal_attn(self.temporal_norm(places)))
        x = x + y.view(b, s, t, d).transpose(1, 2)
        y = self.norm1(x) * (1 + a1) + s1
        x = x + g1 * self.attn(y.reshape(b * t, s, d)).view(b, t, s, d)
        y = self.norm2(x) * (1 + a2) + s2
        return x + g2 * self.fc2(F.gelu(self.fc1(y), approximate="tanh"))


class PlainVDT(nn.Module):
    """The weights of `net` in a network for clips of `shape` (T, H, W)."""

    positions: Tensor
    frequencies: Tensor

    def __init__(self, net: VDT, shape: tuple[int, int, int]) -> None:
        super().__init__()
        settings = net.config()
        width, self.patch = settings["width"], settings["patch"]
        self.channels, self.rows, self.columns = settings["channels"], *(n // self.patch for n in shape[1:])
        self.patch_embed = nn.Linear(self.channels * self.patch**2, width)
        self.time1, self.time2 = nn.Linear(256, width), nn.Linear(width, width)
        self.blocks = nn.ModuleList(Block(width, settings["heads"]) for _ in range(settings["depth"]))
        self.final_norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.final_modulation, self.final = nn.Linear(width, 2 * width), nn.Linear(width, self.channels * self.patch**2)
        self.load_state_dict({_renamed(name): tensor for name, tensor in net.state_dict().items()})
        rows = torch.arange(self.rows).repeat_interleave(self.columns)
        columns = torch.arange(self.columns).repeat(self.rows)
        places = torch.cat([_sincos(columns, width // 2), _sincos(rows, width // 2)], dim=1)
        table = places + _sincos(torch.arange(shape[0]), width)[:, None]
        self.register_buffer("positions", table.float(), persistent=False)
        frequencies = torch.exp(-math.log(10000) * torch.arange(128) / 128)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.eval()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        b, ch, frames, _, _ = x.shape
        p, rows, columns = self.patch, self.rows, self.columns
        patches = x.view(b, ch, frames, rows, p, columns, p).permute(0, 2, 3, 5, 1, 4, 6)
        h = self.patch_embed(patches.reshape(b, frames, rows * columns, ch * p * p)) + self.positions
        angles = t[:, None] * self.frequencies
        c = self.time2(F.silu(self.time1(torch.cat([angles.cos(), angles.sin()], dim=1))))
        for block in self.blocks:
            h = block(h, c)
        shift, scale = self.final_modulation(F.silu(c))[:, None, None].chunk(2, dim=-1)
        y = self.final(self.final_norm(h) * (1 + scale) + shift).view(b, frames, rows, columns, p, p, ch)
        return y.permute(0, 6, 1, 2, 4, 3, 5).reshape(x.shape)


def _sincos(position: Tensor, width: int) -> Tensor:
    """(L, width) float64: sines, then cosines, of positions (L,) at falling frequencies."""
    omega = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angles = position[:, None] * omega
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _renamed(name: str) -> str:
    for ours, plain in (("temporal.", "temporal_"), ("mlp.", ""), ("time_embed.0.", "time1."),
                        ("time_embed.2.", "time2.")):  # fmt: skip
        name = name.replace(ours, plain)
    return name
