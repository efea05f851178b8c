"""RDT's training loss on chunks of actions (arXiv:2410.07864), beside the one that counts existing slots alone.

    diluted = mean over all slots of (target - prediction)^2,     masked = its mean over the slots the robot has

The published loss is the first: slots that no robot of the batch has are predicted as zeros and counted, so that its
value is smaller by about the share of existing slots (14 of 128 on two six-joint arms).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gencore.backbone import Backbone
from gencore.condition import Condition, Conditions
from gencore.errors import InputError, unknown
from gencore.noise import Noise
from gencore.objective import Batch, Loss, Objective
from gencore.objectives.denoising import denoising_loss
from gencore.objectives.flow import predict
from gencore.objectives.region import WHOLE, Region
from gencore.processes.tables import TableProcess
from gencore_robot.conditioning.dropout import dropped_views

Minimised = Literal["masked", "diluted"]


class ActionDenoising(Objective):
    """Regression on samples (or noise, by the network's prediction) at uniformly drawn levels.

    Other conditions than views are dropped by the training's own rates.

    Args:
        process: of the network.
        minimise: which of the two is minimised; both are reported.
        state_std: (slots) deviations of the training states; with `snr`, noise is added to the state.
        snr: signal-to-noise ratio of that noise in dB: its deviation is state_std / sqrt(10^(snr / 10)).
        view_rates: probability of each view of the stream `views` to be missing, see `dropped_views`; none by default.
        views: name of that stream.

    Raises:
        InputError: an unknown loss, or only one of `state_std` and `snr`.
    """

    def __init__(
        self,
        process: TableProcess,
        *,
        minimise: Minimised = "masked",
        state_std: Sequence[float] | None = None,
        snr: float | None = None,
        view_rates: Sequence[float] = (),
        views: str = "images",
    ) -> None:
        if minimise not in get_args(Minimised):
            raise unknown("minimise", minimise, get_args(Minimised))
        if (state_std is None) != (snr is None):
            raise InputError("snr", snr, "state_std and snr together")
        self.process, self.views = process, views
        self.minimise: Minimised = minimise
        self.state_std = None if state_std is None else [float(v) for v in state_std]
        self.snr, self.view_rates = snr, list(view_rates)

    def config(self) -> dict[str, Any]:
        return {"minimise": self.minimise, "state_std": self.state_std, "snr": self.snr, "view_rates": self.view_rates,
                "views": self.views}  # fmt: skip

    def shown(self, net: Backbone, conditions: Conditions, noise: Noise) -> Conditions:
        """`conditions` with a noisy state and missing views."""
        result = dict(conditions)
        if self.state_std is not None and self.snr is not None:
            std, there = torch.tensor(self.state_std), conditions["indicator"].value
            # Of several robots each is noisy in its own slots; an indicator that was dropped does not tell them.
            own = torch.where(there.any(-1, keepdim=True), there, 1.0)
            result["state"] = noisy_state(conditions["state"], std.to(own) * own, self.snr, noise)
        if self.view_rates:
            views, port = conditions[self.views], net.ports[self.views]
            result[self.views] = dropped_views(views, port, self.view_rates, noise, self.views)
        return result

    def loss(self, phase: str, roles: Mapping[str, Backbone], batch: Batch, noise: Noise) -> Loss:
        net, x0, process = roles["model"], batch.x0, self.process
        level = (noise.draw("uniform", ("time",), ()).to(torch.float64) * process.steps).long().to(x0.device)
        level = level.clamp(max=process.steps - 1)
        eps, t = noise.draw("normal", ("eps",), tuple(x0.shape[1:])).to(x0), process.at(level)
        x_t = process.corrupt(x0, t, eps)
        d = predict(net, process, x_t, t, self.shown(net, batch.conditions, noise))
        regions = {"diluted": WHOLE, "masked": Region(scored=batch.valid)}
        parts = {
            name: denoising_loss(process, x0, eps, level, d, variance="fixed_small", region=region)["loss"].mean()
            for name, region in regions.items()
        }
        return Loss(parts[self.minimise], {name: value.detach() for name, value in parts.items()})


def noisy_state(state: Condition, std: Tensor, snr: float, noise: Noise) -> Condition:
    """`state` (B, 1, slots) with N(0, std^2 / 10^(snr / 10)) added, `snr` in dB.

    >>> from gencore.noise import Recorded
    >>> state = Condition(torch.zeros(1, 1, 2))
    >>> noisy_state(state, torch.tensor([2.0, 0.0]), 20.0, Recorded([torch.ones(1, 1, 2)])).value.tolist()
    [[[0.20000000298023224, 0.0]]]
    """
    value = state.value
    eps = noise.draw("normal", ("state",), tuple(value.shape[1:])).to(value)
    return replace(state, value=value + eps * std.to(value) * 10 ** (-snr / 20))
