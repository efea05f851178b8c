from __future__ import annotations

import argparse
import errno
import io
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from gencore.errors import CheckpointError, InputError
from gencore.weights.files import read_checkpoint, read_tensors, require_finite, select_state_dict, write_tensors

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3, dtype=torch.int64)}


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def one_line(caught) -> str:
    assert "\n" not in str(caught.value) and caught.value.field == "checkpoint"
    return str(caught.value)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8,
              torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2],
)  # fmt: skip
def test_the_reference_library_reads_what_is_written(tmp_path, dtype):
    tensors = {"x": torch.arange(6).reshape(2, 3).to(dtype), "s": torch.tensor(1).to(dtype), "e": torch.zeros(0, 4)}
    write_tensors(tmp_path / "w.safetensors", tensors, {"format": "pt"})
    back = load_file(tmp_path / "w.safetensors")
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype and back[name].shape == tensor.shape
        assert torch.equal(back[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))


def test_bytes_equal_the_library_without_metadata(tmp_path):
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, dtype=torch.float16), "c": torch.ones(1, dtype=torch.int64)}
    save_file(tensors, tmp_path / "theirs.safetensors")
    write_tensors(tmp_path / "ours.safetensors", tensors)
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(st.text(max_size=8), st.integers(0, 5), max_size=5),
    st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=5),
)
def test_round_trip_of_any_names_and_metadata(tmp_path_factory, sizes, metadata):
    path = tmp_path_factory.mktemp("w") / "w.safetensors"
    tensors = {name: torch.arange(float(n)) for name, n in sizes.items()}
    write_tensors(path, tensors, metadata)
    back, read = read_tensors(path)
    assert read == metadata and back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_equal_weights_give_equal_bytes_in_every_process(tmp_path):
    program = (
        "import sys, torch; from gencore.weights.files import write_tensors\n"
        "write_tensors(sys.argv[1], {'a': torch.ones(2)}, {c: c for c in 'hgfedcba'})"
    )
    for name in "xy":
        subprocess.run([sys.executable, "-c", program, str(tmp_path / f"{name}.safetensors")], check=True)
    write_tensors(tmp_path / "z.safetensors", {"a": torch.ones(2)}, {c: c for c in "abcdefgh"})
    assert len({(tmp_path / f"{name}.safetensors").read_bytes() for name in "xyz"}) == 1


def test_views_and_tied_tensors_are_stored_in_full(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    write_tensors(tmp_path / "w.safetensors", {"t": base.T, "row": base[1], "tied": base[1]})
    back, _ = read_tensors(tmp_path / "w.safetensors")
    assert torch.equal(back["t"], base.T) and torch.equal(back["tied"], base[1])


def test_no_overwrite_without_force(tmp_path):
    write_tensors(tmp_path / "w.safetensors", WEIGHTS)
    with pytest.raises(InputError, match="--force"):
        write_tensors(tmp_path / "w.safetensors", {})
    assert read_tensors(tmp_path / "w.safetensors")[0].keys() == WEIGHTS.keys()


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        write_tensors(tmp_path / "w.safetensors", WEIGHTS)
    assert os.listdir(tmp_path) == []


def test_a_dtype_the_format_lacks_is_refused_before_writing(tmp_path):
    with pytest.raises(CheckpointError, match=r"z of torch\.complex128"):
        write_tensors(tmp_path / "w.safetensors", {"z": torch.zeros(1, dtype=torch.complex128)})
    assert os.listdir(tmp_path) == []


def test_a_training_file_with_a_namespace(tmp_path):
    args = argparse.Namespace(model="XL/2", lr=1e-4, root=pathlib.Path("data") / "x")
    torch.save({"model": WEIGHTS, "ema": {"w": torch.ones(1)}, "opt": {"state": {}}, "args": args}, tmp_path / "c.pt")
    loaded = read_checkpoint(tmp_path / "c.pt")
    assert loaded["args"].model == "XL/2"
    state, chosen = select_state_dict(loaded)
    assert chosen == "ema" and list(state) == ["w"]
    state, chosen = select_state_dict(loaded, prefer=("model",))
    assert chosen == "model" and torch.equal(state["a.weight"], WEIGHTS["a.weight"])


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_bomb_is_refused_and_not_run(tmp_path, zipped):
    content = {"w": torch.ones(1), "x": Bomb(tmp_path / "ran")}
    torch.save(content, tmp_path / "evil.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "evil.pt")
    assert "mkdir" in one_line(caught)
    assert not (tmp_path / "ran").exists()


def test_a_bomb_inside_a_namespace_is_refused_and_not_run(tmp_path):
    torch.save({"args": argparse.Namespace(x=Bomb(tmp_path / "ran"))}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_the_allow_list_does_not_leak(tmp_path):
    torch.save({"args": argparse.Namespace(a=1)}, tmp_path / "c.pt")
    read_checkpoint(tmp_path / "c.pt")
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 7, 100, 0.5, 0.99])
def test_truncated_files(tmp_path, suffix, keep):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    tensors = {"w": torch.arange(5000.0)}
    if suffix == ".pt":
        torch.save(tensors, whole)
    else:
        write_tensors(whole, tensors)
    data = whole.read_bytes()
    cut.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(cut)
    assert "cut" in one_line(caught)


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hello.txt", "hi")
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"just text\n", b"\x89PNG\r\n" + bytes(64), _zip(), bytes(100), b"\x80\x02N."])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_not_a_checkpoint(tmp_path, content, suffix):
    (tmp_path / f"x{suffix}").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / f"x{suffix}")
    one_line(caught)


