"""``gencore info`` and ``reproduce``, driven as a user types them."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencore.loading import load_folder
from gencore.recipe import embed_png, read_recipe
from gencore.testing.commands import Run, refused
from gencore.testing.tiny import tiny_pipeline


def pixels(path: Path | str) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


@pytest.fixture
def given(tmp_path: Path, run: Run) -> tuple[str, str, np.ndarray]:
    """A picture, a mask whose black rows keep it, and where it is kept."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save("photo.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[:3] = 255
    Image.fromarray(mask).save("mask.png")
    return "photo.png", "mask.png", mask == 0


# ---- info


def test_info_of_a_file_is_a_command_line_that_makes_it_again(generate: Run, run: Run) -> None:
    generate("-n", 2, "--guidance", "1.5", "--sampler", "sde", "--batch", 1, "--size", "8x12", "-o", "a.png")
    *_, command, reproduce = run("info", "a.png").out.splitlines()
    assert reproduce == "gencore reproduce a.png"
    program, *words = shlex.split(command)
    assert program == "gencore" and run(*words, "-o", "b.png").code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_info_as_json(run: Run, generate: Run, model: Path) -> None:
    generate("-o", "a.png")
    assert json.loads(run("info", "a.png", "--json").out) == read_recipe("a.png")
    told = json.loads(run("info", model, "--json").out)
    assert told["weights"]["parameters"] == sum(p.numel() for p in tiny_pipeline().backbone.parameters())
    told = json.loads(run("info", "images", "--json").out)
    assert "dpmpp" in told["samplers"] and "label" in told["options"] and "digits" in told["provides"]["preset"]


