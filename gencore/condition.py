"""Conditions are data, ports say what a network accepts, and a declared null makes guidance and dropout generic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.noise import Noise

PortKind = Literal["modulation", "channel_concat", "token_concat", "cross_attention"]


@dataclass(frozen=True, slots=True)
class Port:
    """One input of a backbone.

    Args:
        kind: how it acts: added to the modulation vector; joined to the state along channels or along tokens;
            read by cross attention.
        dims: size of the last (or channel) axis of the value; number of classes for a label port.
        null: what stands for "absent", broadcast over the batch; None when the network never learned one.
    """

    kind: PortKind
    dims: int
    null: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A value for one port.

    Args:
        value: (B, ...) whatever the port takes.
        mask: (B, N) True where a token counts, for token and cross-attention ports.
        null: this condition's own "absent" value, which wins over the port's (an encoded empty prompt).
    """

    value: Tensor
    mask: Tensor | None = None
    null: Tensor | None = None

    def __len__(self) -> int:
        return self.value.shape[0]


Conditions = Mapping[str, Condition]


def null_of(name: str, condition: Condition, port: Port) -> Tensor:
    """The "absent" value of `condition`, shaped like its value.

    Raises:
        InputError: neither the condition nor the port declares a null.
    """
    null = condition.null if condition.null is not None else port.null
    if null is None:
        raise InputError(f"condition '{name}'", "guidance or dropout", "a condition with a null value",
                         "this network learned none; use guidance 1")  # fmt: skip
    return null.to(condition.value.device, condition.value.dtype).expand_as(condition.value)


def nulled(conditions: Conditions, ports: Mapping[str, Port], drop: Sequence[str] | None = None) -> Conditions:
    """`conditions` with those named in `drop` (default all) replaced by their nulls."""
    names = conditions.keys() if drop is None else drop
    return {n: replace(c, value=null_of(n, c, ports[n])) if n in names else c for n, c in conditions.items()}


def dropped(conditions: Conditions, ports: Mapping[str, Port], rate: float | Mapping[str, float],
            noise: Noise) -> Conditions:  # fmt: skip
    """`conditions` with each sample's value replaced by the null with probability `rate` (one rate, or one a name).

    This is the only place where conditions are dropped in training.
    """
    result = dict(conditions)
    for name, condition in conditions.items():
        p = rate if isinstance(rate, int | float) else rate.get(name, 0.0)
        if p <= 0:
            continue
        drop = noise.draw("uniform", ("drop", name), ()).to(condition.value.device) < p
        where = drop.reshape(-1, *(1,) * (condition.value.ndim - 1))
        null = null_of(name, condition, ports[name])
        result[name] = replace(condition, value=torch.where(where, null, condition.value))
    return result


def check_ports(conditions: Conditions, ports: Mapping[str, Port]) -> None:
    """Refuse a condition that no port would read, and a port left without a value."""
    for name in conditions:
        if name not in ports:
            raise InputError("condition", f"'{name}'", ", ".join(sorted(ports)) or "none: this network takes none")
    for name in ports:
        if name not in conditions:
            raise InputError(f"condition '{name}'", "nothing", "a value; its null stands for 'absent'")


def concatenated(parts: Sequence[Conditions]) -> Conditions:
    """Conditions of several guidance branches joined along the batch, in order."""
    joined = {}
    for name, first in parts[0].items():
        same = [p[name] for p in parts]
        mask = None if first.mask is None else torch.cat([c.mask for c in same if c.mask is not None])
        joined[name] = Condition(torch.cat([c.value for c in same]), mask)
    return joined
