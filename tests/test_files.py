from __future__ import annotations

import errno
import os

import pytest

from gencore.errors import InputError
from gencore.media.files import atomic_path, atomic_write, check_output


def test_text_is_utf8_with_plain_newlines(tmp_path):
    with atomic_write(tmp_path / "a.txt", "w") as file:
        file.write("σ\n")
    assert (tmp_path / "a.txt").read_bytes() == "σ\n".encode()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_new_files_get_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"x")
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_existing_output_needs_force(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="--force"), atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    with atomic_write(path, force=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("fault", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_any_exception_removes_the_part_and_keeps_the_old_file(tmp_path, fault):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(fault)), atomic_write(path, force=True) as file:
        file.write(b"half")
        raise fault
    assert os.listdir(tmp_path) == ["a.bin"] and path.read_bytes() == b"old"


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError) as caught, atomic_write(tmp_path / "a.bin") as file:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "No space left" in str(caught.value) and "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_full_disk_at_the_rename_leaves_nothing(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="output"), atomic_write(tmp_path / "a.bin") as file:
        file.write(b"whole")
    assert os.listdir(tmp_path) == []


def test_an_input_that_is_missing_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), atomic_write(tmp_path / "a.bin") as file:
        file.write((tmp_path / "other").read_bytes())
    assert os.listdir(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    path = tmp_path / "a.bin"
    with pytest.raises(InputError, match="--force"), atomic_write(path) as file:
        file.write(b"mine")
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs" and os.listdir(tmp_path) == ["a.bin"]


def test_folder_missing_or_read_only_or_is_the_path(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="mkdir -p"):
        check_output(tmp_path / "none" / "a.bin")
    with pytest.raises(InputError, match="a folder"):
        check_output(tmp_path, force=True)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="not writable"):
        check_output(tmp_path / "a.bin")


def test_a_folder_that_refuses_at_open_is_an_input_error(tmp_path, monkeypatch):
    import builtins

    def refuse(path, *rest, **named):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with pytest.raises(InputError, match="Permission denied"):
        monkeypatch.setattr(builtins, "open", refuse)
        with atomic_write(tmp_path / "a.bin"):
            pass


def test_the_temporary_path_keeps_the_suffix_and_the_folder(tmp_path):
    with atomic_path(tmp_path / "a.mp4") as part:
        assert part.suffix == ".mp4" and part.parent == tmp_path and part.name.startswith(".")
        part.write_bytes(b"film")
    assert (tmp_path / "a.mp4").read_bytes() == b"film"
