"""Camera pictures as they are, for networks that learn to see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import InputError
from gencore_robot.conditioning.values import batched


class CameraFrames(Conditioner):
    """The word ``images``: (B, views, 3, H, W), uint8 or floats in [0, 1]; a missing view is black.

    Args:
        views: frames times cameras, the cameras of the oldest frame first.
        name: of the network's stream.
    """

    words = ("images",)

    def __init__(self, views: int, *, name: str = "images") -> None:
        self.views, self.name = views, name

    def _pictures(self, value: Any, count: int | None = None) -> Condition:
        if value is None:
            raise InputError("images", "nothing", f"{self.views} pictures")
        whole = not torch.as_tensor(value).is_floating_point()
        x = batched("images", value, (self.views, 3, None, None), count)
        x = x / 255 if whole else x
        if bool(((x < 0) | (x > 1)).any()):
            raise InputError("images", f"{x.min():g} to {x.max():g}", "uint8, or floats from 0 to 1")
        return Condition(x)

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        pictures = self._pictures(words.get("images"), count)
        return len(pictures), {self.name: pictures}

    def targets(self, targets: Mapping[str, Tensor]) -> Conditions:
        return {self.name: self._pictures(targets["images"])}

    def config(self) -> dict[str, Any]:
        return {"views": self.views, "name": self.name}
