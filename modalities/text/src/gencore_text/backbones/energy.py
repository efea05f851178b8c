"""The energy of a whole sequence: how a candidate x_0 fits the tokens x_t it was drawn from (arXiv:2410.21357).

    e = W [embed(x_t); embed(x_0)] + b,   E = head(mean over positions of readout(blocks(e)))

Lower is better: candidates weigh exp(-E).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from gencore.backbone import Trunk
from gencore.condition import Condition, Conditions, Port, check_ports
from gencore.context import Context
from gencore.errors import InputError
from gencore.nn.embed import TimeEmbedding
from gencore.nn.rope import Rope, grid_positions
from gencore.stream import Hidden, Mod, Stream
from gencore_text.backbones.block import MAIN, Dropout, Readout, TransformerBlock, check_heads, token_embedding
from gencore_text.backbones.ddit import DDiT, modulation

CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True)
class EnergyPrediction:
    """The meaning of an `EnergyNet`'s output: a number a sequence, which no sampler can walk by."""

    kind: str = "energy"

    def read(self, output: Tensor, x_t: Tensor, process: Any, t: Tensor) -> NoReturn:
        """Refuse.

        Raises:
            InputError: always; an energy corrects a denoiser.
        """
        raise InputError("model", "an energy network", "a denoiser", "it corrects one: --energy FOLDER")

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind}


class EnergyNet(Trunk):
    """Energies (B,) of candidates given as the condition ``candidate`` (B, L) int64, for the tokens x_t (B, L).

    Args:
        vocab: number of token ids, the mask included.
        width, depth, heads, mlp_ratio: of the trunk.
        cond_dim: of the time embedding.
        dropout: after each sub-layer, in training.

    Raises:
        InputError: the width does not suit the heads, or a dropout rate outside [0, 1).

    >>> net = EnergyNet(5, width=8, depth=1, heads=2, cond_dim=4)
    >>> net.energy(torch.zeros(2, 3, 6, dtype=torch.int64), torch.full((2, 6), 4), torch.zeros(2)).shape
    torch.Size([2, 3])
    """

    def __init__(self, vocab: int, *, width: int = 256, depth: int = 5, heads: int = 4, cond_dim: int = 128,
                 mlp_ratio: float = 4.0, dropout: float = 0.1) -> None:  # fmt: skip
        super().__init__()
        check_heads(width, heads)
        self.prediction: Any = EnergyPrediction()
        self.ports: Mapping[str, Port] = {CANDIDATE: Port("channel_concat", 1)}
        self.time_axes, self.vocab = ("n",), vocab
        self._config = {"vocab": vocab, "width": width, "depth": depth, "heads": heads, "cond_dim": cond_dim,
                        "mlp_ratio": mlp_ratio, "dropout": dropout}  # fmt: skip
        self.tokens = token_embedding(vocab, width)
        self.join = nn.Linear(2 * width, width)
        self.time_embed = TimeEmbedding(cond_dim)
        rope, self.dropout = Rope(width // heads, layout="half"), Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, mlp_ratio=mlp_ratio, cond_dim=cond_dim, rope=rope, dropout=self.dropout)
            for _ in range(depth)
        )
        self.readout = Readout(width, width, cond_dim)
        self.out = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1, bias=False))

    @classmethod
    def from_denoiser(cls, net: DDiT) -> EnergyNet:
        """A new energy over the vocabulary of `net` that starts from its embeddings and blocks."""
        config = dict(net.config())
        made = cls(config.pop("prediction")["vocab"], **config)
        own = made.state_dict()
        shared = {k: v for k, v in net.state_dict().items() if k.startswith(("tokens.", "time_embed.", "blocks."))}
        made.load_state_dict({**own, **shared})
        return made

    def config(self) -> dict[str, Any]:
        return self._config

    def energy(self, candidates: Tensor, x_t: Tensor, t: Tensor, ctx: Context | None = None) -> Tensor:
        """(B, k) energies of `candidates` (B, k, L), each against its own row of `x_t` (B, L), in one call.

        Args:
            t: network time, (B,).
        """
        k = candidates.shape[1]
        condition = {CANDIDATE: Condition(candidates.flatten(0, 1))}
        rows, times = x_t.repeat_interleave(k, dim=0), t.repeat_interleave(k, dim=0)
        return self(rows, times, condition, ctx or Context()).pred.unflatten(0, (-1, k))

    def embed(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> tuple[Hidden, Mod]:
        check_ports(cond, self.ports)
        x0 = cond[CANDIDATE].value
        if x0.shape != x_t.shape:
            raise InputError(CANDIDATE, f"shape {tuple(x0.shape)}", f"{tuple(x_t.shape)}, as the state")
        both = torch.stack([x_t, x0], dim=-1)
        x = ctx.site("embed", self._joined, both)
        self.dropout.key(both)
        return {MAIN: Stream(x, pos=grid_positions(x_t.shape[1:], x_t.device))}, modulation(self.time_embed, x_t, t)

    def _joined(self, both: Tensor) -> Tensor:
        return self.join(self.tokens(both).flatten(2))

    def head(self, h: Hidden, mod: Mod, ctx: Context) -> Tensor:
        return ctx.site("head", self._energy, h[MAIN].x, mod.c)

    def _energy(self, x: Tensor, c: Tensor) -> Tensor:
        return self.out(self.readout(x, c).mean(dim=1)).squeeze(-1)
