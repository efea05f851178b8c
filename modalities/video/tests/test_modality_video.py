"""Tasks by words, given frames by file, and files that say how they were made."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gencore.conditioner import Unconditional
from gencore.denoised import Prediction
from gencore.errors import InputError
from gencore.generated import Generated
from gencore.nn.init import seeded
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.flows import LinearFlow
from gencore.recipe import read_recipe
from gencore.testing.conformance.subject import awaken
from gencore_video.backbone import VDT
from gencore_video.io.reading import read_clip
from gencore_video.io.writing import write_clip
from gencore_video.modality import Video
from gencore_video.physics.clips import physics_clips
from gencore_video.pixels import to_data, to_frames
from gencore_video.presets import SPECIALTIES
from gencore_video.tokenizers.frames import Frames

T, SIDE, FPS = 8, 32, "10"


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    with seeded(0):
        net = VDT(3, 8, width=32, depth=1, heads=2, prediction=Prediction("velocity"))
    awaken(net)
    return Pipeline(modality="video", tokenizer=Frames(3, (T, SIDE, SIDE), multiple=8, fps=FPS),
                    conditioner=Unconditional(), backbone=net, process=LinearFlow(),
                    defaults=Defaults("dpmpp", 2, known_mode="compose_input"))  # fmt: skip


@pytest.fixture(scope="module")
def truth() -> Tensor:
    """(3, T, H, W): held-out clip 5."""
    return physics_clips(held_out=True, frames=T)[5]["data"]


@pytest.fixture
def files(tmp_path: Path, truth: Tensor) -> Path:
    """``whole.mkv`` (T frames), ``first3.mkv``, ``long.mkv`` (2 T frames), all lossless at the model's rate."""
    frames = to_frames(physics_clips(held_out=True, frames=2 * T)[5]["data"][None])[0]
    assert np.array_equal(frames[:T], to_frames(truth[None])[0])
    for name, part in (("whole", frames[:T]), ("first3", frames[:3]), ("long", frames)):
        write_clip(part, tmp_path / f"{name}.mkv", Fraction(FPS))
    return tmp_path


def made(pipe: Pipeline, **options: Any) -> Tensor:
    return pipe.generate(**{"seed": 3, **options}).tensor


KEPT: list[tuple[dict[str, Any], list[int]]] = [
    ({"task": "predict"}, [0, 1, 2, 3]), ({"task": "predict", "frames": 7}, [0]),
    ({"task": "predict:given=3"}, [0, 1, 2]), ({"task": "backward", "frames": 2}, [2, 3, 4, 5, 6, 7]),
    ({"task": "interpolate"}, [0, 4]), ({"task": "interpolate", "stride": 3}, [0, 3, 6]),
    ({"task": "image-to-video"}, [0]), ({"task": "image-to-video", "index": -1}, [7]),
]  # fmt: skip


@pytest.mark.parametrize(("words", "kept"), KEPT)
def test_given_frames_come_back_bit_for_bit(pipe: Pipeline, files: Path, truth: Tensor, words: dict[str, Any],
                                            kept: list[int]) -> None:  # fmt: skip
    out = made(pipe, known=files / "whole.mkv", **words)[0]
    same = [bool((out[:, t] == truth[:, t]).all()) for t in range(T)]
    assert [t for t in range(T) if same[t]] == kept
    # The kept frames alone say as much: what is hidden never reaches the network.
    alone = to_frames(truth[None])[0][kept]
    assert torch.equal(made(pipe, known=alone, **words)[0], out)


def test_all_sources_of_one_clip_are_one(pipe: Pipeline, files: Path, truth: Tensor) -> None:
    words = {"task": "predict", "frames": 5}
    expected = made(pipe, known=files / "whole.mkv", **words)
    frames = to_frames(truth[None])[0]
    write_clip(frames, files / "stills.frames", Fraction(10))
    for source in (files / "first3.mkv", str(files / "first3.mkv"), truth, truth[None], truth[:, :3], frames,
                   files / "stills.frames"):  # fmt: skip
        assert torch.equal(made(pipe, known=source, **words), expected)
    assert torch.equal(made(pipe, clip=5, **words), expected)
    # As many frames are given as there are, unless it is said how many to make.
    assert torch.equal(made(pipe, known=files / "first3.mkv", task="predict"), expected)
    picture = Image.fromarray(frames[0])
    picture.save(files / "first.png")
    for source in (picture, files / "first.png", frames[0]):
        assert torch.equal(made(pipe, known=source, task="image-to-video"),
                           made(pipe, known=truth, task="image-to-video"))  # fmt: skip


