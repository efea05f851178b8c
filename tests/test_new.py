"""``gencore new``: what it writes, what it refuses, and that what it wrote is a working plug-in."""

from __future__ import annotations

import ast
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gencore.cli import main
from gencore.errors import InputError
from gencore.scaffold import KINDS, render
from gencore.scaffold.names import check_name


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_whole_package_with_three_places_to_change(kind: str) -> None:
    files = render("my-drums", kind)
    assert len(files) < 15
    for path, text in files.items():
        assert "$" not in path and "MODULE" not in path and "DOT" not in path
        if path.endswith(".py"):
            ast.parse(text, path)
    project = tomllib.loads(files["pyproject.toml"])
    assert project["project"]["name"] == "gencore-my-drums"
    entry = project["project"]["entry-points"]["gencore.plugins"]
    assert entry == {"my-drums": "gencore_my_drums.manifest:manifest"}
    yours = [path for path, text in files.items() if path.endswith(".py") and "Yours" in text]
    assert len(yours) == 3, yours
    assert {"README.md", ".gitignore", ".github/workflows/test.yml", "tests/test_conformance.py"} <= files.keys()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Drums", "lower-case"), ("a--b", "lower-case"), ("9lives", "lower-case"), ("../x", "lower-case"),
        ("class", "keyword"), ("json", "standard library"), ("images", "gencore-images"), ("text", "gencore-text"),
        ("gencore-x", "without 'gencore'"), ("x" * 40, "at most 30"),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_used_is_refused_with_a_free_one(name: str, says: str) -> None:
    with pytest.raises(InputError, match="name") as refusal:
        check_name(name)
    assert says in str(refusal.value)
    *_, suggestion = str(refusal.value).rpartition("gencore new ")
    assert check_name(suggestion) == suggestion


def test_an_existing_folder_is_left_alone_without_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "gencore-drums"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    assert main(["new", "drums"]) == 2
    assert "--force" in capsys.readouterr().err
    assert [p.name for p in folder.iterdir()] == ["README.md"] and (folder / "README.md").read_text() == "mine"
    assert main(["new", "drums", "--force", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(told["files"]) == sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def install(site: Any, name: str, kind: str) -> None:
    """Put what `render` gives where `site` finds it, as pip would."""
    module = f"gencore_{name}"
    for path, text in render(name, kind).items():
        if path.startswith("src/"):
            target = site.folder / path.removeprefix("src/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
    site.install(f"gencore-{name}", entry=f"{name} = {module}.manifest:manifest")


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*names: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gencore.cli.new.os.rename", full)
    assert main(["new", "drums", "-o", str(tmp_path / "x"), "--quiet"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_two_packages_may_call_their_presets_alike(site: Any) -> None:
    install(site, "drums", "continuous")
    install(site, "tiles", "discrete")
    code = (
        "from gencore.training.setup import Setup, prepare;"
        "print(*(prepare(Setup(modality=m)).data.describe() for m in ('drums', 'tiles')))"
    )
    done = site.run("-c", code)
    assert done.returncode == 0, done.stderr
    assert "signals of 1 x 64" in done.stdout and "grids of 8 x 8" in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_trains_generates_and_reproduces_at_once(site: Any, kind: str) -> None:
    install(site, "drums", kind)
    output = "out.txt" if kind == "discrete" else "out.csv"
    for words in (
        ("train", "drums", "--steps", "4", "-o", "run", "--quiet"),
        ("generate", "drums", "--model", "run", "--seed", "0", "--steps", "2", "-o", output, "--quiet"),
        ("reproduce", output, "--model", "run"),
    ):
        done = site.gencore(*words, OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
    assert "equal" in done.stdout
