"""Camera pictures through SigLIP (arXiv:2303.15343), by ``transformers``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import InputError, MissingDependency
from gencore_robot.conditioning.cache import EmbeddingCache
from gencore_robot.conditioning.values import repeated


class SigLIPViews(Conditioner):
    """The word ``images``: for each sample its `views` pictures, uint8 (H, W, 3), or (3, H, W) as mappings give
    them, or None where a camera is missing.

    A missing view is encoded as a picture in the processor's mean colour, which is also what a dropped view becomes;
    it is never a copy of another camera.  Colours must come in the order the network was trained with.

    Args:
        views: frames times cameras, the cameras of the oldest frame first.
        model: hub id or folder.
        name: of the network's stream.
        cache: folder of embeddings; not part of the model.
        dtype: of the encoder.

    Raises:
        MissingDependency: when a picture is encoded and ``transformers`` is absent.
    """

    words = ("images",)

    def __init__(self, views: int = 6, *, model: str = "google/siglip-so400m-patch14-384", name: str = "images",
                 cache: str | None = None, dtype: str = "bfloat16") -> None:  # fmt: skip
        self.views, self.model, self.name, self.dtype = views, model, name, dtype
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
        for pictures in samples:
            if len(pictures) != self.views:
                raise InputError(
                    "images", f"{len(pictures)} pictures", f"{self.views} a sample, None for a missing one"
                )
        value = torch.stack([torch.cat([self.tokens(p) for p in pictures]) for pictures in samples])
        null = self.tokens(None).repeat(self.views, 1)
        return {self.name: Condition(repeated("images", value, count), null=null)}

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        said = words.get("images")
        samples = [[None] * self.views] if said is None else said
        conditions = self._conditions(samples, count)
        return len(conditions[self.name]), conditions

    def targets(self, targets: Mapping[str, Any]) -> Conditions:
        return self._conditions(targets["images"])

    def config(self) -> dict[str, Any]:
        return {"views": self.views, "model": self.model, "name": self.name, "dtype": self.dtype}