def test_a_long_clip_is_cut_on_request(pipe: Pipeline, files: Path) -> None:
    long = to_data(read_clip(files / "long.mkv").frames, 3)
    words = {"task": "predict", "frames": 5, "known": files / "long.mkv"}
    assert torch.equal(made(pipe, offset=0, **words)[0, :, :3], long[:, :3])
    assert torch.equal(made(pipe, offset=-3, **words)[0, :, :3], long[:, -3:])
    with pytest.raises(
        InputError, match=r"long.mkv: 16 frames; accepted: 8 frames or the 3.*--offset -3 takes the last"
    ):
        made(pipe, **words)


def test_words_are_short_for_settings(pipe: Pipeline, truth: Tensor) -> None:
    for words, text in (({"task": "predict", "frames": 3}, "predict:given=5"),
                        ({"task": "interpolate", "stride": 2}, "interpolate:stride=2"),
                        ({"task": "image-to-video", "index": 4}, "image-to-video:index=4")):  # fmt: skip
        assert torch.equal(made(pipe, known=truth, **words), made(pipe, known=truth, task=text))


def test_each_sample_may_have_a_task_of_its_own(pipe: Pipeline, truth: Tensor) -> None:
    tasks = ["predict", "backward", "unconditional", "interpolate:stride=2", "complete:share=0.3", "margin=0"]
    out = pipe.generate(task=tasks, known=truth, seed=7)
    assert out.tensor.shape[0] == 5 and out.recipe["words"]["task"] == tasks
    same = (out.tensor == truth).flatten(3).all(-1).all(1)
    assert same.sum(1).tolist() == [4, 4, 0, 4, 0]
    for i, task in enumerate(["predict", "backward"]):
        torch.testing.assert_close(out.tensor[i : i + 1], made(pipe, task=task, known=truth, seed=7 + i), atol=1e-5,
                                   rtol=0)  # fmt: skip
    parts = pipe.generate(task=tasks, known=truth, seed=7, batch=2).tensor
    torch.testing.assert_close(parts, out.tensor, atol=1e-5, rtol=0)


def test_random_masks_follow_the_samples_seed(pipe: Pipeline, truth: Tensor) -> None:
    for task in ("complete", "random-frames:p=0.5"):
        batch = made(pipe, task=task, known=truth, n=3, seed=20)
        alone = made(pipe, task=task, known=truth, seed=21)
        torch.testing.assert_close(batch[1:2], alone, atol=1e-5, rtol=0)
        kept = batch == truth
        assert not torch.equal(kept[0], kept[1])
    # Without a seed one is drawn, and the recipe's makes the same masks and samples again.
    first = pipe.generate(task="complete", known=truth)
    again = pipe.generate(task="complete", known=truth, seed=first.recipe["seeds"])
    assert torch.equal(first.tensor, again.tensor)


def test_a_mask_of_ones_own(pipe: Pipeline, files: Path, truth: Tensor) -> None:
    area = np.zeros((SIDE, SIDE), np.uint8)
    area[4:20, 8:30] = 255
    Image.fromarray(area).save(files / "mask.png")
    white = torch.from_numpy(area > 0)
    out = made(pipe, task="complete", known=files / "whole.mkv", mask=files / "mask.png")[0]
    assert torch.equal((out != truth).any(0).any(0), white) and torch.equal(out[..., ~white], truth[..., ~white])
    # Without a task, a clip and a mask speak for themselves.
    for mask in (files / "mask.png", white, white.expand(T, SIDE, SIDE), white.float()):
        assert torch.equal(made(pipe, known=truth, mask=mask)[0], out)
    moving = np.stack([np.roll(area, t, 1) for t in range(T)])
    write_clip(moving[..., None].repeat(3, -1), files / "mask.mkv", Fraction(10))
    out = made(pipe, known=truth, mask=files / "mask.mkv")[0]
    assert torch.equal((out != truth).any(0), torch.from_numpy(moving > 0))


