"""Tokenizers of clips: frames as they are, and any image tokenizer frame by frame in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gencore import components, plugins
from gencore.errors import InputError
from gencore.manifest import Manifest
from gencore.noise import Keyed, Noise
from gencore.spec import LatentSpec
from gencore.tokenizer import Facts, Latent, Tokenizer
from gencore_video.tokenizers.frames import Frames
from gencore_video.tokenizers.per_frame import PerFrame


class Halver(Tokenizer):
    """Means of 2 x 2 pixels plus noise, and a record of how many pictures it sees at once."""

    facts = Facts(multiple=2, fold=(2, 2))

    def __init__(self, gain: float = 1.0) -> None:
        self.gain, self.seen = gain, list[int]()

    def spec(self, size: Sequence[int] | None = None) -> LatentSpec:
        h, w = size or (8, 12)
        return LatentSpec("b c h w", (3, h // 2, w // 2))

    def encode(self, data: Tensor, noise: Noise | None = None) -> Latent:
        self.seen.append(len(data))
        value = self.gain * torch.nn.functional.avg_pool2d(data, 2)
        if noise is not None:
            assert noise.count == len(data)
            value = value + noise.draw("normal", ("encode",), tuple(value.shape[1:]))
        return Latent(value)

    def decode(self, latent: Latent) -> Tensor:
        self.seen.append(len(latent.value))
        return (latent.value / self.gain).repeat_interleave(2, -1).repeat_interleave(2, -2)

    def mask(self, mask: Tensor) -> Tensor:
        return torch.nn.functional.max_pool2d(mask.float(), 2) > 0

    def config(self) -> dict[str, Any]:
        return {"gain": self.gain}

    def tensors(self) -> dict[str, Tensor]:
        return {"gain": torch.tensor(self.gain)}


def clips(batch: int = 2, frames: int = 7) -> Tensor:
    return Keyed(range(batch)).draw("normal", ("clip",), (3, frames, 8, 12))


@given(st.integers(1, 20), st.integers(1, 3), st.booleans())
@settings(max_examples=30, deadline=None)
def test_chunks_change_nothing_and_bound_what_is_held(chunk: int, batch: int, noisy: bool) -> None:
    image = Halver()
    whole, parts = PerFrame(Halver(), 7, chunk=1000), PerFrame(image, 7, chunk=chunk)
    data, noise = clips(batch), Keyed(range(batch)) if noisy else None
    expected = whole.encode(data, noise).value
    latent = parts.encode(data, noise)
    assert torch.equal(latent.value, expected)
    assert torch.equal(parts.decode(latent), whole.decode(latent))
    assert max(image.seen) <= max(chunk, batch) and sum(image.seen) == 2 * 7 * batch


def test_each_frame_is_the_image_tokenizers_and_has_noise_of_its_own() -> None:
    data = clips()
    latent = PerFrame(Halver(), 7).encode(data).value
    for k in range(7):
        assert torch.equal(latent[:, :, k], Halver().encode(data[:, :, k]).value)
    still = torch.zeros(2, 3, 5, 8, 12)
    noisy = PerFrame(Halver(), 5, chunk=3).encode(still, Keyed([4, 5])).value
    flat = noisy.transpose(1, 2).flatten(0, 1).flatten(1)
    assert len({tuple(row.tolist()) for row in flat}) == 10
    # A longer clip begins with the shorter one, and a sample does not depend on its batch.
    longer = PerFrame(Halver(), 9, chunk=2).encode(torch.zeros(1, 3, 9, 8, 12), Keyed([5])).value
    assert torch.equal(longer[0, :, :5], noisy[1])


def test_a_latent_cell_is_given_only_if_all_its_pixels_are() -> None:
    mask = torch.zeros(1, 1, 3, 8, 12, dtype=torch.bool)
    mask[0, 0, 1, 3, 5] = True
    free = PerFrame(Halver(), 3, chunk=2).mask(mask)
    assert free.nonzero().tolist() == [[0, 0, 1, 1, 2]]


def test_the_spec_is_the_images_with_frames() -> None:
    per_frame = PerFrame(Halver(), 7, fps="30000/1001")
    assert per_frame.spec() == LatentSpec("b c t h w", (3, 7, 4, 6), ("t",))
    assert per_frame.spec((2, 16, 20)).sizes == (3, 2, 8, 10) and per_frame.facts.fold == (1, 2, 2)
    manifest = Manifest(name="halving", summary="-", provides={"tokenizer": {"halver": f"{__name__}:Halver"}})
    with plugins.registered(manifest):
        settings = components.describe("tokenizer", PerFrame(Halver(2.0), 7, chunk=3))
        assert components.build("tokenizer", settings).config() == {k: settings[k] for k in settings if k != "type"}
        assert settings["image"] == {"type": "halver", "gain": 2.0} and settings["chunk"] == 3
    with pytest.raises(InputError, match="TxHxW"):
        per_frame.spec((8, 12))
    with pytest.raises(InputError, match="'b c h w'"):
        PerFrame(Frames(3, (4, 8, 8)), 4)


def test_an_image_autoencoder_on_clips() -> None:
    pytest.importorskip("diffusers")
    images = pytest.importorskip("gencore_images.vae")
    from gencore.nn.init import seeded

    vae = {"block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4,
           "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}  # fmt: skip
    with seeded(0):
        tokenizer = PerFrame(images.SDVAE(vae, (16, 24)), 5, chunk=2)
        data = clips(1, 5)[..., :8, :12].repeat(1, 1, 1, 2, 2)
        latent = tokenizer.encode(data)
    tokenizer.spec().check(latent.value)
    alone = tokenizer.image.encode(data[:, :, 3]).value
    torch.testing.assert_close(latent.value[:, :, 3], alone)
    assert tokenizer.decode(latent).shape == data.shape
    built = components.build("tokenizer", components.describe("tokenizer", tokenizer))
    built.load(tokenizer.tensors())
    torch.testing.assert_close(built.encode(data).value, latent.value)


def test_frames_are_untouched_and_sizes_checked() -> None:
    frames, data = Frames(3, (16, 32, 48), multiple=8, fps="25.0"), clips()
    assert frames.encode(data).value is data and frames.decode(Latent(data)) is data
    assert frames.spec((3, 8, 16)).sizes == (3, 3, 8, 16)
    assert frames.config() == {"channels": 3, "size": [16, 32, 48], "multiple": 8, "fps": "25"}
    for size, words in (((16, 30, 32), "24 or 32"), ((0, 8, 8), "0 frames"), ((16, 4, 8), "nearest to 4: 8"),
                        ((8, 8), "TxHxW"), ((1, 2, 3, 4), "TxHxW")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            frames.spec(size)
    with pytest.raises(InputError, match="fps"):
        Frames(3, (2, 8, 8), fps=0)
    with pytest.raises(InputError, match="channels"):
        Frames(2, (2, 8, 8))
