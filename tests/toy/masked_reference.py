"""The denoiser of the published masked diffusion models as one function of a file of weights, for reference numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention, silu

from gencore.backbone import Backbone, Output
from gencore.categorical import TokenPrediction


class Published(Backbone):
    """Logits (B, L, V) from tokens (B, L), by the equations of the model and the names of its checkpoints."""

    def __init__(self, weights: dict[str, Tensor], heads: int, prediction: TokenPrediction) -> None:
        super().__init__()
        self.w, self.heads, self.prediction, self.ports, self.calls = weights, heads, prediction, {}, 0
        self.seen: list[Tensor] = []

    def forward(self, x_t, t, cond, ctx) -> Output:
        w = self.w
        self.calls += 1
        self.seen.append(t)
        frequency = torch.exp(-math.log(10000) * torch.arange(128) / 128)
        angle = t.float()[:, None] * frequency
        c = linear(torch.cat([angle.cos(), angle.sin()], -1), w["sigma_map.mlp.0.weight"], w["sigma_map.mlp.0.bias"])
        c = silu(linear(silu(c), w["sigma_map.mlp.2.weight"], w["sigma_map.mlp.2.bias"]))[:, None]
        x = w["vocab_embed.embedding"][x_t]
        for i in range(sum(name.endswith("norm1.weight") for name in w)):
            x = self._block(x, c, f"blocks.{i}.")
        shift, scale = self._modulation(c, "output_layer.", 2)
        x = self._norm(x, "output_layer.norm_final.weight") * (1 + scale) + shift
        return Output(linear(x, w["output_layer.linear.weight"], w["output_layer.linear.bias"]))

    def _block(self, x: Tensor, c: Tensor, at: str) -> Tensor:
        w = self.w
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self._modulation(c, at, 6)
        h = self._norm(x, f"{at}norm1.weight") * (1 + scale) + shift
        q, k, v = linear(h, w[f"{at}attn_qkv.weight"]).unflatten(-1, (3, self.heads, -1)).movedim(2, 0).transpose(2, 3)
        h = scaled_dot_product_attention(_turned(q), _turned(k), v).transpose(1, 2).flatten(2)
        x = x + gate * linear(h, w[f"{at}attn_out.weight"])
        h = self._norm(x, f"{at}norm2.weight") * (1 + scale_mlp) + shift_mlp
        h = gelu(linear(h, w[f"{at}mlp.0.weight"], w[f"{at}mlp.0.bias"]), approximate="tanh")
        return x + gate_mlp * linear(h, w[f"{at}mlp.2.weight"], w[f"{at}mlp.2.bias"])

    def _modulation(self, c: Tensor, at: str, parts: int) -> tuple[Tensor, ...]:
        name = f"{at}adaLN_modulation"
        return linear(c, self.w[f"{name}.weight"], self.w[f"{name}.bias"]).chunk(parts, -1)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return layer_norm(x, x.shape[-1:], self.w[name], None, 1e-5)

    def config(self):
        return {}


def _turned(x: Tensor) -> Tensor:
    """Rotary positions over halves, base 10000; x is (B, heads, L, D)."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * 10000.0 ** (-torch.arange(half) / half)
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
