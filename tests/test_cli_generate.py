"""``gencore generate``, driven as a user types it."""

from __future__ import annotations

import io
import json
import re
import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gencore.cli.progress import clock, progress
from gencore.models import CONFIG, WEIGHTS
from gencore.pipeline import Pipeline
from gencore.recipe import read_recipe
from gencore.testing.commands import Run, refused
from gencore.testing.tiny import tiny_pipeline


def pixels(path: Path | str) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def listing() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file()}


CLOSING = r"a\.png  16 samples  seeds 0\.\.15  4 network calls  \d+\.\d s  next unused seed: 16\n"


def test_a_sheet_its_closing_line_and_progress_by_tenths(generate: Run) -> None:
    done = generate("-n", 16, "--steps", 4, "--sampler", "dpmpp", "-o", "a.png")
    assert done.code == 0 and re.fullmatch(CLOSING, done.out)
    assert "\r" not in done.err and [line.split()[2] for line in done.err.splitlines()] == ["1/4", "2/4", "3/4", "4/4"]
    assert Image.open("a.png").size == (4 * 10 - 2, 4 * 10 - 2)


def test_forty_steps_are_told_in_ten_lines(generate: Run) -> None:
    done = generate("--steps", 40, "-o", "a.png")
    assert [line.split()[0] for line in done.err.splitlines()] == [str(k) for k in range(10, 101, 10)]


def test_quiet_says_nothing_on_stderr(generate: Run) -> None:
    done = generate("-o", "a.png", "--quiet")
    assert done.err == "" and done.out.startswith("a.png  1 sample  seed 0  ")


def test_json_is_one_object_and_nothing_else(generate: Run) -> None:
    told = json.loads(generate("-n", 2, "-o", "a.png", "--json").out)
    assert told["files"] == ["a.png"] and told["seeds"] == [0, 1] and told["next_unused_seed"] == 2
    assert told["recipe"] == read_recipe("a.png")


def test_an_existing_file_is_kept_unless_forced_and_equal_calls_give_equal_files(generate: Run) -> None:
    generate("-o", "a.png")
    before = listing()
    assert "a.png (exists)" in (told := refused(generate("-o", "a.png"))) and "--force" in told
    assert listing() == before
    assert generate("-o", "a.png", "--force").code == 0
    assert listing() == before


def test_a_sample_alone_is_its_cell_of_the_sheet(generate: Run) -> None:
    generate("-n", 16, "-o", "a.png")
    generate("--seed", 5, "-o", "b.png")
    cell = pixels("a.png")[10:18, 10:18]
    assert abs(cell - pixels("b.png")).max() <= 1


def test_without_a_name_a_free_readable_one_is_taken(run: Run) -> None:
    for name in ("images-label-3-seed-7.png", "images-label-3-seed-7-2.png"):
        done = run("generate", "images", "--label", 3, "--seed", 7)
        assert done.code == 0 and done.out.startswith(f"{name}  ")
    assert sorted(listing()) == ["images-label-3-seed-7-2.png", "images-label-3-seed-7.png"]


def test_a_seed_is_drawn_printed_and_recorded(run: Run) -> None:
    done = run("generate", "images", "--label", "3,7", "-o", "a.png")
    first, last = map(int, re.search(r"seeds (\d+)\.\.(\d+)", done.out).groups())  # type: ignore[union-attr]
    assert read_recipe("a.png")["seeds"] == [first, last] and last == first + 1


def test_several_words_and_seeds_are_separated_by_commas(run: Run) -> None:
    done = run("generate", "images", "--label", "3,7,1", "--seed", "4,9,30", "-o", "a.png")
    assert "3 samples  seeds 4,9,30" in done.out and "next unused seed: 31" in done.out
    assert read_recipe("a.png")["words"] == {"label": ["3", "7", "1"]}


