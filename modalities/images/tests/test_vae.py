"""The SD autoencoder as a tokenizer, on a tiny one of the same family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gencore.errors import CheckpointError, InputError
from gencore.noise import Keyed
from gencore.tokenizer import Latent
from gencore_images.vae import SDVAE

diffusers = pytest.importorskip("diffusers", reason="the SD autoencoder needs diffusers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4, norm_num_groups=4, scaling_factor=0.5,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("vae")
    vae.save_pretrained(path)
    return path


def test_encode_and_decode_are_the_autoencoders_own_scaled_and_shifted(folder: Path) -> None:
    tokenizer = SDVAE.from_folder(folder, (16, 24), shift=0.25)
    reference = diffusers.AutoencoderKL.from_pretrained(folder)
    image = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        latent = tokenizer.encode(image).value
        mean = reference.encode(image).latent_dist.mean
        assert torch.allclose(latent, (mean - 0.25) * 0.5, atol=1e-6)
        assert torch.allclose(tokenizer.decode(Latent(latent)), reference.decode(mean).sample, atol=1e-5)
    assert tokenizer.spec().shape(2) == tuple(latent.shape)


def test_a_sampled_encoding_is_keyed_and_moves_by_the_posterior_deviation(folder: Path) -> None:
    tokenizer = SDVAE.from_folder(folder, (16, 16))
    image = torch.zeros(2, 3, 16, 16)
    with torch.no_grad():
        one, again, other = (tokenizer.encode(image, Keyed(s)).value for s in ([1, 2], [1, 2], [3, 2]))
        spread = tokenizer.net.encode(image).latent_dist.std * 0.5
        mean = tokenizer.encode(image).value
    eps = Keyed([1, 2]).draw("normal", ("encode",), tuple(one.shape[1:]))
    assert torch.equal(one, again) and torch.equal(one[1], other[1]) and not torch.equal(one[0], other[0])
    assert torch.allclose(one, mean + spread * eps, atol=1e-5)


def test_save_and_load_keep_weights_scale_and_shift(folder: Path) -> None:
    first = SDVAE.from_folder(folder, (16, 16), scale=2.0)
    second = SDVAE(**first.config())
    second.load(first.tensors())
    image = torch.zeros(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(first.encode(image).value, second.encode(image).value)


def test_a_latent_cell_is_given_only_if_all_its_pixels_are(folder: Path) -> None:
    mask = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    mask[..., 5, 9] = True
    cells = SDVAE.from_folder(folder, (16, 16)).mask(mask)
    assert cells.nonzero().tolist() == [[0, 0, 1, 2]]


def test_sizes_the_autoencoder_cannot_fold_are_refused_with_the_nearest(folder: Path) -> None:
    with pytest.raises(InputError, match=r"height: got 18; accepted: a multiple of 4; nearest: 16 or 20"):
        SDVAE.from_folder(folder, (16, 16)).spec((18, 16))


def test_other_folders_and_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="vae"):
        SDVAE.from_folder(tmp_path, (16, 16))
    with pytest.raises(CheckpointError, match="vae"):
        SDVAE.from_folder(folder, (16, 16)).load({"x": torch.zeros(1)})
