"""Camera pictures through SigLIP (arXiv:2303.15343), by ``transformers``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import InputError, MissingDependency, unknown
from gencore_robot.conditioning.cache import EmbeddingCache
from gencore_robot.conditioning.values import repeated
from gencore_robot.embodiments.embodiment import ROLES


class SigLIPViews(Conditioner):
    """The word ``images``: for each sample its `views` pictures, uint8 (H, W, 3), or (3, H, W) as mappings give
    them, or None where a camera is missing; or for each sample its frames, each the pictures of the `roles`, or None
    before the episode; or the pictures of the `roles` alone, which are the last frame.

    A missing view is encoded as a picture in the processor's mean colour, which is also what a dropped view becomes;
    it is never a copy of another camera.  Colours must come in the order the network was trained with.

    Args:
        views: frames times cameras, the cameras of the oldest frame first.
        model: hub id or folder.
        frames: steps that the views span, which policies keep for each environment.
        roles: of the cameras that frames have, of `ROLES`; the network's others are missing.  None is all.
        name: of the network's stream.
        cache: folder of embeddings; not part of the model.
        dtype: of the encoder.

    Raises:
        InputError: views that the frames cannot share, an unknown role, or roles of another number of cameras.
        MissingDependency: when a picture is encoded and ``transformers`` is absent.
    """

    words = ("images",)

    def __init__(self, views: int = 6, *, model: str = "google/siglip-so400m-patch14-384", name: str = "images",
                 cache: str | None = None, dtype: str = "bfloat16", frames: int = 1,
                 roles: Sequence[str] | None = None) -> None:  # fmt: skip
        if frames < 1 or views % frames:
            raise InputError("frames", frames, f"a divisor of the {views} views")
        self.views, self.model, self.name, self.dtype, self.frames = views, model, name, dtype, frames
        self.roles = None if roles is None else list(roles)
        self.history = {"images": frames}
        self._places = _places(views // frames, self.roles)
        self.cache = None if cache is None else EmbeddingCache(cache, f"siglip {model} {dtype}")
        self._loaded: tuple[Any, Any] | None = None
        self._missing: Tensor | None = None

    def _parts(self) -> tuple[Any, Any]:
        if self._loaded is None:
            try:
                from transformers import (  # pyright: ignore[reportMissingImports]
                    SiglipImageProcessor,
                    SiglipVisionModel,
                )
            except ImportError as fault:
                raise MissingDependency("transformers", "the SigLIP encoder", "gencore-robot[encoders]") from fault
            net = SiglipVisionModel.from_pretrained(self.model, dtype=getattr(torch, self.dtype))
            self._loaded = SiglipImageProcessor.from_pretrained(self.model), net.eval()
        return self._loaded

    def _encode(self, picture: np.ndarray) -> Tensor:
        processor, net = self._parts()
        pixels = processor(images=picture, return_tensors="pt", input_data_format="channels_last").pixel_values
        with torch.no_grad():
            return net(pixel_values=pixels.to(net.dtype)).last_hidden_state[0].float()

    def tokens(self, picture: Any) -> Tensor:
        """(N, dims) float32 of one picture, or of a missing one."""
        if picture is None:
            if self._missing is None:
                processor, _ = self._parts()
                colour = np.array([int(255 * mean) for mean in processor.image_mean], np.uint8)
                self._missing = self._encode(np.broadcast_to(colour, (32, 32, 3)).copy())
            return self._missing
        pixels = np.asarray(picture)
        if pixels.ndim == 3 and pixels.shape[0] == 3 != pixels.shape[2]:
            pixels = np.moveaxis(pixels, 0, -1)
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise InputError("images", f"{pixels.dtype} of shape {pixels.shape}", "uint8 of shape (H, W, 3), or None")
        if self.cache is None:
            return self._encode(pixels)
        content = repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()
        return self.cache.get(content, lambda: self._encode(pixels))

    def _conditions(self, samples: Sequence[Sequence[Any]], count: int | None = None) -> Conditions:
        value = torch.stack([torch.cat([self.tokens(p) for p in self._placed(sample)]) for sample in samples])
        null = self.tokens(None).repeat(self.views, 1)
        return {self.name: Condition(repeated("images", value, count), null=null)}

    def _placed(self, sample: Sequence[Any]) -> list[Any]:
        """The `views` pictures of a sample."""
        cameras = self.views // self.frames
        if not any(isinstance(part, list | tuple) or np.ndim(part) == 4 for part in sample if part is not None):
            if len(sample) == self.views:
                return list(sample)
            sample = [*[None] * (self.frames - 1), sample]
        given = [None if frame is None else len(frame) for frame in sample]
        if len(given) != self.frames or set(given) - {None, len(self._places)}:
            raise InputError("images", f"{sum(n or 0 for n in given)} pictures",
                             f"{self.views} a sample, None for a missing one",
                             f"or {self.frames} frames of {len(self._places)}")  # fmt: skip
        found: list[Any] = [None] * self.views
        for i, frame in enumerate(sample):
            for place, picture in zip(self._places, () if frame is None else frame, strict=frame is not None):
                found[i * cameras + place] = picture
        return found

    def seen_by(self, roles: Sequence[str]) -> SigLIPViews:
        """The same encoder at a robot whose cameras have these roles.

        Raises:
            InputError: as the constructor.
        """
        other = copy(self)
        other.roles, other._places = list(roles), _places(self.views // self.frames, roles)
        return other

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        said = words.get("images")
        samples = [[None] * self.views] if said is None else said
        conditions = self._conditions(samples, count)
        return len(conditions[self.name]), conditions

    def targets(self, targets: Mapping[str, Any]) -> Conditions:
        return self._conditions(targets["images"])

    def config(self) -> dict[str, Any]:
        return {"views": self.views, "model": self.model, "name": self.name, "dtype": self.dtype,
                "frames": self.frames, "roles": self.roles}  # fmt: skip


def _places(cameras: int, roles: Sequence[str] | None) -> list[int]:
    """Which of the network's cameras each of a frame is."""
    if roles is None:
        return list(range(cameras))
    if stray := [role for role in roles if role not in ROLES]:
        raise unknown("camera role", stray[0], ROLES)
    places = [ROLES.index(role) for role in roles]
    if len(set(places)) < len(places) or max(places, default=0) >= cameras:
        raise InputError("roles", ", ".join(roles), f"different ones of {', '.join(ROLES[:cameras])}")
    return places
