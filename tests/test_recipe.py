from __future__ import annotations

import io
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gencore import recipe as rc
from gencore.errors import InputError
from gencore.weights.files import read_tensors, write_tensors

RECIPE = {"model": "blake2b:00", "seeds": [2**70, -1], "sampler": "dpmpp:order=2", "prompt": "σ \n '\"", "scale": 0.1}

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


@given(st.dictionaries(st.text(max_size=5), plain, max_size=4))
def test_png_round_trip_of_any_plain_recipe(tmp_path_factory, recipe):
    path = tmp_path_factory.mktemp("r") / "a.png"
    path.write_bytes(rc.embed_png(png(PIXELS), recipe))
    assert rc.read_recipe(path) == recipe


def test_a_png_with_a_recipe_is_the_same_picture_to_other_readers(tmp_path):
    data = rc.embed_png(png(PIXELS), RECIPE)
    image = Image.open(io.BytesIO(data))
    assert np.array_equal(np.asarray(image), PIXELS)
    assert image.info[rc.KEY] == rc.dumps(RECIPE)


def test_embedding_again_replaces_and_is_deterministic():
    once = rc.embed_png(png(PIXELS), RECIPE)
    assert rc.embed_png(rc.embed_png(png(PIXELS), {"other": 1}), RECIPE) == once
    assert rc.embed_png(png(PIXELS), dict(reversed(RECIPE.items()))) == once


def test_png_written_by_another_program_still_reads(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", "hello")
    info.add_text(rc.KEY, rc.dumps(RECIPE))
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=info)
    assert rc.read_recipe(tmp_path / "a.png") == RECIPE


def test_safetensors_header(tmp_path):
    write_tensors(tmp_path / "a.safetensors", {"x": torch.ones(2)}, {rc.KEY: rc.dumps(RECIPE), "format": "pt"})
    assert rc.read_recipe(tmp_path / "a.safetensors") == RECIPE
    assert read_tensors(tmp_path / "a.safetensors")[1]["format"] == "pt"


def test_sidecar_of_any_other_file(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    rc.write_sidecar(tmp_path / "a.wav", RECIPE)
    assert rc.read_recipe(tmp_path / "a.wav") == RECIPE == rc.read_recipe(tmp_path / "a.wav.recipe.json")
    with pytest.raises(InputError, match="--force"):
        rc.write_sidecar(tmp_path / "a.wav", {})
    rc.write_sidecar(tmp_path / "a.wav", {}, force=True)
    assert rc.read_recipe(tmp_path / "a.wav") == {}


def test_reading_needs_only_the_standard_library(tmp_path):
    (tmp_path / "a.png").write_bytes(rc.embed_png(png(PIXELS), RECIPE))
    program = (
        "import sys; from gencore.recipe import read_recipe; print(read_recipe(sys.argv[1])['scale'])\n"
        "assert not {'torch', 'numpy', 'PIL', 'safetensors'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.png")], capture_output=True, text=True)
    assert run.stdout == "0.1\n", run.stderr


@pytest.mark.parametrize("bad", [{"x": math.nan}, {"x": torch.ones(1)}, {3: 1}, {"x": {None: 1}}, {"x": np.int64(3)}])
def test_a_recipe_is_plain_json(bad):
    with pytest.raises(InputError) as caught:
        rc.dumps(bad)
    assert caught.value.field == "recipe" and "\n" not in str(caught.value)


def test_tuples_and_equal_dicts_give_equal_text():
    assert rc.dumps({"b": (1, 2), "a": "é"}) == rc.dumps({"a": "é", "b": [1, 2]}) == '{"a":"\\u00e9","b":[1,2]}'


@pytest.mark.parametrize("cut", [20, 60, 120])
def test_truncated_png(tmp_path, cut):
    (tmp_path / "a.png").write_bytes(rc.embed_png(png(PIXELS), RECIPE)[:cut])
    with pytest.raises(InputError, match="truncated"):
        rc.read_recipe(tmp_path / "a.png")


def test_the_recipe_of_a_picture_cut_behind_it_can_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(rc.embed_png(png(PIXELS), RECIPE)[:-30])
    assert rc.read_recipe(tmp_path / "a.png") == RECIPE


def test_a_flipped_bit_shows(tmp_path):
    data = bytearray(rc.embed_png(png(PIXELS), RECIPE))
    data[60] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        rc.read_recipe(tmp_path / "a.png")


def test_files_without_a_recipe(tmp_path):
    (tmp_path / "a.png").write_bytes(png(PIXELS))
    (tmp_path / "t.safetensors").write_bytes(b"\xff" * 20)
    (tmp_path / "l.recipe.json").write_text("[1]")
    write_tensors(tmp_path / "b.safetensors", {"x": torch.ones(1)})
    for name, said in {
        "none.png": "No such file", "a.png": "holds no recipe", "b.safetensors": "holds no recipe",
        "t.safetensors": "truncated", "l.recipe.json": "no JSON object", ".": "directory",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=said) as caught:
            rc.read_recipe(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="PNG signature"):
        rc.embed_png(b"GIF89a", RECIPE)


def test_content_hash_sees_values_shape_and_dtype_only(tmp_path):
    x = torch.arange(6.0).reshape(2, 3)
    same = [x, x.numpy(), x.T.contiguous().T, torch.arange(12.0)[::2].div(2).reshape(2, 3), x.numpy().astype(">f4")]
    assert len({rc.content_hash(y) for y in same}) == 1
    other = [x.T, x.reshape(-1), x.double(), x.to(torch.int32), x + 1, x.bfloat16()]
    assert len({rc.content_hash(y) for y in [x, *other]}) == 7
    (tmp_path / "f").write_bytes(b"abc")
    assert rc.content_hash(tmp_path / "f") == rc.content_hash(str(tmp_path / "f")) == rc.content_hash(b"abc")
    with pytest.raises(InputError, match="No such file"):
        rc.content_hash(tmp_path / "none")


def test_content_hash_of_a_big_endian_array_is_that_of_its_values():
    x = np.arange(4, dtype=np.int32)
    assert rc.content_hash(x.astype(">i4")) == rc.content_hash(x)


def test_model_hash_ignores_order_and_sees_names():
    a, b = torch.zeros(2), torch.ones(2)
    assert rc.model_hash({"a": a, "b": b}) == rc.model_hash({"b": b, "a": a})
    assert len({rc.model_hash(s) for s in ({"a": a, "b": b}, {"a": b, "b": a}, {"a": a}, {"a": a, "c": b})}) == 4
