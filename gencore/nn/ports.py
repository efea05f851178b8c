"""How a condition enters a network: one small embedding per port, each with its own null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gencore.condition import Conditions, Port, check_ports
from gencore.errors import InputError, unknown
from gencore.stream import Stream


class LabelPort(nn.Module):
    """A class label (B,) int64 as a modulation vector; the row after the last class is the null.

    Args:
        classes: number of classes K; labels are 0..K-1.
        null: whether a null row K exists; without it this network cannot be guided.
    """

    def __init__(self, dim: int, classes: int, *, null: bool = True) -> None:
        super().__init__()
        self.table = nn.Embedding(classes + null, dim)
        self.port = Port("modulation", classes, torch.tensor(classes) if null else None)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, value: Tensor) -> Tensor:
        return self.table(value)


class VectorPort(nn.Module):
    """A vector (B, dims) as a modulation vector, or tokens (B, N, dims) as hidden tokens; zeros are the null."""

    def __init__(self, dim: int, dims: int, *, kind: str) -> None:
        super().__init__()
        self.proj = nn.Linear(dims, dim)
        self.port = Port(kind, dims, torch.zeros(dims))  # type: ignore[arg-type]

    def forward(self, value: Tensor) -> Tensor:
        return self.proj(value)


class ChannelPort(nn.Module):
    """A map (B, dims, *size) joined to the state's channels; zeros are the null."""

    def __init__(self, rank: int, dims: int) -> None:
        super().__init__()
        self.port = Port("channel_concat", dims, torch.zeros(dims, *(1,) * rank))

    def forward(self, value: Tensor) -> Tensor:
        return value


def build_ports(ports: Mapping[str, Mapping[str, Any]], dim: int, rank: int) -> nn.ModuleDict:
    """The embeddings of a network's ports.

    Args:
        ports: ``{name: {"kind": ...}}`` with ``{"kind": "label", "classes": K, "null": True}``,
            ``{"kind": "modulation" | "token_concat" | "cross_attention", "dims": D}`` or
            ``{"kind": "channel_concat", "dims": C}``.
        dim: hidden width.
        rank: number of axes of the state's grid.
    """
    built: dict[str, nn.Module] = {}
    for name, spec in ports.items():
        match spec:
            case {"kind": "label", "classes": int(classes), **rest}:
                built[name] = LabelPort(dim, classes, **rest)
            case {"kind": "modulation" | "token_concat" | "cross_attention" as kind, "dims": int(dims)}:
                built[name] = VectorPort(dim, dims, kind=kind)
            case {"kind": "channel_concat", "dims": int(dims)}:
                built[name] = ChannelPort(rank, dims)
            case {"kind": str(kind)}:
                raise unknown(f"port '{name}'", kind,
                              ["label", "modulation", "token_concat", "cross_attention", "channel_concat"])  # fmt: skip
            case _:
                raise InputError(f"port '{name}'", dict(spec), "a kind, and dims or classes")
    return nn.ModuleDict(built)


class Entered(NamedTuple):
    """Where conditions entered a network.

    Args:
        state: (B, C + joined channels, ...) the state and the maps joined to its channels.
        c: (B, M, D) the time embedding plus the modulation conditions.
        tokens: streams that join the state's tokens, by port.
        context: streams read by cross attention, by port.
    """

    state: Tensor
    c: Tensor
    tokens: dict[str, Stream]
    context: dict[str, Stream]


def enter(embeddings: nn.ModuleDict, ports: Mapping[str, Port], cond: Conditions, x_t: Tensor, t_emb: Tensor
          ) -> Entered:  # fmt: skip
    """Every condition of `cond`, embedded, at the place its port says.

    Args:
        embeddings: what `build_ports` returned, and `ports` the ports of its modules.
        x_t: (B, C, ...) the state.
        t_emb: (B, M, D) the embedded times.

    Raises:
        InputError: a condition without port, or a port without condition.
    """
    check_ports(cond, ports)
    c, maps = t_emb, [x_t]
    streams: dict[str, dict[str, Stream]] = {"token_concat": {}, "cross_attention": {}}
    for name, port in ports.items():
        value = embeddings[name](cond[name].value)
        match port.kind:
            case "modulation":
                c = c + value[:, None]
            case "channel_concat":
                maps.append(value.to(x_t.dtype))
            case kind:
                streams[kind][name] = Stream(value, mask=cond[name].mask)
    state = torch.cat(maps, dim=1) if len(maps) > 1 else x_t
    return Entered(state, c, streams["token_concat"], streams["cross_attention"])
