"""Pictures in and out, data of any size, presets of the published networks, and figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gencore.backbones.dit import DiT
from gencore.denoised import Prediction
from gencore.errors import InputError
from gencore.media.sheet import GAP
from gencore.noise import Keyed
from gencore.plugins import provided, resolve
from gencore.recipe import read_recipe
from gencore.testing.tiny import tiny_pipeline
from gencore_images.evaluation import evaluate, evaluate_pixels, fit_pca, wilson
from gencore_images.items import Items, open_items
from gencore_images.modality import Images
from gencore_images.pictures import cut, grid, to_data, to_pictures
from gencore_images.presets import SIZES, digits, dit_s, flip, sit_s

DIGITS = np.load(Path(__file__).parent / "data" / "digits.npz")


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


# ---- pictures


@given(st.integers(0, 255))
def test_every_grey_level_survives_both_ways(level: int) -> None:
    data = to_data(np.full((2, 3), level, np.uint8))
    assert data.shape == (1, 1, 2, 3) and (np.asarray(to_pictures(data)[0]) == level).all()


def test_values_outside_the_range_are_clipped() -> None:
    (picture,) = to_pictures(torch.tensor([-3.0, -1.0, 0.0, 1.0, 9.0]).reshape(1, 1, 1, 5))
    assert np.asarray(picture).tolist() == [[0, 0, 128, 255, 255]]


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 5), st.sampled_from(["L", "RGB"]))
def test_a_sheet_is_cut_into_the_pictures_it_was_made_of(count: int, height: int, width: int, mode: str) -> None:
    shape = (count, height, width) + ((3,) if mode == "RGB" else ())
    pixels = (np.arange(np.prod(shape)) * 37 % 251).astype(np.uint8).reshape(shape)
    sheet = grid([Image.fromarray(p) for p in pixels])
    assert np.array_equal(np.stack(cut(np.asarray(sheet), count)), pixels)
    assert sheet.size[0] >= sheet.size[1] * width / (height + GAP) / 2


def test_a_sheet_of_another_number_is_refused() -> None:
    with pytest.raises(InputError, match="a sheet of 2x2 equal pictures"):
        cut(np.zeros((9, 9), np.uint8), 4)


def test_loading_gives_what_was_saved(pipe, tmp_path: Path) -> None:
    out = pipe.generate(label=[1, 2, 3], seed=4)
    rounded = torch.cat([to_data(np.asarray(picture)) for picture in out.images])
    out.save(tmp_path / "a.png")
    files = out.save(tmp_path / "each")
    assert torch.equal(pipe.modality.load(tmp_path / "a.png", pipe), rounded)
    assert torch.equal(torch.cat([pipe.modality.load(f, pipe) for f in files]), rounded)
    assert [read_recipe(f)["index"] for f in files] == [0, 1, 2]
    assert pipe.modality.load(Path(files[0]), pipe).shape == (1, 1, 8, 8)


def test_a_difference_counts_samples_and_levels(pipe, tmp_path: Path) -> None:
    out = pipe.generate(label=[1, 2, 3], seed=4)
    out.save(tmp_path / "a.png")
    compare = lambda other: pipe.modality.difference(other, tmp_path / "a.png", out.recipe)  # noqa: E731
    assert (compare(out).equal, compare(out).largest) == (3, "")
    moved = out.tensor.clone()
    moved[1, 0, 0, 0] = moved[1, 0, 0, 0].clamp(-0.9, 0.9) - 5 / 127.5
    expected = abs(int(np.asarray(to_pictures(moved)[1])[0, 0]) - int(np.asarray(out.images[1])[0, 0]))
    told = compare(replace(out, tensor=moved, samples=to_pictures(moved)))
    assert (told.equal, told.total, told.largest) == (2, 3, f"{expected} of 255")


def test_an_output_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    images = Images()
    images.check_output(tmp_path / "new.png", [1])
    images.check_output(tmp_path / "folder", [1])
    (tmp_path / "seed-1.png").touch()
    for path, told in (
        (tmp_path / "new.jpg", "a .png file"),
        (tmp_path / "no" / "new.png", "mkdir -p"),
        (tmp_path / "no" / "folder", "mkdir -p"),
        (tmp_path / "seed-1.png", "--force"),
        (tmp_path, "seed-1.png .exists"),
    ):
        with pytest.raises(InputError, match=told):
            images.check_output(path, [1])
    images.check_output(tmp_path, [2])
    images.check_output(tmp_path / "seed-1.png", [1], force=True)


def test_a_mask_is_white_where_it_is_made_anew(pipe, tmp_path: Path) -> None:
    area = np.zeros((8, 8), np.uint8)
    area[:, 5:] = 255
    Image.fromarray(area).save(tmp_path / "mask.png")
    mask = pipe.modality.mask(tmp_path / "mask.png", pipe)
    assert mask.dtype == torch.bool and torch.equal(mask[0, 0], torch.from_numpy(area) > 0)


# ---- data


def folder(root: Path, size: tuple[int, int] = (8, 8), mode: str = "L") -> Path:
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for i in range(3):
            Image.new(mode, size[::-1], 40).save(root / label / f"{i}.png")
    return root


def test_items_are_as_they_are_without_a_pipeline(tmp_path: Path) -> None:
    items = Images().dataset(folder(tmp_path / "a", (6, 10)))
    assert (items.size, items.channels, items.classes, len(items)) == ((6, 10), 1, ("cat", "dog"), 6)
    assert items[5]["label"] == 1 and items[0]["data"].shape == (1, 6, 10)
    assert Images().dataset(folder(tmp_path / "b", mode="RGB")).channels == 3


def test_items_take_the_size_of_a_pipeline(tmp_path: Path, pipe) -> None:
    items = Images().dataset(folder(tmp_path / "a", (20, 10), "RGB"), pipe)
    assert items[0]["data"].shape == (1, 8, 8) and items.channels == 1


def test_pictures_of_several_sizes_need_one_said(tmp_path: Path) -> None:
    root = folder(tmp_path / "a")
    Image.new("L", (9, 8)).save(root / "dog" / "odd.png")
    with pytest.raises(InputError, match="pictures of 8x8 and 8x9; accepted: one size; --size HxW"):
        _ = Images().dataset(root).size
    assert Images().dataset(root, size=(4, 4)).size == (4, 4)
    assert digits(Images().dataset(root)).pipeline.tokenizer.spec().sizes == (1, 28, 28)


def test_a_missing_source_or_a_wrong_size_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data with a folder"):
        Images().dataset(None)
    with pytest.raises(InputError, match="HxW"):
        Images().dataset(tmp_path, size=(4,))


def test_held_out_pictures_are_the_test_part_where_there_is_one(tmp_path: Path) -> None:
    from gencore_images.idx import SPLITS

    for count, split in enumerate(SPLITS.values(), 1):
        header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (count, 2, 2))
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(header + bytes(4 * count))
        labels = bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + bytes(count)
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(labels)
    assert [len(Images().dataset(tmp_path, held_out=flag)) for flag in (False, True)] == [1, 2]


# ---- presets


def items_of(size: tuple[int, int], channels: int, classes: tuple[str, ...]) -> Any:
    return SimpleNamespace(size=size, channels=channels, classes=classes)


@pytest.mark.parametrize(("size", "millions"), [("s", 33), ("b", 130), ("l", 458), ("xl", 675)])
def test_the_sizes_are_those_published(size: str, millions: float) -> None:
    """arXiv:2212.09748: millions of parameters at patch 2 on 4x32x32 latents, the position table counted."""
    ports = {"label": {"kind": "label", "classes": 1000, "null": True}}
    with torch.device("meta"):
        net = DiT(4, (2, 2), ports=ports, prediction=Prediction("epsilon", extra="learned_range"), **SIZES[size])
    table = 16 * 16 * SIZES[size]["width"]
    assert (sum(p.numel() for p in net.parameters()) + table) / 1e6 == pytest.approx(millions, abs=0.6)


def test_every_preset_is_there_by_name() -> None:
    names = {f"{net}-{size}" for net in ("dit", "sit") for size in SIZES} | {"digits"}
    assert names <= set(provided("preset"))
    assert resolve("preset", "sit-s") is sit_s


@pytest.fixture
def small(monkeypatch) -> None:
    """Published settings on a network that is quick to build."""
    monkeypatch.setitem(SIZES, "s", {"width": 24, "depth": 1, "heads": 2})


@pytest.mark.parametrize(("side", "patch"), [(8, 2), (28, 2), (32, 2), (64, 4), (256, 16)])
def test_published_networks_take_size_classes_and_patch_from_the_data(side: int, patch: int, small: None) -> None:
    size = (side, side)
    training = sit_s(items_of(size, 1, ("cat", "dog")), steps=7)
    pipe = training.pipeline
    assert pipe.tokenizer.spec().sizes == (1, *size) and pipe.backbone.config()["patch"] == [patch, patch]
    assert pipe.conditioner.config() == {"classes": 2, "names": ["cat", "dog"], "null": True}
    assert (training.steps, training.batch, training.lr, training.ema, training.seed) == (7, 256, 1e-4, 0.9999, 0)


def test_published_objectives_and_data_without_classes(small: None) -> None:
    dit = dit_s(items_of((8, 8), 3, ()), batch=2, seed=3)
    assert type(dit.objective).__name__ == "Denoising" and dit.pipeline.backbone.prediction.extra == "learned_range"
    assert dit.pipeline.conditioner.words == () and dit.drop == 0 and dit.seed == 3 and dit.batch == 2
    with pytest.raises(InputError, match="multiples of 4 at this size; --size 64x64"):
        sit_s(items_of((65, 63), 3, ()))


def test_the_digits_preset_is_what_its_card_says() -> None:
    before = torch.random.get_rng_state()
    training = digits(items_of((28, 28), 1, tuple("0123456789")))
    assert torch.equal(torch.random.get_rng_state(), before)
    pipe = training.pipeline
    assert sum(p.numel() for p in pipe.backbone.parameters()) == pytest.approx(3.5e6, rel=0.02)
    assert (training.batch, training.lr, training.warmup) == (128, 1e-3, 300)
    assert (training.decay, training.ema, training.precision) == ("cosine", 0.999, "bf16")
    assert pipe.conditioner.config() == {"classes": 10, "names": None, "null": True}
    assert digits(items_of((1, 1), 1, ()), steps=3, batch=4, seed=1).pipeline.hash() != pipe.hash()


def test_mirroring_depends_on_the_item_s_own_seed() -> None:
    data = torch.arange(24.0).reshape(4, 1, 2, 3)
    mirrored = flip(data, Keyed(range(4)))
    kept = [torch.equal(a, b) for a, b in zip(mirrored, data, strict=True)]
    turned = [torch.equal(a, b.flip(-1)) for a, b in zip(mirrored, data, strict=True)]
    assert all(k != t for k, t in zip(kept, turned, strict=True))
    assert torch.equal(flip(data[2:], Keyed(range(2, 4))), mirrored[2:])
    many = flip(torch.arange(2.0).expand(2000, 1, 1, 2).clone(), Keyed(range(2000)))
    assert abs((many[:, 0, 0, 0] == 1).float().mean().item() - 0.5) < 0.05


# ---- figures


class Replay:
    """A pipeline whose samples are given pictures, class by class."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, classes: int = 10) -> None:
        self.images, self.labels, self.conditioner = images, labels, SimpleNamespace(classes=classes, words=("label",))
        self.modality, self.taken = Images(), [0] * classes

    def generate(self, label: list[int], seed: int) -> Any:
        rows = []
        for wanted in label:
            of_class = (self.labels == wanted).nonzero().flatten()
            rows.append(int(of_class[self.taken[wanted] % len(of_class)]))
            self.taken[wanted] += 1
        return SimpleNamespace(tensor=self.images[rows])


