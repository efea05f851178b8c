"""Latents of the Stable Diffusion family of autoencoders, through diffusers' `AutoencoderKL`.

    latent = (E(x) - shift) scale,    x = D(latent / scale + shift)

Scale and shift are recorded with the checkpoint, because files of the same architecture differ in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gencore.errors import CheckpointError, InputError, MissingDependency
from gencore.noise import Noise
from gencore.spec import LatentSpec
from gencore.tokenizer import Facts, Latent, Tokenizer
from gencore.weights.files import require_finite


def _autoencoder() -> Any:
    try:
        from diffusers import AutoencoderKL
    except ImportError as fault:
        raise MissingDependency("diffusers", "the SD autoencoder", "gencore-images[vae]") from fault
    return AutoencoderKL


class SDVAE(Tokenizer):
    """(B, 3, H, W) images in [-1, 1] to (B, C, H/f, W/f) latents.

    Args:
        vae: configuration of the autoencoder, as in its ``config.json``.
        size: default (H, W) of the images.
        scale, shift: of the latents; None takes the configuration's.

    Raises:
        MissingDependency: diffusers is absent (on first use).
    """

    def __init__(self, vae: Mapping[str, Any], size: Sequence[int], *, scale: float | None = None,
                 shift: float | None = None) -> None:  # fmt: skip
        self.vae = {key: value for key, value in vae.items() if not key.startswith("_")}
        self.size = (int(size[0]), int(size[1]))
        self.scale = float(self.vae.get("scaling_factor", 0.18215) if scale is None else scale)
        self.shift = float((self.vae.get("shift_factor") or 0.0) if shift is None else shift)
        fold = 2 ** (len(self.vae.get("block_out_channels", (0,))) - 1)
        self.facts = Facts(multiple=fold, fold=(fold, fold))

    @classmethod
    def from_folder(cls, folder: str | Path, size: Sequence[int], **options: Any) -> SDVAE:
        """The autoencoder of a diffusers folder (``config.json`` and weights).

        Raises:
            CheckpointError: no such folder, or files that do not fit.
        """
        kind = _autoencoder()
        try:
            loaded = kind.from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=False)
        except (OSError, ValueError, RuntimeError) as fault:
            raise CheckpointError(
                "vae", f"{folder} ({str(fault).splitlines()[0]})", "a diffusers AutoencoderKL folder"
            ) from fault
        tokenizer = cls(dict(loaded.config), size, **options)
        tokenizer.load(loaded.state_dict())
        return tokenizer

    @cached_property
    def net(self) -> torch.nn.Module:
        return _autoencoder()(**self.vae).eval().requires_grad_(False)

    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        height, width = self.size if size is None else size
        fold = self.facts.multiple
        for name, n in (("height", height), ("width", width)):
            if n % fold:
                raise InputError(
                    name, n, f"a multiple of {fold}", f"nearest: {n // fold * fold} or {(n // fold + 1) * fold}"
                )
        channels = int(self.vae.get("latent_channels", 4))
        return LatentSpec("b c h w", (channels, height // fold, width // fold), time_axes=("h", "w"))

    def _placed(self, like: Tensor) -> Any:
        return self.net.to(like.device, like.dtype)

    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        distribution = self._placed(data).encode(data).latent_dist
        value = distribution.mean
        if noise is not None:
            eps = noise.draw("normal", ("encode",), tuple(value.shape[1:])).to(value)
            value = value + distribution.std * eps
        return Latent((value - self.shift) * self.scale)

    def decode(self, latent: Latent) -> Tensor:
        return self._placed(latent.value).decode(latent.value / self.scale + self.shift).sample

    def mask(self, mask: Tensor) -> Tensor:
        """A latent cell is given only if every pixel of its f x f patch is."""
        fold = self.facts.multiple
        return torch.nn.functional.max_pool2d(mask.float(), fold) > 0

    def config(self) -> dict[str, Any]:
        return {"vae": self.vae, "size": list(self.size), "scale": self.scale, "shift": self.shift}

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.net.state_dict())

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        require_finite(tensors)
        try:
            self.net.load_state_dict(dict(tensors))
        except RuntimeError as fault:
            raise CheckpointError(
                "vae", " ".join(str(fault).split())[:200], "the weights of this configuration"
            ) from fault