def test_rates_and_sizes_are_refused_or_brought_to_one(pipe: Pipeline, files: Path) -> None:
    frames = read_clip(files / "long.mkv").frames
    write_clip(frames, files / "fast.mkv", Fraction(20))
    write_clip(np.pad(frames, ((0, 0), (0, 0), (8, 8), (0, 0))), files / "wide.mkv", Fraction(20))
    words = {"task": "predict:given=4", "known": files / "fast.mkv"}
    with pytest.raises(InputError, match=r"16 frames, 20 fps; accepted: .*10 fps; .*--fps 20 keeps .*--fps 10 resampl"):
        made(pipe, **words)
    slow = pipe.generate(**words, fps=10, seed=0)
    assert torch.equal(slow.tensor[0, :, :4], to_data(frames[::2][:4], 3))
    slow.save(files / "slow.mp4")
    assert read_clip(files / "slow.mp4").rate == 10
    fast = pipe.generate(**words, fps=20, offset=-4, seed=0)
    assert torch.equal(fast.tensor[0, :, :4], to_data(frames[-4:], 3))
    fast.save(files / "out.mp4")
    assert read_clip(files / "out.mp4").rate == 20
    with pytest.raises(InputError, match=r"48x32, 20 fps; accepted: 8 frames.*32x32, 10 fps;.*--fit"):
        made(pipe, task="predict", known=files / "wide.mkv")
    fitted = made(pipe, task="predict:given=4", known=files / "wide.mkv", fps=20, offset=0, fit="crop")
    assert torch.equal(fitted[0, :, :4], to_data(frames[:4], 3))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"task": "predikt"}, "did you mean 'predict'"), ({"task": "predict"}, "known: got nothing with the task predict"),
    ({"task": "predict", "clip": 5, "frames": 0}, "frames: got 0"),
    ({"task": "backward", "clip": 5, "frames": T}, r"frames: got 8; accepted: 1..7"),
    ({"task": "predict:given=8", "clip": 5}, r"given.*8 in a clip of 8"),
    ({"task": "predict:given=0", "clip": 5}, "given"), ({"task": "predict", "clip": 5, "frames": 2.5}, "whole number"),
    ({"task": "predict:given=2", "clip": 5, "frames": 6}, "one of them"),
    ({"task": "predict", "known": "first3.mkv", "frames": 2}, r"first3.mkv: 3 frames; accepted: 8 frames or the 6"),
    ({"task": "interpolate", "clip": 5, "stride": 1}, "stride"),
    ({"task": "interpolate", "clip": 5, "frames": 3}, "frames: got 3 with the task interpolate"),
    ({"task": "image-to-video", "clip": 5, "index": 8}, r"-8..7"),
    ({"task": "unconditional", "clip": 5}, "keeps no cell"), 
    ({"task": "predict", "clip": 10_000}, r"clip: got 10000; accepted: 0.."),
    ({"task": "predict", "clip": 5, "known": "whole.mkv"}, "one of them"), ({"frames": 3}, "without a task"),
    ({"offset": 3}, "without a known clip"), ({"known": "whole.mkv"}, "mask: got nothing with a known clip"),
    ({"task": "predict", "known": "whole.mkv", "fit": "squash"}, "crop, stretch"),
    ({"task": "predict", "known": "whole.mkv", "offset": 8}, r"offset: got 8; accepted: -8..7"),
    ({"fps": 0}, "fps: got 0"), ({"fps": "x"}, "fps"),
    ({"task": ["predict", "backward"], "clip": 5, "n": 3}, "2 tasks"),
    ({"task": "predict", "clip": 5, "mask": torch.ones(SIDE, SIDE)}, "--task complete with a mask"),
    ({"task": "complete", "clip": 5, "mask": torch.ones(SIDE, SIDE + 1)}, r"mask: got .*33x32; accepted: 32x32"),
    ({"task": "complete", "clip": 5, "mask": torch.ones(T - 1, SIDE, SIDE)}, r"mask: got .*7 frames"),
    ({"task": "complete", "clip": 5, "mask": "whole.txt"}, "mask: got"),
    ({"task": "predict", "known": "gone.mp4"}, r"gone.mp4 \(no such file\)"),
    ({"task": "predict", "known": "notes.txt"}, "known: got .*notes.txt"),
    ({"task": "predict", "known": torch.zeros(1, T, SIDE, SIDE)}, "known: got"),
    ({"task": "predict", "known": np.zeros((T, SIDE, SIDE, 3))}, "uint8"),
    ({"known": torch.zeros(1, 3, T, SIDE, 8), "mask": torch.ones(SIDE, SIDE)}, "known"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "text"), BAD)