class Rows:
    """A source of grey pictures in memory."""

    kind = "array"

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels, self.classes = images, labels.astype(np.int64), tuple("0123456789")

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> np.ndarray:
        return self.images[index][..., None]


def rows(part: slice, images: np.ndarray = DIGITS["images"]) -> Items:
    return Items(Rows(images[part], DIGITS["labels"][part]))


def tensors(items: Items) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([items[i]["data"] for i in range(len(items))]), torch.tensor([r["label"] for r in items])  # type: ignore[attr-defined]


def test_digits_are_reported_by_their_recogniser() -> None:
    train, test = rows(slice(0, None, 2)), rows(slice(1, None, 2))
    seen: list[int] = []
    told = evaluate(Replay(*tensors(test)), test, n=60, seed=3, train=train, progress=lambda i, n: seen.append(i))  # type: ignore[arg-type]
    assert told["extractor"] == "digit-cnn-b" and told["reference"] == len(test) and told["seeds"] == [3, 62]
    assert told["accuracy_model"] >= 0.95 and told["accuracy_interval"][0] < told["accuracy_model"] < 1.0001
    assert told["copied_model"] < 0.2 and seen == [60]
    copies = evaluate(Replay(*tensors(train)), test, n=60, seed=3, train=train)  # type: ignore[arg-type]
    assert copies["copied_model"] == 1.0


