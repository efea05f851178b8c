"""The denoiser of masked diffusion language models, a diffusion transformer over tokens (arXiv:2406.07524).

Token embeddings without positions, rotary attention, adaLN from c = SiLU(MLP(features of the network time)).  Fed a
network time of 0 throughout, as `AbsorbingProcess` does unless told otherwise, it is time-free: equal tokens give
equal logits at any t.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from gencore.backbone import Trunk
from gencore.categorical import TokenPrediction
from gencore.condition import Conditions, check_ports
from gencore.context import Context
from gencore.errors import InputError
from gencore.nn.embed import TimeEmbedding
from gencore.nn.rope import Rope, grid_positions
from gencore.stream import Hidden, Mod, Stream
from gencore_text.backbones.block import MAIN, Dropout, Readout, TransformerBlock, check_heads, token_embedding


class DDiT(Trunk):
    """Logits (B, L, V) from tokens (B, L) int64 of any length and a time (B,), or (B, L) of their own.

    Args:
        prediction: what the logits mean; names the vocabulary and its mask.
        width, depth, heads, mlp_ratio: of the trunk.
        cond_dim: of the time embedding.
        dropout: after each sub-layer, in training.

    Raises:
        InputError: the width does not suit the heads, or a dropout rate outside [0, 1).

    >>> import torch
    >>> from gencore.context import Context
    >>> net = DDiT(TokenPrediction(5, 4), width=8, depth=1, heads=2, cond_dim=4)
    >>> net(torch.tensor([[4, 2, 4]]), torch.zeros(1), {}, Context()).pred.shape
    torch.Size([1, 3, 5])
    """

    prediction: TokenPrediction

    def __init__(self, prediction: TokenPrediction, *, width: int = 256, depth: int = 5, heads: int = 4,
                 cond_dim: int = 128, mlp_ratio: float = 4.0, dropout: float = 0.1) -> None:  # fmt: skip
        super().__init__()
        check_heads(width, heads)
        self.prediction, self.ports, self.time_axes = prediction, {}, ("n",)
        self._config = {"prediction": prediction.config(), "width": width, "depth": depth, "heads": heads,
                        "cond_dim": cond_dim, "mlp_ratio": mlp_ratio, "dropout": dropout}  # fmt: skip
        self.tokens = token_embedding(prediction.vocab, width)
        self.time_embed = TimeEmbedding(cond_dim)
        rope, self.dropout = Rope(width // heads, layout="half"), Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, mlp_ratio=mlp_ratio, cond_dim=cond_dim, rope=rope, dropout=self.dropout)
            for _ in range(depth)
        )
        self.final = Readout(width, prediction.vocab, cond_dim)

    def config(self) -> dict[str, Any]:
        return self._config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DDiT:
        return cls(**{**config, "prediction": TokenPrediction(**config["prediction"])})

    def embed(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> tuple[Hidden, Mod]:
        check_ports(cond, self.ports)
        x = ctx.site("embed", self.tokens, x_t)
        self.dropout.key(x_t)
        return {MAIN: Stream(x, pos=grid_positions(x_t.shape[1:], x_t.device))}, modulation(self.time_embed, x_t, t)

    def head(self, h: Hidden, mod: Mod, ctx: Context) -> Tensor:
        return ctx.site("head", self.final, h[MAIN].x, mod.c)


def modulation(time_embed: TimeEmbedding, x_t: Tensor, t: Tensor) -> Mod:
    """What modulates the blocks over tokens `x_t` (B, L) at network times `t`, (B,), (B, 1) or (B, L)."""
    network_t = t[:, None] if t.ndim == 1 else t
    if network_t.ndim != 2 or network_t.shape[1] not in (1, x_t.shape[1]):
        raise InputError("time", f"shape {tuple(t.shape)}", f"(B,), or (B, {x_t.shape[1]}) with a time a token")
    t_emb = time_embed(network_t)
    return Mod(network_t, t_emb, F.silu(t_emb))
