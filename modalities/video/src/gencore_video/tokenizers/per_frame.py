"""A tokenizer of single pictures, frame by frame: an image VAE on video, as in VDT (arXiv:2305.13311).

    latent[:, :, k] = E(clip[:, :, k]),    clip[:, :, k] = D(latent[:, :, k])

Frames go through in chunks, so that a long clip needs the memory of a chunk besides its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gencore import components
from gencore.errors import InputError
from gencore.noise import Kind, Noise
from gencore.spec import LatentSpec
from gencore.tokenizer import Facts, Latent, Tokenizer
from gencore_video.rate import spell_rate


class PerFrame(Tokenizer):
    """(B, C, T, H, W) clips in [-1, 1] to (B, c, T, h, w) latents, whose frames are those of `image`.

    Args:
        image: of latents "b c h w", for instance the "sd-vae" of gencore-images.
        frames: default T.
        fps: frames a second of the clips, ``"10"``, ``"30000/1001"``, or a number.
        chunk: at most this many frames are encoded or decoded at once.

    Raises:
        InputError: a tokenizer of other axes, or a number below 1.
    """

    def __init__(self, image: Tokenizer, frames: int, *, fps: str | float = "10", chunk: int = 8) -> None:
        if (axes := image.spec().axes) != "b c h w":
            raise InputError("image tokenizer", f"axes '{axes}'", "'b c h w'")
        for name, value in (("frames", frames), ("chunk", chunk)):
            if value < 1:
                raise InputError(name, value, "1 or more")
        self.image, self.frames, self.fps, self.chunk = image, frames, spell_rate(fps), chunk
        known = image.facts
        self.facts = Facts(multiple=known.multiple, fold=(1, *known.fold), halo=known.halo, exact=known.exact)

    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        if size is not None and len(size) != 3:
            raise InputError("size", "x".join(map(str, size)), "TxHxW, for instance 16x256x256")
        if size is not None and size[0] < 1:
            raise InputError("size", f"{size[0]} frames", "1 or more")
        c, h, w = self.image.spec(None if size is None else size[1:]).sizes
        return LatentSpec("b c t h w", (c, self.frames if size is None else int(size[0]), h, w), time_axes=("t",))

    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        def part(frames: Tensor, first: int, count: int) -> Tensor:
            source = None if noise is None else _FrameNoise(noise, range(first, first + count))
            return self.image.encode(frames, source).value

        return Latent(self._each(data, part))

    def decode(self, latent: Latent) -> Tensor:
        return self._each(latent.value, lambda frames, first, count: self.image.decode(Latent(frames)))

    def mask(self, mask: Tensor) -> Tensor:
        return self._each(mask, lambda frames, first, count: self.image.mask(frames))

    def _each(self, x: Tensor, call: Callable[[Tensor, int, int], Tensor]) -> Tensor:
        """`call` on (B * k, C, H, W), `k` frames of each clip from `first` on, over all frames."""
        k = max(1, self.chunk // len(x))
        parts = []
        for first in range(0, x.shape[2], k):
            piece = x[:, :, first : first + k].transpose(1, 2)
            made = call(piece.flatten(0, 1), first, piece.shape[1])
            parts.append(made.unflatten(0, piece.shape[:2]).transpose(1, 2))
        return torch.cat(parts, dim=2)

    def config(self) -> dict[str, Any]:
        return {"image": components.describe("tokenizer", self.image), "frames": self.frames, "fps": self.fps,
                "chunk": self.chunk}  # fmt: skip

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> PerFrame:
        return cls(**{**config, "image": components.build("tokenizer", config["image"])})

    def tensors(self) -> dict[str, Tensor]:
        return self.image.tensors()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.image.load(tensors)


class _FrameNoise:
    """One stream a frame, keyed by the sample and the frame's own index, so that chunks change nothing."""

    def __init__(self, noise: Noise, frames: range) -> None:
        self._noise, self._frames = noise, frames
        self.count = noise.count * len(frames)

    def draw(self, kind: Kind, key: tuple[str | int, ...], shape: tuple[int, ...]) -> Tensor:
        draws = [self._noise.draw(kind, (*key, "frame", frame), shape) for frame in self._frames]
        return torch.stack(draws, dim=1).flatten(0, 1)
