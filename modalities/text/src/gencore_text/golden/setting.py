"""What the adapters of masked diffusion share: a case's process, its recorded draws, its plain network answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gencore.backbone import Backbone
from gencore.categorical import Categorical
from gencore.context import Context
from gencore.errors import InputError
from gencore.processes.absorbing import Absorbing, NetworkTime
from gencore_text.importers.assembly import SCHEDULES


class ExactChance(Absorbing):
    """The move chance is t itself, as in the published cached sampler; the network sees the schedule all the same."""

    def move_chance(self, t: Tensor) -> Tensor:
        return t.to(torch.float64)


def process_of(config: Mapping[str, Any], *, exact: bool = False, sees: NetworkTime | None = None) -> Absorbing:
    """The process of a case's ``config``: its ``noise`` ("loglinear eps=1e-3"), ``mask_index``, ``time_conditioning``.

    Args:
        exact: the move chance of the published cached sampler.
        sees: what the network is shown, in place of what ``time_conditioning`` says.
    """
    name, *settings = str(config.get("noise", "loglinear")).split()
    if name not in SCHEDULES:
        raise InputError("noise", name, ", ".join(SCHEDULES))
    pairs = (setting.partition("=") for setting in settings)
    values = {key: float(value) for key, _, value in pairs}
    shown: NetworkTime = "sigma" if config.get("time_conditioning") else "none"
    make = ExactChance if exact else Absorbing
    return make(config["mask_index"], SCHEDULES[name], network_time=sees or shown, **values)


def exponentials(uniforms: Tensor) -> Tensor:
    """The exponentials, float64, that published draws divide by: 1e-10 - log(u + 1e-10)."""
    return 1e-10 - torch.log(uniforms.double() + 1e-10)


@torch.no_grad()
def predict(net: Backbone, x: Tensor, process: Absorbing, t: Tensor) -> Categorical:
    """The network's plain answer for tokens `x` (B, L) at times `t` (B,)."""
    prediction: Any = net.prediction
    return prediction.read(net(x, process.model_time(t), {}, Context()).pred, x, process, t)


def numbered(names: Sequence[str], pattern: str) -> dict[int, str]:
    """The names that match `pattern` by the integer in its group, in order."""
    found = {int(match[1]): name for name in names if (match := re.fullmatch(pattern, name))}
    return dict(sorted(found.items()))


def weighted(nll: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
    """Per-token losses times the attention mask (B, L), and their mean over it."""
    masked = nll * attention
    return masked, masked.sum() / attention.sum()