def test_bad_words_are_refused_in_one_line(pipe: Pipeline, files: Path, words: dict[str, Any], text: str) -> None:
    (files / "notes.txt").write_text("not a clip\n" * 40)
    (files / "whole.txt").write_text("no mask")
    placed = {k: files / v if k in ("known", "mask") and isinstance(v, str) else v for k, v in words.items()}
    with pytest.raises(InputError, match=text) as fault:
        made(pipe, **placed)
    assert "\n" not in str(fault.value)


def test_longer_than_the_model_window_after_window(pipe: Pipeline, truth: Tensor) -> None:
    words = {"task": "predict", "known": truth[:, :3]}
    long = pipe.generate(**words, frames=20, seed=4)
    assert long.tensor.shape == (1, 3, 23, SIDE, SIDE) and long.timing["calls"] == 4 * 2
    # Frames 0..7, 5..12, 10..17, 15..22: the first window is a plain run, and longer ones begin with shorter ones.
    assert torch.equal(long.tensor[:, :, :T], made(pipe, **words, seed=4))
    assert torch.equal(long.tensor[:, :, :17], made(pipe, **words, frames=14, seed=4))
    # Every window is a run of its own from the last three frames, with other noise than the first.
    again = made(pipe, task="predict", known=long.tensor[0, :, 5:8], seed=4)
    assert torch.equal(again[:, :, :3], long.tensor[:, :, 5:8])
    assert not torch.equal(again[:, :, 3:], long.tensor[:, :, 8:13])
    batch = made(pipe, **words, frames=20, n=2, seed=3)
    torch.testing.assert_close(batch[1:], long.tensor, atol=1e-4, rtol=0)
    *steps, last = pipe.stream(**words, frames=20, seed=4)
    assert [s.index for s in steps] == list(range(1, 8)) and last.total == 8
    assert last.output is not None and torch.equal(last.output.tensor, long.tensor)


def test_a_clip_comes_back_from_noise(pipe: Pipeline, truth: Tensor) -> None:
    back = made(pipe, start=pipe.invert(truth, steps=3), guidance=1)
    torch.testing.assert_close(back[0], truth, atol=1e-4, rtol=0)


def test_previews_are_clips(pipe: Pipeline) -> None:
    for step in pipe.stream(task="predict", clip=1, n=2, seed=0):
        assert [p.shape for p in step.preview] == [(T, SIDE, SIDE, 3)] * 2 and step.preview[0].dtype == np.uint8


def compared(out: Generated, path: Path) -> tuple[int, int]:
    told = Video().difference(out, path, read_recipe(path))
    return told.equal, told.total


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".gif", ".frames"])
@pytest.mark.parametrize("count", [1, 3])
def test_files_say_how_they_were_made_and_compare(pipe: Pipeline, tmp_path: Path, suffix: str, count: int) -> None:
    out, path = pipe.generate(n=count, seed=2), tmp_path / f"out{suffix}"
    assert out.save(path) == [path, tmp_path / "out.png"]
    for file in (path, tmp_path / "out.png"):
        assert read_recipe(file) == out.recipe and compared(out, file) == (count, count)
    again = pipe.modality.load(path, pipe)
    assert again.shape == out.tensor.shape
    if suffix in (".mkv", ".frames"):
        assert np.array_equal(to_frames(again), np.stack(out.samples))
    other = pipe.generate(n=count, seed=70)
    other = replace(other, recipe={**out.recipe, "result": other.recipe["result"]})
    assert compared(other, path)[0] == 0
    with pytest.raises(InputError, match="--force"):
        other.save(path)


def test_a_tampered_file_is_told_and_another_encoder_is_not(pipe: Pipeline, tmp_path: Path) -> None:
    out, path = pipe.generate(n=1, seed=2), tmp_path / "out.mp4"
    out.save(path)
    (clip,) = out.samples
    # Another encoder's losses: the samples are those of the recipe all the same.
    write_clip(np.clip(clip.astype(int) + 2, 0, 255).astype(np.uint8), path, Fraction(10), out.recipe, force=True)
    assert compared(out, path) == (1, 1)
    changed = clip.copy()
    changed[4:] = 255 - changed[4:]
    for name in ("out.mp4", "out.mkv"):
        write_clip(changed, tmp_path / name, Fraction(10), out.recipe, force=True)
        assert compared(out, tmp_path / name) == (0, 1)
    changed = clip.copy()
    changed[0, 0, 0] ^= 1
    write_clip(changed, tmp_path / "out.mkv", Fraction(10), out.recipe, force=True)
    assert compared(out, tmp_path / "out.mkv") == (0, 1)


