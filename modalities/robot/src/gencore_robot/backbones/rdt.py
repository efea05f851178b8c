"""Robotics diffusion transformer: chunks of actions in one space for all robots (RDT, arXiv:2410.07864).

    tokens = [t, control frequency, state, actions];   state and actions with the 0/1 indicator joined to their channels
    x <- x + Attn(N1 x),   x <- x + Cross(N2 x, s_i),   x <- x + MLP(N3 x)

with s_i the i-th stream in turn: language in even blocks, images in odd ones.  There is no modulation by time, queries
and keys are normalised per head, streams are not normalised at all, and the MLP is as wide as the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gencore.backbone import Block, Trunk
from gencore.condition import Conditions, Port, check_ports
from gencore.context import Context
from gencore.denoised import Prediction
from gencore.errors import InputError
from gencore.nn.embed import TimeEmbedding
from gencore.nn.layers import CrossAttention, Mlp, SelfAttention
from gencore.stream import Hidden, Mod, Stream
from gencore_robot.backbones.adaptors import adaptor
from gencore_robot.backbones.norms import NormName, norm
from gencore_robot.backbones.streams import build_stream
from gencore_robot.backbones.tables import sequence_table

MAIN = "x"
BEFORE = 3
"""Tokens before the actions: time, control frequency, state."""


class RDTBlock(Block):
    """Self attention, cross attention to the stream `reads` (if any), and an MLP, each after a norm.

    Attributes:
        checkpointing: recompute the block in the backward pass instead of keeping its activations.
    """

    def __init__(self, width: int, heads: int, *, norm_name: NormName, reads: str | None) -> None:
        super().__init__()
        head = width // heads
        self.reads, self.checkpointing = reads, False
        self.norm1, self.norm3 = norm(norm_name, width), norm(norm_name, width)
        self.attn, self.mlp = SelfAttention(width, heads), Mlp(width, width)
        _norm_heads(self.attn, norm_name, head)
        if reads is not None:
            self.norm2, self.cross = norm(norm_name, width), CrossAttention(width, heads)
            _norm_heads(self.cross, norm_name, head)

    def _attn(self, x: Tensor, stream: Stream, ctx: Context) -> Tensor:
        return self.attn(self.norm1(x), stream, ctx)

    def _cross(self, x: Tensor, context: Stream, ctx: Context) -> Tensor:
        return self.cross(self.norm2(x), context, ctx)

    def _mlp(self, x: Tensor) -> Tensor:
        return self.mlp(self.norm3(x))

    def _layers(self, h: Hidden, ctx: Context) -> Hidden:
        stream = h[MAIN]
        x = stream.x
        x = x + ctx.site("attn", self._attn, x, stream, ctx)
        if self.reads is not None:
            x = x + ctx.site("cross", self._cross, x, h[self.reads], ctx)
        x = x + ctx.site("mlp", self._mlp, x)
        return {**h, MAIN: stream._replace(x=x)}

    def forward(self, h: Hidden, mod: Mod, ctx: Context) -> Hidden:
        if self.checkpointing and torch.is_grad_enabled():
            again = checkpoint(self._layers, h, ctx, use_reentrant=False, preserve_rng_state=False)
            return cast(Hidden, again)
        return self._layers(h, ctx)


class RDT(Trunk):
    """The action network on chunks (B, horizon, slots).

    Its conditions are ``state`` (B, 1, slots), ``indicator`` (B, 1, slots) 0 or 1 and never noised, ``frequency`` (B,)
    in Hz with 0 for unknown, and one for each stream.

    Args:
        width, depth, heads: of the trunk; `SIZES` holds the published ones.
        horizon: actions of a chunk.
        slots: values of an action and of a state.
        streams: {name: settings} of what blocks read in turn, see `gencore_robot.backbones.streams`; none leaves the
            cross attention out.
        state_adaptor: see `gencore_robot.backbones.adaptors`.
        norm: see `gencore_robot.backbones.norms`.
        prediction: what the output means.
        masked: whether values in slots the robot lacks are zeroed first; the published networks see their noise.

    Raises:
        InputError: a width that does not suit the heads, or a prediction with further channels.

    >>> from gencore.condition import Condition
    >>> net = RDT(width=16, depth=2, heads=2, horizon=4, slots=6, streams={"env": {"dims": 3, "length": 1}})
    >>> shapes = {"state": (1, 1, 6), "indicator": (1, 1, 6), "frequency": (1,), "env": (1, 1, 3)}
    >>> cond = {name: Condition(torch.ones(shape)) for name, shape in shapes.items()}
    >>> net(torch.zeros(1, 4, 6), torch.zeros(1), cond, Context()).pred.shape
    torch.Size([1, 4, 6])
    """

    prediction: Prediction

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        horizon: int = 64,
        slots: int = 128,
        streams: Mapping[str, Mapping[str, Any]] | None = None,
        state_adaptor: str = "mlp3x_gelu",
        norm: NormName = "timm_var",
        prediction: Prediction = Prediction("x0"),
        masked: bool = False,
    ) -> None:
        super().__init__()
        streams = dict(streams or {})
        if width % heads:
            raise InputError("width", width, f"a multiple of the {heads} heads")
        if prediction.extra is not None:
            raise InputError("prediction", prediction.extra, "no further channels")
        if taken := {"state", "indicator", "frequency", MAIN} & streams.keys():
            raise InputError("streams", taken.pop(), "another name, for instance language, images")
        self.horizon, self.slots, self.prediction, self.masked = horizon, slots, prediction, masked
        self._config = {
            "width": width, "depth": depth, "heads": heads, "horizon": horizon, "slots": slots,
            "streams": {name: dict(settings) for name, settings in streams.items()}, "state_adaptor": state_adaptor,
            "norm": norm, "prediction": prediction.config(), "masked": masked,
        }  # fmt: skip
        self.time_embed, self.frequency_embed = TimeEmbedding(width), TimeEmbedding(width)
        self.positions = nn.Parameter(sequence_table(horizon, width)[None])
        self.state_adaptor = adaptor(state_adaptor, 2 * slots, width)
        self.streams = nn.ModuleDict({name: build_stream(name, s, width) for name, s in streams.items()})
        self.ports = {
            "state": Port("token_concat", slots), "indicator": Port("channel_concat", slots, torch.zeros(slots)),
            "frequency": Port("token_concat", 1, torch.zeros(())),
            **{name: cast(Port, module.port) for name, module in self.streams.items()},
        }  # fmt: skip
        turns = list(streams) or [None]
        self.blocks = nn.ModuleList(
            RDTBlock(width, heads, norm_name=norm, reads=turns[i % len(turns)]) for i in range(depth)
        )
        self.final_norm = _norm(norm, width)
        self.final = nn.Sequential(nn.Linear(width, width), nn.GELU(approximate="tanh"), nn.Linear(width, slots))
        _initialise(self)

    def config(self) -> dict[str, Any]:
        return self._config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RDT:
        return cls(**{**config, "prediction": Prediction(**config["prediction"])})

    @property
    def checkpointing(self) -> bool:
        """Whether every block is recomputed in the backward pass."""
        return all(cast(RDTBlock, block).checkpointing for block in self.blocks)

    @checkpointing.setter
    def checkpointing(self, on: bool) -> None:
        for block in self.blocks:
            cast(RDTBlock, block).checkpointing = on

    def embed(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> tuple[Hidden, Mod]:
        if x_t.shape[1:] != (self.horizon, self.slots):
            raise InputError("chunk", f"shape {tuple(x_t.shape)}", f"(B, {self.horizon}, {self.slots})")
        check_ports(cond, self.ports)
        times = t.reshape(-1).expand(len(x_t))
        t_emb = self.time_embed(times)[:, None]
        frequency = self.frequency_embed(cond["frequency"].value.reshape(-1))[:, None]
        values = [cond["state"].value.to(x_t.dtype), x_t]
        tokens = ctx.site("embed", self._tokens, torch.cat(values, dim=1), cond["indicator"].value)
        x = torch.cat([t_emb, frequency, tokens], dim=1) + self.positions
        context = {name: Stream(embed(cond[name].value), mask=cond[name].mask) for name, embed in self.streams.items()}
        return {MAIN: Stream(x), **context}, Mod(times[:, None], t_emb, t_emb)

    def _tokens(self, values: Tensor, indicator: Tensor) -> Tensor:
        there = indicator.to(values.dtype).expand_as(values)
        return self.state_adaptor(torch.cat([values * there if self.masked else values, there], dim=-1))

    def _out(self, x: Tensor) -> Tensor:
        return self.final(self.final_norm(x))

    def head(self, h: Hidden, mod: Mod, ctx: Context) -> Tensor:
        return ctx.site("head", self._out, h[MAIN].x[:, BEFORE:])


_norm = norm


def _norm_heads(attention: nn.Module, name: NormName, head: int) -> None:
    """Normalise the queries and keys of every head."""
    attention.add_module("q_norm", norm(name, head))
    attention.add_module("k_norm", norm(name, head))


def _initialise(net: RDT) -> None:
    """Linears Xavier-uniform with zero bias, embeddings of time and frequency N(0, 0.02), the last linear zero."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for embedding in (net.time_embed, net.frequency_embed):
        for i in (0, 2):
            nn.init.normal_(cast(nn.Linear, embedding.mlp[i]).weight, std=0.02)
    nn.init.zeros_(cast(nn.Linear, net.final[2]).weight)


SIZES: dict[str, dict[str, int]] = {
    "170m": {"width": 1024, "depth": 14, "heads": 32},
    "1b": {"width": 2048, "depth": 28, "heads": 32},
}
"""RDT-170M and RDT-1B."""
STREAMS: dict[str, dict[str, Any]] = {
    "language": {"dims": 4096, "length": 1024, "grid": [-1024]},
    "images": {"dims": 1152, "length": 4374, "grid": [2, 3, -729]},
}
"""What the published networks read: T5-v1.1-XXL, and SigLIP so400m at 384 pixels of 2 frames of 3 cameras."""
