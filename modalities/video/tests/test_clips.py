"""Clips for training from folders, lists and shards: lazy, in workers, and damaged ones named."""

from __future__ import annotations

import io
import tarfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from gencore.errors import InputError
from gencore.training.batches import StepBatches
from gencore_video.clips.dataset import ClipFiles, open_clips
from gencore_video.clips.sources import find_clips
from gencore_video.io.writing import write_clip


def clip(value: int, frames: int = 6, size: tuple[int, int] = (16, 24)) -> np.ndarray:
    """Frame t of clip `value` is 10 value + t everywhere: both can be read from a pixel."""
    return np.stack([np.full((*size, 3), 10 * value + t, np.uint8) for t in range(frames)])


def shown(item: dict[str, torch.Tensor]) -> list[int]:
    return ((item["data"][0, :, 0, 0] + 1) * 127.5).round().int().tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Clips 0 .. 3: two videos, one in a sub-folder, a folder of frames; and what is none."""
    root = tmp_path / "clips"
    (root / "deep").mkdir(parents=True)
    write_clip(clip(0), root / "a-0.mkv", Fraction(10))
    write_clip(clip(1), root / "a-1.mkv", Fraction(10))
    write_clip(clip(2), root / "deep" / "b.mkv", Fraction(10))
    (root / "stills").mkdir()
    for t, frame in enumerate(clip(3)):
        Image.fromarray(frame).save(root / "stills" / f"{t}.png")
    (root / "notes.md").write_text("nothing")
    return root


def shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_a_folder_of_videos_and_frames(folder: Path) -> None:
    data = open_clips(folder, frames=4)
    assert [shown(data[i]) for i in range(4)] == [[10 * v + t for t in range(4)] for v in range(4)]
    assert data.size == (16, 24) and data.rate == 10 and data[0]["data"].shape == (3, 4, 16, 24)
    assert data.describe() == "video folder: 4 clips of 4 files, as 3 x 4 frames of 24x16 at 10 fps"
    assert open_clips(folder, frames=4, channels=1)[1]["data"].shape == (1, 4, 16, 24)


def test_a_list_and_shards_hold_the_same_clips(folder: Path, tmp_path: Path) -> None:
    names = tmp_path / "train.txt"
    names.write_text("# mine\nclips/deep/b.mkv\n\nclips/a-0.mkv\nclips/stills\n")
    data = open_clips(names, frames=3)
    assert [shown(data[i])[0] for i in range(3)] == [20, 0, 30]
    shards = tmp_path / "shards"
    shards.mkdir()
    raw = {name: (folder / name).read_bytes() for name in ("a-0.mkv", "a-1.mkv", "deep/b.mkv")}
    shard(shards / "s-10.tar", {"000.mkv": raw["a-0.mkv"], "000.json": b"{}"})
    shard(shards / "s-9.tar", {"x/000.mkv": raw["deep/b.mkv"], "x/001.mkv": raw["a-1.mkv"]})
    data = open_clips(shards, frames=3)
    assert [shown(data[i])[0] for i in range(3)] == [20, 10, 0] and "2 tar shards" in data.describe()
    assert shown(open_clips(shards / "s-10.tar", frames=2)[0]) == [0, 1]
    assert shown(open_clips(folder / "a-1.mkv", frames=2)[0]) == [10, 11]


def test_shards_of_the_webdataset_writer(folder: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "w.tar")) as writer:
        for i in (1, 0):
            writer.write({"__key__": f"{i:03d}", "mkv": (folder / f"a-{i}.mkv").read_bytes()})
    data = open_clips(tmp_path / "w.tar", frames=2)
    assert [shown(data[i])[0] for i in range(2)] == [10, 0]


def test_a_part_for_testing_is_held_out(tmp_path: Path) -> None:
    for i, part in enumerate(("train", "test")):
        (tmp_path / part).mkdir()
        write_clip(clip(i), tmp_path / part / "c.mkv", Fraction(10))
    assert shown(open_clips(tmp_path, frames=2)[0]) == [0, 1]
    assert shown(open_clips(tmp_path, held_out=True, frames=2)[0]) == [10, 11]


def test_all_runs_of_a_long_clip(tmp_path: Path) -> None:
    write_clip(clip(0, 11), tmp_path / "long.mp4", Fraction(10))
    write_clip(clip(9, 3), tmp_path / "short.mkv", Fraction(10))
    data = open_clips(tmp_path, frames=4, hop=3)
    assert [place[1] for place in data._places] == [0, 3, 6]
    first = np.array([shown(data[i]) for i in range(3)])
    assert np.abs(first - (np.array([[0], [3], [6]]) + np.arange(4))).max() <= 2
    with pytest.raises(InputError, match="without 20 frames"):
        open_clips(tmp_path, frames=20, hop=1)


def test_a_file_stands_for_runs_from_all_of_it(tmp_path: Path) -> None:
    write_clip(clip(0, 11), tmp_path / "long.mkv", Fraction(10))
    write_clip(clip(9, 4), tmp_path / "short.mkv", Fraction(10))
    data = open_clips(tmp_path, frames=4, draws=40)
    runs = [shown(data[i]) for i in range(0, 80, 2)]
    assert len(data) == 80 and runs[0] == [0, 1, 2, 3]
    assert all(run == list(range(run[0], run[0] + 4)) for run in runs)
    # Eight places in forty draws: one that is never drawn is a matter of (7/8)^39.
    assert {run[0] for run in runs} == set(range(8))
    assert all(shown(data[i])[0] == 90 for i in (1, 3, 79))
    assert shown(open_clips(tmp_path, frames=4, draws=60)[14]) == runs[7]
    assert data.verify() == {} and len(data) == 80
    assert "40 runs each of 2 files" in data.describe()
    with pytest.raises(InputError, match="hop"):
        open_clips(tmp_path, frames=4, draws=2, hop=1)


def test_rates_and_sizes_are_brought_to_one(tmp_path: Path) -> None:
    write_clip(clip(0, 8), tmp_path / "a.mkv", Fraction(10))
    write_clip(clip(1, 16, (32, 32)), tmp_path / "b.mkv", Fraction(20))
    with pytest.raises(InputError, match="24x16 and 32x32"):
        _ = open_clips(tmp_path, frames=4).size
    data = open_clips(tmp_path, frames=4, size=(16, 16))
    assert data.rate == 10 and shown(data[0]) == [0, 1, 2, 3] and shown(data[1]) == [10, 12, 14, 16]
    assert shown(open_clips(tmp_path, frames=4, size=(8, 8), rate=20)[0]) == [0, 0, 1, 1]
    # The middle is kept, and nothing is stretched.
    ramp = np.broadcast_to((np.arange(40) * 6).astype(np.uint8)[None, None, :, None], (2, 20, 40, 3))
    write_clip(ramp, tmp_path / "wide.mkv", Fraction(10))
    wide = open_clips(tmp_path / "wide.mkv", frames=2, size=(20, 20))[0]["data"]
    assert torch.equal(((wide[0, 0, 0] + 1) * 127.5).round().int(), torch.arange(10, 30, dtype=torch.int32) * 6)


def test_damaged_clips_are_named_and_left_out(folder: Path) -> None:
    whole = (folder / "a-1.mkv").read_bytes()
    (folder / "a-1.mkv").write_bytes(whole[: len(whole) // 2])
    write_clip(clip(5, 2), folder / "deep" / "short.mkv", Fraction(10))
    data = open_clips(folder, frames=4)
    # Another clip stands in until they are left out.
    assert shown(data[1])[0] == 20 and list(data.bad) == ["a-1.mkv"]
    told = data.verify()
    assert set(told) == {"a-1.mkv", "deep/short.mkv"} and "2 frames" in told["deep/short.mkv"]
    assert all("\n" not in cause for cause in told.values())
    assert [shown(data[i])[0] for i in range(len(data))] == [0, 20, 30]
    assert "left out a-1.mkv" in data.describe()
    with pytest.raises(InputError, match=r"a-1\.mkv"):
        _ = open_clips(folder, frames=4, on_bad="raise")[1]
    only = open_clips(folder / "a-1.mkv", frames=4, size=(8, 8), rate=10)
    for read in (only.verify, lambda: only[0]):
        with pytest.raises(InputError, match="none readable"):
            read()


def test_nothing_is_decoded_before_it_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gencore_video.clips.dataset as module

    monkeypatch.setattr(module, "read_clip", lambda *a, **k: pytest.fail("decoded"))
    assert len(open_clips(folder, frames=4, size=(8, 8), rate=10)) == 4


def test_workers_decode_the_same(folder: Path) -> None:
    data = open_clips(folder, frames=4)
    order = StepBatches(len(data), 2, seed=0, stop=3)
    batches = [list(DataLoader(data, batch_sampler=order, num_workers=n)) for n in (0, 2)]
    for alone, worker in zip(*batches, strict=True):
        assert torch.equal(alone["data"], worker["data"])


def test_useless_sources_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.txt").write_text("clips/a-0.mkv\nclips/gone.mkv\n")
    tar = shard(tmp_path / "cut.tar", {"a.mkv": (folder / "a-0.mkv").read_bytes()})
    tar.write_bytes(tar.read_bytes()[:2000])
    shard(tmp_path / "pictures.tar", {"a.jpg": b"-"})
    cases = {"gone": "no such file", "empty": "no clips", "bad.txt": "line 2: clips/gone.mkv", "cut.tar": "cut.tar",
             "pictures.tar": "no clips", "clips/notes.md": "notes.md"}  # fmt: skip
    for name, words in cases.items():
        with pytest.raises(InputError, match=words):
            find_clips(tmp_path / name)
    for options, words in (({"frames": 0}, "frames"), ({"hop": 0}, "hop"), ({"draws": 0}, "draws"),
                           ({"channels": 2}, "channels"),
                           ({"rate": 0}, "fps"), ({"on_bad": "x"}, "on_bad")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            ClipFiles("clips", [], **options)  # type: ignore[arg-type]
