"""Models by hub id: cached copies without the server, patterns, and failures in one line; no network is touched."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gencore.errors import InputError, MissingDependency
from gencore.weights.hub import PATTERNS, download

hub = pytest.importorskip("huggingface_hub", reason="the optional hub client")
LocalEntryNotFoundError = pytest.importorskip("huggingface_hub.errors").LocalEntryNotFoundError


class Fake:
    """Stands for ``snapshot_download``: what is cached, and what the server does."""

    def __init__(self, folder: Path, *, cached: bool, fault: Exception | None = None) -> None:
        self.folder, self.cached, self.fault, self.calls = folder, cached, fault, []  # type: ignore[var-annotated]

    def __call__(self, model: str, *, allow_patterns: list[str], local_files_only: bool = False) -> str:
        self.calls.append((model, local_files_only))
        assert allow_patterns == list(PATTERNS)
        if local_files_only and not self.cached:
            raise LocalEntryNotFoundError("not here")
        if not local_files_only and self.fault:
            raise self.fault
        return str(self.folder)


def test_a_cached_copy_is_used_without_asking_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(tmp_path, cached=True, fault=AssertionError("the server was asked"))
    monkeypatch.setattr(hub, "snapshot_download", fake)
    assert download("owner/name") == tmp_path and fake.calls == [("owner/name", True)]


def test_else_it_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(tmp_path, cached=False)
    monkeypatch.setattr(hub, "snapshot_download", fake)
    assert download("owner/name") == tmp_path and fake.calls == [("owner/name", True), ("owner/name", False)]


@pytest.mark.parametrize("fault", [LocalEntryNotFoundError("no connection\nand more"), OSError("no route"), OSError()])
def test_an_unreachable_server_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    monkeypatch.setattr(hub, "snapshot_download", Fake(tmp_path, cached=False, fault=fault))
    with pytest.raises(InputError, match="owner/name") as caught:
        download("owner/name")
    assert "\n" not in str(caught.value)


def test_an_impossible_id_and_an_absent_client(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="owner/name"):
        download("own er/na me")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependency, match=r"gencore\[hub\]"):
        download("owner/name")


def test_only_configurations_and_safetensors_are_fetched() -> None:
    from huggingface_hub.utils import filter_repo_objects

    files = [
        "config.json",
        "transformer/config.json",
        "model.safetensors",
        "vae/model.safetensors",
        "model_index.json",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "code.py",
        "README.md",
        "x.pt",
        "tokenizer.json",
    ]
    assert list(filter_repo_objects(files, allow_patterns=list(PATTERNS))) == files[:6]
