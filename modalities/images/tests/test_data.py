from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from gencore.errors import InputError
from gencore_images.data import ImageDataset, open_dataset
from gencore_images.idx import read_idx
from gencore_images.readers.folder import FolderSource

DIGITS = Path(__file__).parent / "data" / "digits.npz"


def picture(value: int, size: tuple[int, int] = (8, 8), kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(buffer, kind)
    return buffer.getvalue()


def classes(root: Path, **counts: int) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i}.png").write_bytes(picture(10 * number + i))
    return root


def values(dataset: ImageDataset) -> list[tuple[int, int]]:
    """(grey value of the first pixel, label) of every item."""
    return [(round((float(x[0, 0, 0]) + 1) * 127.5), y) for x, y in (dataset[i] for i in range(len(dataset)))]


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def shard(path: Path, files: dict[str, bytes], mode: Literal["w", "w:gz"] = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_class_folders(tmp_path):
    data = open_dataset(classes(tmp_path, cat=2, dog=1), 8)
    assert values(data) == [(0, 0), (1, 0), (10, 1)]
    assert data.describe() == "image folder: 3 images in 2 classes (cat 2, dog 1), as 3x8x8"
    assert data[0][0].shape == (3, 8, 8) and data[0][0].dtype == torch.float32


def test_numbered_folders_are_in_numerical_order(tmp_path):
    data = open_dataset(classes(tmp_path, **{"10": 1, "9": 1, "2": 1}), 8)
    assert data.source.classes == ("2", "9", "10")
    assert values(data) == [(20, 0), (10, 1), (0, 2)]


def test_flat_folder_has_label_zero_and_other_files_are_passed_over(tmp_path):
    (tmp_path / "b.PNG").write_bytes(picture(7))
    (tmp_path / "a.jpg").write_bytes(picture(3, kind="jpeg"))
    (tmp_path / "readme.txt").write_text("x")
    (tmp_path / ".hidden.png").write_bytes(picture(9))
    data = open_dataset(tmp_path, 8, 1)
    assert values(data) == [(3, 0), (7, 0)]
    assert data.describe() == "image folder: 2 images, unlabelled, as 1x8x8"


@pytest.mark.parametrize("what", ["empty", "mixed", "missing", "text"])
def test_nothing_to_read(tmp_path, what):
    if what == "mixed":
        classes(tmp_path, cat=1)
        (tmp_path / "x.png").write_bytes(picture(1))
    (tmp_path / "note.txt").write_text("x")
    target = {"missing": tmp_path / "none", "text": tmp_path / "note.txt"}.get(what, tmp_path)
    with pytest.raises(InputError) as caught:
        open_dataset(target, 8)
    assert caught.value.field == "data" and "\n" not in str(caught.value)


def broken(root: Path) -> Path:
    classes(root, cat=3)
    whole = (root / "cat" / "1.png").read_bytes()
    (root / "cat" / "1.png").write_bytes(whole[: len(whole) // 2])
    (root / "cat" / "3.jpg").write_bytes(b"no picture")
    return root


def test_unreadable_files_are_named_and_skipped(tmp_path):
    data = open_dataset(broken(tmp_path), 8)
    assert data.bad == {}
    assert [v for v, _ in values(data)] == [0, 2, 2, 0]
    assert set(data.bad) == {"cat/1.png", "cat/3.jpg"} and data.bad["cat/3.jpg"] == "no picture"


def test_verify_leaves_them_out(tmp_path):
    data = open_dataset(broken(tmp_path), 8)
    assert set(data.verify()) == {"cat/1.png", "cat/3.jpg"}
    assert len(data) == 2 and [v for v, _ in values(data)] == [0, 2]
    assert "2 images" in data.describe() and "left out cat/1.png" in data.describe()


def test_on_bad_raise_names_the_file(tmp_path):
    data = open_dataset(broken(tmp_path), 8, on_bad="raise")
    assert data[0][1] == 0
    for reads in (lambda: data[1], data.verify):
        with pytest.raises(InputError, match=r"cat/1\.png"):
            reads()


def test_a_folder_of_damage_is_an_error_not_an_endless_search(tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes(b"x")
    data = open_dataset(tmp_path, 8)
    for reads in (lambda: data[0], data.verify):
        with pytest.raises(InputError, match=r"none readable.*0\.png.*and 2 more"):
            reads()


def test_a_vanished_file_is_a_bad_one(tmp_path):
    data = open_dataset(classes(tmp_path, cat=2), 8)
    (tmp_path / "cat" / "0.png").unlink()
    assert values(data)[0] == (1, 0) and data.bad == {"cat/0.png": "No such file or directory"}


def test_resize_covers_and_crops_the_centre(tmp_path):
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    assert torch.equal(open_dataset(tmp_path, 10)[0][0], torch.ones(3, 10, 10))
    image = open_dataset(tmp_path, (5, 15))[0][0]
    assert image.shape == (3, 5, 15) and (image[:, :, 6:9] > 0.9).all() and (image[:, :, [0, -1]] < -0.9).all()
    assert open_dataset(tmp_path, (20, 4))[0][0].shape == (3, 20, 4)
    assert image.abs().max() <= 1


def test_an_image_of_the_right_size_is_exact_and_flip_mirrors_it(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    data = open_dataset(tmp_path, (9, 7))
    expected = torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1
    assert torch.equal(data[0][0], expected)
    assert torch.equal(data.read(0, flip=True)[0], expected.flip(-1))


def test_modes(tmp_path):
    Image.fromarray(np.array([[0, 200]], np.uint8)).save(tmp_path / "0.png")
    Image.fromarray(np.array([[[255, 0, 0, 255], [0, 0, 0, 0]]], np.uint8)).save(tmp_path / "1.png")
    Image.fromarray(np.array([[0, 51200 + 77]], np.uint16)).save(tmp_path / "2.png")
    palette = Image.fromarray(np.array([[[0, 0, 0], [200, 200, 200]]], np.uint8)).quantize(2)
    palette.save(tmp_path / "3.png")
    rgb, grey = open_dataset(tmp_path, (1, 2)), open_dataset(tmp_path, (1, 2), 1)
    level = 200 / 127.5 - 1
    assert torch.allclose(rgb[0][0], torch.tensor([[[-1.0, level]]]).expand(3, 1, 2), atol=1e-6)
    assert torch.equal(rgb[1][0][:, 0], torch.tensor([[1.0, 1], [-1, 1], [-1, 1]]))
    assert grey[1][0][0, 0].tolist() == pytest.approx([2 * 0.299 - 1, 1], abs=1e-6)
    for same in (2, 3):
        assert torch.allclose(grey[same][0], torch.tensor([[[-1.0, level]]]), atol=1e-6)


def test_the_camera_rotation_is_applied(tmp_path):
    image = Image.fromarray(np.array([[[0] * 3, [255] * 3]], np.uint8))
    exif = image.getexif()
    exif[0x0112] = 3
    image.save(tmp_path / "a.png", exif=exif)
    assert open_dataset(tmp_path, (1, 2), 1)[0][0].flatten().tolist() == [1, -1]


def test_idx_plain_and_gzipped(tmp_path):
    images, labels = np.arange(3 * 4 * 4).reshape(3, 4, 4), np.array([2, 0, 1])
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "train-labels.idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    data = open_dataset(tmp_path, 4, 1)
    assert values(data) == [(0, 2), (16, 0), (32, 1)]
    assert data.describe() == "IDX files (train): 3 images in 3 classes (0 1, 1 1, 2 1), as 1x4x4"
    with pytest.raises(InputError, match="t10k-images"):
        open_dataset(tmp_path, 4, 1, split="test")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\x03\0\0",
        idx(np.zeros((3, 4)))[:-1],
        b"PK345678",
        gzip.compress(idx(np.zeros(4)), mtime=0)[:-9],
    ],
    ids=["empty", "half a magic number", "no sizes", "a byte short", "another format", "cut gzip"],
)
def test_damaged_idx(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_idx(tmp_path / "x")
    assert caught.value.field == "data" and "\n" not in str(caught.value)


def test_idx_keeps_other_types(tmp_path):
    (tmp_path / "x").write_bytes(bytes([0, 0, 0x0C, 1]) + struct.pack(">I3i", 3, 1, -2, 70000))
    assert read_idx(tmp_path / "x").tolist() == [1, -2, 70000]


def test_tar_shards(tmp_path):
    shard(tmp_path / "a-0.tar", {"x/s1.png": picture(5), "x/s1.cls": b"1\n", "x/s2.cls": b"0", "x/s2.png": picture(6)})
    shard(tmp_path / "a-1.tar", {"s3.jpg": picture(7, kind="jpeg"), "s3.json": json.dumps({"label": 2}).encode()})
    data = open_dataset(tmp_path, 8)
    assert values(data) == [(5, 1), (6, 0), (7, 2)]
    assert data.describe() == "2 tar shards: 3 images in 3 classes (0 1, 1 1, 2 1), as 3x8x8"
    assert data.source.name(0) == "a-0.tar: x/s1.png"
    assert values(open_dataset(tmp_path / "a-1.tar", 8)) == [(7, 2)]


def test_tar_agrees_with_the_webdataset_writer(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "w.tar")) as sink:
        for i in range(4):
            sink.write({"__key__": f"{i:06d}", "png": picture(20 + i), "cls": i % 2})
    assert values(open_dataset(tmp_path, 8)) == [(20, 0), (21, 1), (22, 0), (23, 1)]


def test_tar_without_labels_and_with_some(tmp_path):
    unlabelled = open_dataset(shard(tmp_path / "a.tar", {"1.png": picture(1), "1.json": b'{"text": "x"}'}), 8)
    assert unlabelled.source.classes == () and values(unlabelled) == [(1, 0)]
    partly = {"1.png": picture(1), "1.cls": b"3", "2.png": picture(2)}
    with pytest.raises(InputError, match=r"2\.png"):
        open_dataset(shard(tmp_path / "b.tar", partly), 8)
    with pytest.raises(InputError, match="label number"):
        open_dataset(shard(tmp_path / "c.tar", {"1.png": picture(1), "1.cls": b"cat"}), 8)
    with pytest.raises(InputError, match="twice"):
        open_dataset(shard(tmp_path / "d.tar", {"1.png": picture(1), "1.jpg": picture(1, kind="jpeg")}), 8)
    with pytest.raises(InputError, match="without pictures"):
        open_dataset(shard(tmp_path / "e.tar", {"1.cls": b"3"}), 8)


def test_damaged_tars(tmp_path):
    whole = shard(tmp_path / "a.tar", {f"{i}.png": picture(i) for i in range(3)}).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:2100])
    (tmp_path / "text.tar").write_bytes(b"no tar" * 200)
    shard(tmp_path / "zip.tar", {"1.png": picture(1)}, "w:gz")
    for name in ("cut", "text", "zip"):
        with pytest.raises(InputError, match=f"{name}.tar") as caught:
            open_dataset(tmp_path / f"{name}.tar", 8)
        assert "\n" not in str(caught.value)
    flipped = shard(tmp_path / "bad.tar", {"1.png": b"junk", "2.png": picture(9)})
    data = open_dataset(flipped, 8)
    assert values(data)[0] == (9, 0) and data.bad == {"bad.tar: 1.png": "no picture"}


def test_the_packaged_excerpt_has_twenty_of_each_digit():
    data = open_dataset(DIGITS, 28, 1)
    assert data.describe().startswith("numpy archive: 200 images in 10 classes (0 20, 1 20,")
    assert np.bincount(data.source.labels).tolist() == [20] * 10
    image, label = data[199]
    assert image.shape == (1, 28, 28) and (float(image.min()), float(image.max()), label) == (-1, 1, 9)


@pytest.mark.parametrize("layout", [(5, 6, 6), (5, 6, 6, 1), (5, 1, 6, 6), (5, 6, 6, 3), (5, 3, 6, 6)])
def test_array_layouts(tmp_path, layout):
    ramp = np.arange(5, dtype=np.uint8).reshape(5, *[1] * (len(layout) - 1))
    np.save(tmp_path / "x.npy", np.broadcast_to(ramp, layout))
    np.save(tmp_path / "x_labels.npy", np.arange(5)[::-1])
    assert values(open_dataset(tmp_path / "x.npy", 6, 1)) == [(i, 4 - i) for i in range(5)]


def test_floating_point_arrays_need_their_range(tmp_path):
    x = np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 4, 4)
    x[1, 0, 0] = np.nan
    np.savez(tmp_path / "x.npz", images=x)
    with pytest.raises(InputError, match="value_range"):
        open_dataset(tmp_path / "x.npz", 4, 1)
    data = open_dataset(tmp_path / "x.npz", 4, 1, value_range=(0, 1))
    assert torch.allclose(data[0][0].flatten(), torch.from_numpy(x[0].flatten()) * 2 - 1, atol=1e-6)
    assert set(data.verify()) == {"x.npz[1]"}
    with pytest.raises(InputError, match=r"outside 0\.\.0\.1"):
        open_dataset(tmp_path / "x.npz", 4, 1, value_range=(0, 0.1), on_bad="raise")[0]


