"""Masked (absorbing) discrete diffusion: every token turns into the mask by itself and stays so.

q(x_t | x_0) = m(t) [mask] + (1 - m(t)) [x_0],   m(t) = 1 - exp(-sigma(t))

(D3PM, arXiv:2107.03006; SEDD, arXiv:2310.16834; MDLM, arXiv:2406.07524).  The schedules of m are values, in
`gencore.processes.mask_schedules`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gencore.errors import InputError, unknown
from gencore.process import AbsorbingProcess
from gencore.processes.mask_schedules import SCHEDULES

NetworkTime = Literal["none", "sigma", "t"]


class Absorbing(AbsorbingProcess):
    """Masking with a named schedule.

    >>> Absorbing(mask_id=3).move_chance(torch.tensor([0.0, 0.5], dtype=torch.float64)).tolist()
    [0.0, 0.4995]

    Args:
        mask_id: token id of the mask.
        schedule: a name of `SCHEDULES`.
        network_time: what the network was trained to see: "none" shows it 0 (a network without time, whose prediction
            may be used again while no token changes), "sigma" the total noise, "t" the time itself.
        settings: of the schedule: ``eps``, or ``sigma_min`` and ``sigma_max``.

    Raises:
        InputError: an unknown name, a setting the schedule does not have, or one out of range.
    """

    def __init__(self, mask_id: int, schedule: str = "loglinear", *, network_time: NetworkTime = "none",
                 **settings: float) -> None:  # fmt: skip
        if schedule not in SCHEDULES:
            raise unknown("schedule", schedule, SCHEDULES)
        if network_time not in get_args(NetworkTime):
            raise unknown("network_time", network_time, get_args(NetworkTime))
        if mask_id < 0:
            raise InputError("mask_id", mask_id, "a token id, 0 or more")
        names = SCHEDULES[schedule].__dataclass_fields__  # type: ignore[attr-defined]
        for name, value in settings.items():
            if name not in names:
                raise unknown("schedule setting", name, names)
            if not value > 0 or (name == "eps" and value >= 1):
                raise InputError(name, value, "between 0 and 1" if name == "eps" else "more than 0")
        self.mask_id, self.name = mask_id, schedule
        self.network_time: NetworkTime = network_time
        self.schedule = SCHEDULES[schedule](**settings)

    def sigma(self, t: Tensor) -> Tensor:
        """Total noise at `t`, float64, of the shape of `t`."""
        return self.schedule.sigma(t.to(torch.float64))

    def d_sigma(self, t: Tensor) -> Tensor:
        """d sigma / d t at `t`, float64, of the shape of `t`."""
        return self.schedule.d_sigma(t.to(torch.float64))

    def move_chance(self, t: Tensor) -> Tensor:
        return self.schedule.move_chance(t.to(torch.float64))

    def time_at(self, move_chance: Tensor) -> Tensor:
        """The time in [0, 1] at which a token is masked with probability `move_chance`; the nearest end where none is.

        >>> round(Absorbing(3, "cosine").time_at(torch.tensor([0.4995])).item(), 4)
        0.6667
        """
        return self.schedule.time(-torch.log1p(-move_chance.to(torch.float64))).clamp(0, 1)

    def model_time(self, t: Tensor) -> Tensor:
        match self.network_time:
            case "none":
                return torch.zeros_like(t, dtype=torch.float64)
            case "sigma":
                return self.sigma(t)
        return t.to(torch.float64)

    def config(self) -> dict[str, Any]:
        return {"mask_id": self.mask_id, "schedule": self.name, "network_time": self.network_time,
                **asdict(self.schedule)}  # type: ignore[call-overload]  # fmt: skip
