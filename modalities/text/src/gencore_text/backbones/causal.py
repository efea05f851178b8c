"""The autoregressive language model: row i of its logits predicts token i from the tokens before it.

    log p(x) = sum_i log p(x_i | x_<i)

As a `Backbone` it is read like any denoiser, so block-wise sampling with blocks of one token is autoregressive
sampling, and an energy can ask it for the log-probability of a whole sequence in one call.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from gencore.backbone import Trunk
from gencore.categorical import TokenPrediction
from gencore.condition import Conditions, check_ports
from gencore.context import Context
from gencore.errors import unknown
from gencore.nn.rope import Rope, grid_positions
from gencore.stream import Hidden, Mod, Stream
from gencore_text.backbones.block import MAIN, Dropout, Readout, TransformerBlock, check_heads, token_embedding


class CausalTransformer(Trunk):
    """Logits (B, L, V) from tokens (B, L) int64; row i sees tokens 0 .. i-1 and nothing of time.

    Args:
        prediction: what the logits mean; names the vocabulary and its mask.
        start: what row 0 sees: the vector of the mask token ("mask"), or nothing ("none"), as in networks trained on
            ``x[:-1] -> x[1:]`` alone; then row 0 is 0, equal odds for every token.
        width, depth, heads, mlp_ratio: of the trunk.
        dropout: after each sub-layer, in training.

    Raises:
        InputError: the width does not suit the heads, a dropout rate outside [0, 1), or another `start`.

    >>> from gencore.context import Context
    >>> net = CausalTransformer(TokenPrediction(5, 4), width=8, depth=1, heads=2)
    >>> net(torch.tensor([[0, 2, 4]]), torch.zeros(1), {}, Context()).pred.shape
    torch.Size([1, 3, 5])
    """

    prediction: TokenPrediction

    def __init__(self, prediction: TokenPrediction, *, start: Literal["mask", "none"] = "mask", width: int = 256,
                 depth: int = 5, heads: int = 4, mlp_ratio: float = 4.0, dropout: float = 0.1) -> None:  # fmt: skip
        super().__init__()
        check_heads(width, heads)
        if start not in ("mask", "none"):
            raise unknown("start", start, ("mask", "none"))
        self.prediction, self.ports, self.start = prediction, {}, start
        self._config = {"prediction": prediction.config(), "start": start, "width": width, "depth": depth,
                        "heads": heads, "mlp_ratio": mlp_ratio, "dropout": dropout}  # fmt: skip
        self.tokens = token_embedding(prediction.vocab, width)
        rope, self.dropout = Rope(width // heads, layout="half"), Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, mlp_ratio=mlp_ratio, cond_dim=None, causal=True, rope=rope,
                             dropout=self.dropout)
            for _ in range(depth)
        )  # fmt: skip
        self.final = Readout(width, prediction.vocab, None)

    def config(self) -> dict[str, Any]:
        return self._config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CausalTransformer:
        return cls(**{**config, "prediction": TokenPrediction(**config["prediction"])})

    def embed(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> tuple[Hidden, Mod]:
        check_ports(cond, self.ports)
        before = x_t[:, :-1]
        if self.start == "mask":
            before = torch.cat([torch.full_like(x_t[:, :1], self.prediction.mask_id), before], dim=1)
        x = ctx.site("embed", self.tokens, before)
        self.dropout.key(x_t)
        none = x.new_zeros(1, 1, 0)
        return {MAIN: Stream(x, pos=grid_positions(before.shape[1:], x_t.device))}, Mod(none, none, none)

    def head(self, h: Hidden, mod: Mod, ctx: Context) -> Tensor:
        logits = ctx.site("head", self.final, h[MAIN].x, mod.c)
        if self.start == "none":
            logits = torch.cat([logits.new_zeros(len(logits), 1, logits.shape[2]), logits], dim=1)
        return logits
