"""The command line, end to end on a tiny model: what people type, and what they read when it cannot work."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencore.cli import main
from gencore.conditioner import Unconditional
from gencore.denoised import Prediction
from gencore.nn.init import seeded
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.flows import LinearFlow
from gencore.recipe import read_recipe
from gencore.testing.conformance.subject import awaken
from gencore_video.backbone import VDT
from gencore_video.io.reading import read_clip
from gencore_video.io.writing import write_clip
from gencore_video.physics.clips import physics_clips
from gencore_video.pixels import to_frames
from gencore_video.tokenizers.frames import Frames

T = 8


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model``, ``clip.mkv`` of T frames, ``first.mkv`` of 3, ``mask.png`` and files of no use."""
    home = tmp_path_factory.mktemp("video")
    with seeded(0):
        net = VDT(3, 8, width=32, depth=1, heads=2, prediction=Prediction("velocity"))
    awaken(net)
    pipe = Pipeline(modality="video", tokenizer=Frames(3, (T, 32, 32), multiple=8), conditioner=Unconditional(),
                    backbone=net, process=LinearFlow(),
                    defaults=Defaults("dpmpp", 2, known_mode="compose_input"))  # fmt: skip
    pipe.save_pretrained(home / "model")
    frames = to_frames(physics_clips(held_out=True, frames=T)[2]["data"][None])[0]
    write_clip(frames, home / "clip.mkv", Fraction(10))
    write_clip(frames[:3], home / "first.mkv", Fraction(10))
    write_clip(frames[:3, ::-1], home / "other.mkv", Fraction(10))
    area = np.zeros((32, 32), np.uint8)
    area[8:24, 8:24] = 255
    Image.fromarray(area).save(home / "mask.png")
    Image.fromarray(area[:, :31]).save(home / "narrow.png")
    (home / "notes.txt").write_text("not a clip\n" * 40)
    whole = (home / "clip.mkv").read_bytes()
    (home / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    return home


def gencore(home: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command run in `home`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        try:
            code = main([*words])
        except SystemExit as stop:
            code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_prediction_writes_a_clip_and_its_contact_sheet(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("generate", "video", "--model", "model", "--task", "predict", "--known", "first.mkv", "--frames", "5",
             "--seed", "4")  # fmt: skip
    code, out, err = gencore(home, *words, "-o", "out.mkv", capsys=capsys)
    assert code == 0 and "out.mkv (2 files)" in out and "seed 4" in out and "keeps 38 %" in out
    assert "2/2 steps" in err
    made, given = read_clip(home / "out.mkv"), read_clip(home / "first.mkv")
    assert np.array_equal(made.frames[:3], given.frames) and made.rate == 10 and len(made.frames) == T
    assert Image.open(home / "out.png").size == (T * 34 - 2, 32)
    before = (home / "out.mkv").read_bytes()
    code, _, err = gencore(home, *words, "-o", "out.mkv", capsys=capsys)
    assert code == 2 and "--force" in err and (home / "out.mkv").read_bytes() == before
    code, _, _ = gencore(home, *words, "-o", "out.mkv", "--force", "--quiet", capsys=capsys)
    assert code == 0 and (home / "out.mkv").read_bytes() == before

    code, out, _ = gencore(home, "info", "out.mkv", capsys=capsys)
    assert code == 0 and "--known first.mkv" in out and "--mask" not in out and "--task predict" in out
    again = ("reproduce", "out.mkv", "--model", "model", "--quiet")
    code, out, _ = gencore(home, *again, "--known", "first.mkv", capsys=capsys)
    assert (code, out) == (0, "equal: 1 of 1 samples bit-equal\n")
    code, _, err = gencore(home, *again, capsys=capsys)
    assert code == 2 and "--known first.mkv with blake2b:" in err
    code, _, err = gencore(home, *again, "--known", "other.mkv", capsys=capsys)
    assert code in (1, 2)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_coded_clips_reproduce(home: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    name = f"task{suffix}"
    code, out, _ = gencore(home, "generate", "video", "--model", "model", "--task", "interpolate", "--stride", "3",
                           "--clip", "7", "--fps", "25/2", "-n", "2", "--seed", "1", "--json", "-o", name,
                           capsys=capsys)  # fmt: skip
    told = json.loads(out)
    assert code == 0 and told["files"] == [name, "task.png"] and told["seeds"] == [1, 2] and told["kept"] == 3 / 8
    assert read_clip(home / name).rate == Fraction(25, 2)
    (home / "alone").mkdir(exist_ok=True)
    (home / name).rename(home / "alone" / name)
    (home / "task.png").rename(home / "alone" / "task.png")
    for file in (name, "task.png"):
        code, out, _ = gencore(home / "alone", "reproduce", file, "--model", "../model", "--quiet", capsys=capsys)
        assert (code, out) == (0, "equal: 2 of 2 samples bit-equal\n")
        (home / "alone" / file).unlink()


def test_completion_keeps_the_black_area(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = gencore(home, "generate", "video", "--model", "model", "--task", "complete", "--known", "clip.mkv",
                           "--mask", "mask.png", "--seed", "0", "-o", "mended.mkv", "--quiet",
                           capsys=capsys)  # fmt: skip
    assert code == 0 and "keeps 75 %" in out
    changed = (read_clip(home / "mended.mkv").frames != read_clip(home / "clip.mkv").frames).any((0, 3))
    assert np.array_equal(changed, np.asarray(Image.open(home / "mask.png")) > 0)
    code, out, _ = gencore(home, "reproduce", "mended.mkv", "--model", "model", "--known", "clip.mkv", "--mask",
                           "mask.png", "--quiet", capsys=capsys)  # fmt: skip
    assert (code, out) == (0, "equal: 1 of 1 samples bit-equal\n")


def test_a_long_prediction_reproduces(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = gencore(home, "generate", "video", "--model", "model", "--task", "predict", "--known", "first.mkv",
                           "--frames", "64", "--seed", "0", "-o", "long.mp4", "--quiet", capsys=capsys)  # fmt: skip
    assert code == 0 and len(read_clip(home / "long.mp4").frames) == 67
    assert read_recipe(home / "long.mp4")["words"] == {"task": "predict", "frames": 64}
    code, out, _ = gencore(home, "reproduce", "long.mp4", "--model", "model", "--known", "first.mkv", "--quiet",
                           capsys=capsys)  # fmt: skip
    assert (code, out) == (0, "equal: 1 of 1 samples bit-equal\n")


def test_a_clip_goes_to_noise_and_back(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, quiet = ("video", "--model", "model"), ("--quiet", "--force")
    code, _, err = gencore(home, "invert", model[0], "clip.mkv", *model[1:], "--steps", "3", "-o", "noise.safetensors",
                           *quiet, capsys=capsys)  # fmt: skip
    assert code == 0, err
    back = ("generate", *model, "--start", "noise.safetensors", "--guidance", "1", "-o", "back.mkv")
    code, _, err = gencore(home, *back, *quiet, capsys=capsys)
    assert code == 0, err
    whole = read_clip(home / "clip.mkv").frames.astype(int)
    assert np.abs(read_clip(home / "back.mkv").frames - whole).max() <= 1
    code, _, err = gencore(home, "edit", model[0], "clip.mkv", *model[1:], "--steps", "8", "--strength", "0.25", "-o",
                           "edited.mkv", *quiet, capsys=capsys)  # fmt: skip
    assert code == 0, err
    # Without words there is nothing to change: what is left is the error of the round trip.
    assert np.abs(read_clip(home / "edited.mkv").frames - whole).mean() < 4


BAD = [
    ("--task predict --known first.mkv --frames 3", "known: got first.mkv: 3 frames; accepted: 8 frames or the 5"),
    ("--task predict --known clip.mkv --frames 0", "frames: got 0"),
    ("--task backward --known clip.mkv --frames 8", "frames: got 8; accepted: 1..7"),
    ("--task predict:given=8 --known clip.mkv", "given"),
    ("--task predict --known clip.mkv --fps 0", "fps: got 0"),
    ("--task complete --known clip.mkv --mask narrow.png", "mask: got narrow.png: 8 frames of 31x32; accepted: 32x32"),
    ("--task predict --known notes.txt", "known: got notes.txt"),
    ("--task predict --known cut.mkv", "known: got cut.mkv (cut off"),
    ("--task predict --known gone.mp4", "known: got gone.mp4 (no such file)"),
    ("--task predict", "known: got nothing with the task predict"),
    ("--task predicted --known clip.mkv", "did you mean 'predict'"),
    ("--tusk predict", "--task"),
]


@pytest.mark.parametrize(("words", "text"), BAD)
def test_what_cannot_work_is_one_line_and_no_file(home: Path, capsys: pytest.CaptureFixture[str], words: str,
                                                  text: str) -> None:  # fmt: skip
    before = sorted(home.iterdir())
    code, out, err = gencore(home, "generate", "video", "--model", "model", *words.split(), "-o", "bad.mp4",
                             capsys=capsys)  # fmt: skip
    assert code == 2 and text in err and len(err.strip().splitlines()) == 1 and not out
    assert sorted(home.iterdir()) == before


def test_help_names_the_tasks_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom gencore.cli import main\ntry:\n    main(['generate', 'video', '--help'])\n"
        "except SystemExit:\n    pass\nprint(sorted({'torch', 'numpy', 'av', 'PIL'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "[]" and "interpolate" in said and "--stride" in said
