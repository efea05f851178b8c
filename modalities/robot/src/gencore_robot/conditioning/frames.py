"""Camera pictures as they are, for networks that learn to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import InputError, unknown
from gencore_robot.conditioning.values import batched
from gencore_robot.embodiments.embodiment import ROLES


class CameraFrames(Conditioner):
    """The word ``images``: (B, views, 3, H, W), uint8 or floats in [0, 1]; a missing view is black.

    Args:
        views: frames times cameras, the cameras of the oldest frame first.
        name: of the network's stream.
        roles: of the cameras, of `ROLES`, one a view, by which readers find the pictures of a robot.
        size: (H, W) that pictures of another size are brought to by averaging areas; None takes any.

    Raises:
        InputError: an unknown role, or not as many as views.
    """

    words = ("images",)

    def __init__(self, views: int, *, name: str = "images", roles: Sequence[str] = (),
                 size: Sequence[int] | None = None) -> None:  # fmt: skip
        if stray := [role for role in roles if role not in ROLES]:
            raise unknown("camera role", stray[0], ROLES)
        if roles and len(roles) != views:
            raise InputError("roles", f"{len(roles)} roles", f"{views}, one a view")
        self.views, self.name, self.roles = views, name, list(roles)
        self.size = None if size is None else [int(n) for n in size]

    def _pictures(self, value: Any, count: int | None = None) -> Condition:
        if value is None:
            raise InputError("images", "nothing", f"{self.views} pictures")
        whole = not torch.as_tensor(value).is_floating_point()
        x = batched("images", value, (self.views, 3, None, None), count)
        x = x / 255 if whole else x
        if bool(((x < 0) | (x > 1)).any()):
            raise InputError("images", f"{x.min():g} to {x.max():g}", "uint8, or floats from 0 to 1")
        if self.size is not None and list(x.shape[-2:]) != self.size:
            x = F.interpolate(x.flatten(0, 1), self.size, mode="area").unflatten(0, (-1, self.views))
        return Condition(x)

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        pictures = self._pictures(words.get("images"), count)
        return len(pictures), {self.name: pictures}

    def targets(self, targets: Mapping[str, Tensor]) -> Conditions:
        return {self.name: self._pictures(targets["images"])}

    def example(self, n: int) -> dict[str, Any]:
        """Grey pictures for `n` samples, from dark to bright."""
        shade = (255 * (torch.arange(n) + 1) // (n + 1)).to(torch.uint8)[:, None, None, None, None]
        return {"images": shade.repeat(1, self.views, 3, *(self.size or (16, 16)))}

    def config(self) -> dict[str, Any]:
        return {"views": self.views, "name": self.name, "roles": self.roles, "size": self.size}