def test_pictures_that_are_no_digits_get_a_plain_yardstick() -> None:
    inverted = 255 - DIGITS["images"]
    train, test = rows(slice(0, None, 2), inverted), rows(slice(1, None, 2), inverted)
    told = evaluate(Replay(*tensors(test)), test, n=60, train=train)  # type: ignore[arg-type]
    assert told["extractor"] == "pixels-pca64" and "accuracy_model" not in told
    noise = torch.rand(60, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert "copied_model" not in evaluate(Replay(*tensors(test)), test, n=40)  # type: ignore[arg-type]
    worse = evaluate(Replay(noise, torch.arange(60) % 10), test, n=60, train=train)  # type: ignore[arg-type]
    assert worse["frechet_model"] > 3 * told["frechet_model"] and worse["recall_model"] < told["recall_model"]


def test_real_pictures_score_best_and_copies_are_found() -> None:
    train, test = tensors(rows(slice(0, None, 2)))[0], tensors(rows(slice(1, None, 2)))[0]
    told = evaluate_pixels(train[:80], train, test)
    assert told["frechet_model"] == told["frechet_real"] and told["copied_model"] == 1.0
    assert told["frechet_gaussian"] < 2 * told["frechet_real"]


@pytest.mark.parametrize("count", [40, 400])
def test_principal_components_find_the_plane_the_data_lies_in(count: int) -> None:
    """Either way round, by the covariance or by the Gram matrix."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(48, 3, generator=generator, dtype=torch.float64))[0].T
    codes = torch.randn(count, 3, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 2.0, 1.0])
    pca = fit_pca((codes @ basis + 0.5).reshape(count, 3, 4, 4).float(), components=3)
    assert pca.name == "pixels-pca3"
    overlap = torch.linalg.svdvals(pca.basis @ basis.T)
    assert torch.allclose(overlap, torch.ones(3, dtype=torch.float64), atol=1e-5)


def test_the_interval_of_a_share_is_wilson_s() -> None:
    """Its bounds p solve (share - p)^2 = z^2 p (1 - p) / n."""
    for share, count in ((0.9, 100), (0.0, 10), (1.0, 1000)):
        for p in wilson(share, count):
            assert (share - p) ** 2 == pytest.approx(1.96**2 * p * (1 - p) / count, abs=1e-12)


def test_too_few_pictures_are_told_before_any_work() -> None:
    with pytest.raises(InputError, match="8 or more"):
        evaluate(Replay(*tensors(rows(slice(0, 20)))), rows(slice(0, 20)), n=4)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at most 10"):
        evaluate(Replay(*tensors(rows(slice(0, 20)))), rows(slice(0, 20)), n=11)  # type: ignore[arg-type]


def test_a_source_opens_at_the_size_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=DIGITS["images"][:4], labels=DIGITS["labels"][:4])
    assert open_items(tmp_path / "a.npz", None, None).size == (28, 28)
    assert open_items(tmp_path / "a.npz", (14, 14), 3)[0]["data"].shape == (3, 14, 14)