def test_a_folder_takes_one_file_a_sample_and_refuses_before_it_writes(generate: Run) -> None:
    assert "two (3 files)" in generate("-n", 3, "-o", "two").out
    assert sorted(listing()) == ["two/seed-0.png", "two/seed-1.png", "two/seed-2.png"]
    before = listing()
    assert "seed-2.png (exists)" in refused(generate("--seed", 2, "-n", 2, "-o", "two"))
    assert listing() == before
    assert generate("--seed", 3, "-n", 2, "-o", "two").code == 0
    assert len(listing()) == 5


def test_a_picture_may_be_written_without_its_recipe(generate: Run, run: Run) -> None:
    generate("-o", "a.png", "--no-recipe")
    assert "holds no recipe" in refused(run("info", "a.png"))


@pytest.fixture
def given(tmp_path: Path, run: Run) -> tuple[str, str, np.ndarray]:
    """A picture, a mask whose black rows keep it, and where it is kept."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save("photo.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[:3] = 255
    Image.fromarray(mask).save("mask.png")
    return "photo.png", "mask.png", mask == 0


def test_black_cells_of_the_mask_are_kept_to_the_pixel(generate: Run, given) -> None:
    photo, mask, kept = given
    done = generate("--known", photo, "--mask", mask, "-o", "m.png")
    assert "m.png  keeps 62 % of 64 cells  1 sample" in done.out
    made, known = pixels("m.png"), pixels(photo)
    assert (made[kept] == known[kept]).all() and (made[~kept] != known[~kept]).any()


def test_a_mask_of_another_size_names_both(generate: Run, given) -> None:
    Image.new("L", (7, 8)).save("narrow.png")
    told = refused(generate("--known", "photo.png", "--mask", "narrow.png", "-o", "m.png"))
    assert told.startswith("mask: got 7x8; accepted: 8x8") and not Path("m.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--label", "12"], "label: got 12; accepted: 0..9"),
        (["--steps", "0"], "steps: got 0; accepted: 1 or more"),
        (["--steps", "-4"], "steps: got -4; accepted: 1 or more"),
        (["--steps", "few"], "--steps: got 'few'; accepted: a whole number"),
        (["--stpes", "5"], "--stpes: not an option of 'gencore generate'; did you mean '--steps'?"),
        (["--sampler", "dpmp"], "did you mean 'dpmpp'?"),
        (["--sampler", "dpmpp:order"], "name:key=value"),
        (["--guidance", "strong"], "guidance: got 'strong'; accepted: cfg"),
        (["--seed", "one"], "--seed: got one; accepted: whole numbers"),
        (["--size", "9x8"], "nearest to 9: 8 or 10"),
        (["--size", "eight"], "--size: got eight; accepted: HxW"),
        (["--size", "8"], "size: got 8; accepted: HxW"),
        (["-n", "0"], "n: got 0; accepted: 1 or more"),
        (["--batch", "0"], "batch: got 0; accepted: 1 or more"),
        (["--known", "nowhere.png", "--mask", "nowhere.png"], "known: got nowhere.png"),
        (["--known-mode", "keep", "--known", "g.png", "--mask", "g.png"], "replace_state"),
        (["--known", "g.png"], "mask: got nothing; accepted: known and mask together"),
        (["--dtype", "floa32"], "dtype: got 'floa32'"),
        (["--device", "cuda:99"], "device: got cuda:99"),
        (["--model", "./nowhere"], "model: got ./nowhere; accepted: a folder, or a hub id"),
        (["-o", "no/x.png"], "mkdir -p no"),
        (["-o", "x.jpg"], "output: got x.jpg; accepted: a .png file"),
        (["--label", "3,4", "-n", "3"], "label: got 2 labels for n=3"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(generate: Run, words: list[str], told: str) -> None:
    Image.new("L", (8, 8)).save("g.png")
    before = listing()
    assert told in refused(generate("-o", "x.png", *words))
    assert listing() == before


@pytest.mark.parametrize("damage", ["truncated", "wide", "nan"])
def test_a_damaged_model_is_one_line(generate: Run, damage: str) -> None:
    tiny_pipeline().save_pretrained("bad")
    if damage == "truncated":
        Path("bad", WEIGHTS).write_bytes(Path("bad", WEIGHTS).read_bytes()[:-9])
    elif damage == "wide":
        Path("bad", CONFIG).write_bytes((tiny_pipeline(width=64).save_pretrained("wide") / CONFIG).read_bytes())
    else:
        pipe = tiny_pipeline()
        with torch.no_grad():
            next(iter(pipe.backbone.parameters())).fill_(float("inf"))
        pipe.save_pretrained("bad", force=True)
    told = {"truncated": "complete .safetensors", "wide": "wrong shape", "nan": "values not finite"}[damage]
    assert told in refused(generate("--model", "bad", "-o", "x.png")) and not Path("x.png").exists()


def test_a_folder_one_may_not_write_is_told_before_any_work(generate: Run, monkeypatch) -> None:
    Path("locked").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: str(path) != "locked")
    monkeypatch.setattr(Pipeline, "generate", lambda *_, **__: pytest.fail("it worked first"))
    assert "locked/x.png (folder not writable)" in refused(generate("-o", "locked/x.png"))


@contextmanager
def files_no_larger_than(size: int):
    """The operating system refuses to write more, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_refuses_is_one_line_and_leaves_nothing(generate: Run) -> None:
    with files_no_larger_than(200):
        done = generate("-n", 4, "-o", "a.png", "--quiet")
    assert "output: got a.png" in refused(done) and listing() == {}