def test_a_folder_takes_a_file_a_sample(pipe: Pipeline, tmp_path: Path) -> None:
    out = pipe.generate(n=2, seed=8)
    out.save(tmp_path / "many")
    assert sorted(p.name for p in (tmp_path / "many").iterdir()) == ["seed-8.mp4", "seed-8.png", "seed-9.mp4",
                                                                     "seed-9.png"]  # fmt: skip
    path = tmp_path / "many" / "seed-9.mp4"
    assert read_recipe(path)["index"] == 1
    second = replace(out, tensor=out.tensor[1:], samples=out.samples[1:], seeds=out.seeds[1:],
                     recipe={**out.recipe, "index": 1})  # fmt: skip
    assert compared(second, path) == (1, 1)
    with pytest.raises(InputError, match=r"seed-8\.mp4"):
        pipe.modality.check_output(tmp_path / "many", out.seeds)
    (tmp_path / "lone.png").touch()
    with pytest.raises(InputError, match=r"lone\.png"):
        pipe.modality.check_output(tmp_path / "lone.mp4", (0,))


@pytest.mark.parametrize("part", ["encode_picture", "write_clip"])
def test_clip_and_contact_sheet_appear_together(pipe: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                part: str) -> None:  # fmt: skip
    import gencore_video.modality as module

    def full(*args: Any) -> None:
        raise InputError("output", "full disk")

    monkeypatch.setattr(module, part, full)
    with pytest.raises(InputError, match="full disk"):
        pipe.generate(seed=0).save(tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


def test_datasets_are_of_the_pipelines_size(pipe: Pipeline, files: Path) -> None:
    modality = pipe.modality
    assert modality.dataset(None, pipe, held_out=True)[0]["data"].shape == (3, T, SIDE, SIDE)
    assert modality.dataset(files, pipe)[0]["data"].shape == (3, T, SIDE, SIDE)
    # long.mkv has two runs of T frames and more; held out, a file is one clip.
    assert len(modality.dataset(files, pipe)) > len(modality.dataset(files, pipe, held_out=True)) == 3
    assert modality.dataset(files, None, size=(4, 16, 24))[0]["data"].shape == (3, 4, 16, 24)
    with pytest.raises(InputError, match="size"):
        modality.dataset(files, None, size=(4,))


def test_the_showcase_runs_all_tasks_on_one_clip_and_can_be_made_again(pipe: Pipeline, truth: Tensor) -> None:
    out = pipe.modality.showcase(pipe, 5)
    kept = (out.tensor == truth).flatten(3).all(-1).all(1).sum(1).tolist()
    assert len(out.samples) == 7 and kept[:4] == [4, 4, 2, 1] and kept[6] == 0 and out.recipe["known"] is not None
    assert set(out.recipe["words"]["task"]) == set(SPECIALTIES)
    again = pipe.generate(**out.recipe["words"], seed=out.recipe["seeds"])
    assert torch.equal(again.tensor, out.tensor)


def test_a_page_shows_a_clip_and_names_its_tasks(pipe: Pipeline, tmp_path: Path) -> None:
    out = pipe.generate(task=["predict", "backward"], clip=5, seed=1)
    out.save(tmp_path / "two.mp4")
    page = pipe.modality.html(tmp_path / "two.mp4")
    assert '<video src="two.mp4"' in page and page.endswith("row by row: predict, backward")
    assert pipe.modality.html(Path("a/gone.mp4")).endswith("</video>")


def test_a_clip_a_sample_with_one_task_is_each_clip_alone(pipe: Pipeline) -> None:
    both = torch.rand(2, *clip_of(pipe), generator=torch.Generator().manual_seed(3)) * 2 - 1
    frames = {"task": "predict", "frames": clip_of(pipe)[1] // 2, "steps": 2}
    out = pipe.generate(known=both, seed=4, **frames).tensor
    alone = pipe.generate(known=both[1], seed=5, **frames).tensor
    torch.testing.assert_close(out[1:], alone, rtol=0, atol=1e-5)
    half = clip_of(pipe)[1] - clip_of(pipe)[1] // 2
    assert torch.equal(out[:, :, :half], both[:, :, :half])
    with pytest.raises(InputError, match="2 clips for 3 samples"):
        pipe.generate(known=both, n=3, seed=4, **frames)


def clip_of(pipe: Pipeline) -> tuple[int, ...]:
    return pipe.tokenizer.spec().sizes