def test_hdf5_reads_rows_and_reopens_in_workers(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
        file["labels"] = np.arange(6)[::-1]
    data = open_dataset(tmp_path / "x.h5", 4, 1)
    expected = [(i, 5 - i) for i in range(6)]
    assert values(data) == expected == values(pickle.loads(pickle.dumps(data)))
    loaded = list(DataLoader(data, batch_size=3, num_workers=1))
    assert torch.cat([y for _, y in loaded]).tolist() == [5, 4, 3, 2, 1, 0]
    assert data.describe().startswith("HDF5 file: 6 images in 6 classes")


def test_a_pickled_array_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="pickled"):
        open_dataset(tmp_path / "x.npz", 4)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [({"foo": np.zeros(3)}, "holds foo"), ({"images": np.zeros((2, 4, 4), np.int64)}, "int64 images"),
     ({"images": np.zeros((2, 4, 4, 5), np.uint8)}, "of shape"),
     ({"images": np.zeros((2, 3, 4, 3), np.uint8)}, "of shape"),
     ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.zeros(3, int)}, "labels"),
     ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array([0, -1])}, "labels"),
     ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array([0.5, 1])}, "labels"),
     ({"images": np.zeros((0, 4, 4), np.uint8)}, "without pictures")],
)  # fmt: skip
def test_arrays_that_do_not_fit(tmp_path, arrays, said):
    np.savez(tmp_path / "x.npz", **arrays)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    for name in ("x.npz", "x.h5"):
        with pytest.raises(InputError, match=said) as caught:
            open_dataset(tmp_path / name, 4)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.npz", "x.npy", "x.h5"])
def test_truncated_arrays(tmp_path, name):
    (tmp_path / name).write_bytes(DIGITS.read_bytes()[:3000])
    with pytest.raises(InputError) as caught:
        open_dataset(tmp_path / name, 4)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_arguments_are_checked(tmp_path):
    source = FolderSource(tmp_path, [tmp_path / "a.png"], [0], [])
    for build in (
        lambda: ImageDataset(source, 0),
        lambda: ImageDataset(source, 4, 2),
        lambda: ImageDataset(source, 4, on_bad="ignore"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InputError):
            build()
    with pytest.raises(IndexError):
        ImageDataset(source, 4)[1]