def test_info_tells_what_the_card_of_a_model_holds(run: Run, tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    pipe.card = {"licence": "Apache-2.0", "figures": {"frechet": 1.25}}
    pipe.save_pretrained("mine")
    rows = dict(re.split(r"  +", row, maxsplit=1) for row in run("info", "mine").out.splitlines() if "  " in row)
    assert rows["card.licence"] == "Apache-2.0" and rows["card.figures.frechet"] == "1.25"
    assert rows["tokenizer"] == "pixels:channels=1,size=8/8,multiple=2"


def test_info_of_nothing_names_what_there_is(run: Run) -> None:
    assert "subject: got imgs; accepted: images" in refused(run("info", "imgs"))
    Path("empty").mkdir()
    assert "a folder with config.json" in refused(run("info", "empty"))


# ---- reproduce


def test_a_sheet_reproduces_unaided_and_byte_for_byte(generate: Run, run: Run) -> None:
    generate("-n", 16, "-o", "a.png")
    done = run("reproduce", "a.png", "-o", "c.png")
    assert (done.code, done.out) == (0, "equal: 16 of 16 samples bit-equal\n")
    assert Path("a.png").read_bytes() == Path("c.png").read_bytes()


@pytest.mark.parametrize("words", [["--sampler", "sde"], ["--batch", "2"], ["--guidance", "2"], ["--dtype", "float64"]])
def test_every_option_travels_in_the_recipe(generate: Run, run: Run, words: list[str]) -> None:
    generate("-n", 3, "-o", "a.png", *words)
    assert run("reproduce", "a.png", "-o", "c.png").code == 0
    assert Path("a.png").read_bytes() == Path("c.png").read_bytes()


def test_one_file_of_a_folder_reproduces(generate: Run, run: Run) -> None:
    generate("-n", 3, "-o", "two")
    done = run("reproduce", "two/seed-1.png", "-o", "c.png")
    assert (done.code, done.out) == (0, "equal: 1 of 1 samples bit-equal\n")
    assert Path("two/seed-1.png").read_bytes() == Path("c.png").read_bytes()


def test_another_picture_differs_by_a_number_and_exit_1(generate: Run, run: Run) -> None:
    generate("-n", 4, "-o", "a.png")
    recipe, sheet = read_recipe("a.png"), pixels("a.png")
    sheet[0, 0] += 2 if sheet[0, 0] < 128 else -2
    buffer = io.BytesIO()
    Image.fromarray(sheet.astype(np.uint8)).save(buffer, "PNG")
    recipe["versions"]["torch"] = "1.0"
    Path("b.png").write_bytes(embed_png(buffer.getvalue(), recipe))
    done = run("reproduce", "b.png", "--quiet")
    assert done.code == 1 and done.err == ""
    assert done.out.startswith("differs: torch 1.0 -> ") and "max difference 2 of 255; 3 of 4" in done.out
    told = json.loads(run("reproduce", "b.png", "--json").out)
    assert (told["equal"], told["samples"], told["largest"]) == (3, 4, "2 of 255")


def test_a_model_that_is_missing_or_another_is_named_by_its_hash(generate: Run, run: Run, model: Path) -> None:
    generate("--model", model, "-o", "a.png")
    wanted = load_folder(model).hash()
    assert f"--model FOLDER with {wanted}" in refused(run("reproduce", "a.png"))
    tiny_pipeline(seed=1).save_pretrained("other")
    assert wanted in (told := refused(run("reproduce", "a.png", "--model", "other"))) and "other" in told
    assert run("reproduce", "a.png", "--model", model).code == 0


def test_given_files_are_asked_for_and_checked(generate: Run, run: Run, given) -> None:
    photo, mask, _ = given
    generate("--known", photo, "--mask", mask, "-o", "m.png")
    recipe = read_recipe("m.png")
    told = refused(run("reproduce", "m.png"))
    assert f"--known photo.png with {recipe['known']['known']}" in told
    assert f"--mask mask.png with {recipe['known']['mask']}" in told
    assert "--mask: got photo.png" in refused(run("reproduce", "m.png", "--known", photo, "--mask", photo))
    assert run("reproduce", "m.png", "--known", photo, "--mask", mask).code == 0
    generate("-o", "a.png")
    assert "this recipe gives no cells" in refused(run("reproduce", "a.png", "--mask", mask))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"colour": "red"}, "the entry 'colour'"),
        ({"sedes": [1]}, "did you mean 'seeds'"),
        ({"gencore": 2}, "version 2"),
        ({"steps": "four"}, "'steps' = four"),
        ({"sampler": {"type": "dpmp"}}, "did you mean 'dpmpp'"),
        ({"sampler": {"type": "dpmpp", "colour": 1}}, "colour"),
        ({"sampler": {"type": "lab:Mine (not installed: reproduce needs this class)"}}, "an installed one"),
        ({"interceptors": ["Cache"]}, "a type and its settings"),
        ({"interceptors": [{"type": "lab:Mine (not installed: reproduce needs this class)"}]}, "an installed one"),
        ({"transforms": ["Sharpen"]}, "transforms Sharpen"),
        ({"index": 3}, "index 3 of 1 seeds"),
        ({"model": {"hash": "x"}}, "hash, origin and dtype"),
        ({"words": {"colour": "red"}}, "colour"),
        ({"seeds": None}, "'seeds' = None"),
    ],
)
def test_a_recipe_this_version_cannot_follow_is_refused(generate: Run, run: Run, change: dict, told: str) -> None:
    generate("-o", "a.png", "--quiet")
    recipe = read_recipe("a.png") | change
    Path("b.png").write_bytes(embed_png(Path("a.png").read_bytes(), recipe))
    assert told in refused(run("reproduce", "b.png", "--quiet", "-o", "c.png")) and not Path("c.png").exists()


def test_a_recipe_that_lacks_an_entry_is_refused(generate: Run, run: Run) -> None:
    generate("-o", "a.png")
    recipe = read_recipe("a.png")
    del recipe["sampler"]
    Path("b.png").write_bytes(embed_png(Path("a.png").read_bytes(), recipe))
    assert "no entry 'sampler'" in refused(run("reproduce", "b.png"))