def test_missing_file_strange_suffix_and_no_dict(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "none.pt")
    assert "no such file" in one_line(caught)
    (tmp_path / "x.onnx").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"\.safetensors"):
        read_checkpoint(tmp_path / "x.onnx")
    torch.save([torch.ones(1)], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pt")


def test_folders(tmp_path):
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_checkpoint(tmp_path)
    torch.save(WEIGHTS, tmp_path / "one.bin")
    assert read_checkpoint(tmp_path).keys() == WEIGHTS.keys()
    torch.save(WEIGHTS, tmp_path / "two.pt")
    with pytest.raises(CheckpointError, match=r"one\.bin, two\.pt"):
        read_checkpoint(tmp_path)
    write_tensors(tmp_path / "model.safetensors", {"s": torch.ones(1)})
    assert list(read_checkpoint(tmp_path)) == ["s"]


def test_a_sharded_folder_is_joined_by_its_index(tmp_path):
    write_tensors(tmp_path / "model-1.safetensors", {"a": torch.ones(1)})
    write_tensors(tmp_path / "model-2.safetensors", {"b": torch.zeros(1)})
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_checkpoint(tmp_path).keys() == {"a", "b"}
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-2\.safetensors"):
        read_checkpoint(tmp_path)


def test_bare_state_dict_and_prefixes():
    state, chosen = select_state_dict(WEIGHTS)
    assert chosen == "" and state.keys() == WEIGHTS.keys()
    state, chosen = select_state_dict({"module._orig_mod.a": torch.ones(1), "module._orig_mod.b": torch.ones(1)})
    assert list(state) == ["a", "b"] and chosen == "prefix 'module._orig_mod.' removed"
    state, chosen = select_state_dict({"module.a": torch.ones(1), "b": torch.ones(1)})
    assert list(state) == ["module.a", "b"] and chosen == ""


@pytest.mark.parametrize("bad", [{}, {"epoch": 3}, {"ema": {"a": 3}}, {"ema": {}}, {"a": torch.ones(1), "n": 2}])
def test_no_state_dict(bad):
    with pytest.raises(CheckpointError) as caught:
        select_state_dict(bad)
    assert "ema | model | state_dict" in one_line(caught)


def test_require_finite_names_the_first_bad_tensor():
    require_finite(WEIGHTS)
    bad = {"q": torch.tensor([1.0, float("nan"), float("-inf")]), "r": torch.tensor([float("nan")])}
    with pytest.raises(CheckpointError, match=r"q \(2 of 3 values"):
        require_finite(WEIGHTS | bad)