def test_cancelling_leaves_nothing(generate: Run, monkeypatch) -> None:
    def cancel(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "_run", cancel)
    done = generate("-o", "a.png")
    assert (done.code, done.out, done.err) == (130, "", "gencore: cancelled\n") and listing() == {}


def test_unknown_modalities_are_told(run: Run) -> None:
    assert "did you mean 'images'?" in refused(run("generate", "imags"))
    assert "pip install gencore-voxels" in refused(run("generate", "voxels"))
    assert "modality" in refused(run("generate"))


# ---- what needs an interpreter of its own


def test_help_and_recipes_are_told_without_torch(generate: Run, site) -> None:
    generate("-o", "a.png")
    code = """
import sys
from gencore.cli import main
for words in (["generate", "images", "--help"], ["info", "images"], ["info", "a.png"]):
    try:
        main(words)
    except SystemExit:
        pass
print(sorted({"torch", "numpy", "PIL"} & set(sys.modules)))
"""
    done = site.run("-c", code)
    assert done.stdout.splitlines()[-1] == "[]" and "--label" in done.stdout and "words.label" in done.stdout


def test_a_plugin_that_raises_disturbs_nothing_and_little_is_imported(site, model: Path) -> None:
    site.install("lab-bad", entry="bad = lab_bad:manifest", lab_bad="raise OSError('no arm')")
    code = f"""
import sys
from gencore.cli import main
code = main(["generate", "images", "--model", {str(model)!r}, "--label", "3", "-o", "a.png", "--quiet"])
print(code, {{"lightning", "scipy", "diffusers", "matplotlib", "tensorboard"}} & set(sys.modules))
"""
    done = site.run("-c", code)
    assert done.stderr == "" and done.stdout.splitlines()[-1] == "0 set()" and (site.folder / "a.png").exists()


# ---- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_that_disappears() -> None:
    stream = Terminal()
    with progress("steps", stream=stream) as report:
        for i in range(1, 5):
            report(i, 4, "loss 0.5")
    assert "\r" in stream.getvalue() and "steps" in stream.getvalue() and stream.getvalue().rstrip(" ").endswith("\r")


def test_a_resumed_count_starts_where_it_left() -> None:
    stream = io.StringIO()
    with progress("steps", stream=stream) as report:
        for i in range(51, 101):
            report(i, 100)
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["%"] * 5
    assert stream.getvalue().splitlines()[0].split()[2] == "60/100"


def test_an_unknown_total_is_no_error() -> None:
    for stream in (io.StringIO(), Terminal()):
        with progress("steps", stream=stream) as report:
            for i in range(1, 4):
                report(i, 0)


def test_times_are_told_in_minutes() -> None:
    assert (clock(5), clock(75.2), clock(3671.6)) == ("0:05", "1:15", "1:01:12")
