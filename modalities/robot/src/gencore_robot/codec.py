"""Between a robot's own numbers and the unified space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gencore.errors import InputError
from gencore.noise import Noise
from gencore.spec import LatentSpec
from gencore.tokenizer import Facts, Latent, Tokenizer
from gencore_robot.embodiments.embodiment import Embodiment
from gencore_robot.embodiments.library import load
from gencore_robot.layout import Layout
from gencore_robot.slots import SLOTS
from gencore_robot.statistics import Statistics


class ActionCodec(Tokenizer):
    """A robot's actions (B, horizon, A) in the unified space (B, horizon, 128), and its state beside them.

    Args:
        embodiment: its name, its ``.json`` file, the content of one, or itself.
        horizon: actions of one chunk.
        statistics: of the actions in the unified space, over what a model is trained on; with them the latent is
            standardised, where a slot varies at all.

    Raises:
        InputError: the embodiment cannot be used, or what it encodes does not come back.

    >>> import torch
    >>> codec = ActionCodec("franka", horizon=16)
    >>> codec.encode(torch.zeros(2, 16, 8).index_fill(2, torch.tensor([3]), -1.0)).value.shape
    torch.Size([2, 16, 128])
    """

    facts = Facts(fold=(1,))

    def __init__(self, embodiment: str | Path | Mapping[str, Any] | Embodiment, horizon: int = 64,
                 statistics: Statistics | Mapping[str, Any] | None = None) -> None:  # fmt: skip
        if isinstance(embodiment, Mapping):
            embodiment = Embodiment.from_config(embodiment)
        self.embodiment = embodiment if isinstance(embodiment, Embodiment) else load(embodiment)
        self.horizon = horizon
        self.statistics = Statistics.from_config(statistics) if isinstance(statistics, Mapping) else statistics
        self.state, self.action = Layout(self.embodiment.state, "state"), Layout(self.embodiment.action, "action")
        for layout in (self.state, self.action):
            layout.check_round_trip()
        self.indicator = self.state.valid | self.action.valid
        """(128,) bool: the slots the robot has, in its state or in its action."""
        self._scale = None if self.statistics is None else self.statistics.standard()

    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        if size is not None and tuple(size) != (self.horizon,):
            raise InputError("size", tuple(size), f"({self.horizon},), the horizon of this codec")
        return LatentSpec("b n c", (self.horizon, SLOTS))

    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        """Actions (B, horizon, A) in the robot's units.

        Raises:
            InputError: another shape, NaN, or an action outside the robot's limits; the entry is named.
        """
        if data.ndim != 3 or data.shape[1] != self.horizon:
            raise InputError("actions", f"shape {tuple(data.shape)}", f"(B, {self.horizon}, {self.action.width})")
        value = self.latent(self.encode_actions(data))
        return Latent(value, self.action.valid.to(value.device).expand(len(data), 1, SLOTS))

    def decode(self, latent: Latent) -> Tensor:
        """Actions (B, horizon, A) in the robot's units; they may lie outside its limits."""
        value = latent.value
        if self._scale is not None:
            mean, std = (part.to(value) for part in self._scale)
            value = value * std + mean
        return self.action.decode(value)

    def latent(self, value: Tensor) -> Tensor:
        """(..., 128) in the unified space, standardised where the codec has statistics."""
        if self._scale is None:
            return value
        mean, std = (part.to(value) for part in self._scale)
        return (value - mean) / std

    def encode_actions(self, actions: Tensor) -> Tensor:
        """Actions (..., A) of any number to (..., 128), 0 in slots the robot lacks.

        Raises:
            InputError: as for `encode`.
        """
        self.action.check_limits(actions)
        return self.action.encode(actions)

    def encode_state(self, state: Tensor) -> Latent:
        """Proprioception (..., S) in the robot's units to (..., 128), with the slots it has as (128,) bool.

        Sensors may read a little outside the limits of commands, so those are not applied.

        Raises:
            InputError: another width or NaN; the entry is named.
        """
        return Latent(self.state.encode(state), self.state.valid.to(state.device))

    def mask(self, mask: Tensor) -> Tensor:
        return mask.transpose(1, 2)

    def config(self) -> dict[str, Any]:
        statistics = self.statistics.config() if self.statistics else None
        return {"embodiment": self.embodiment.config(), "horizon": self.horizon, "statistics": statistics}
