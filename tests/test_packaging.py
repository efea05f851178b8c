"""What is installed, what importing it costs, and which way dependencies point."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import gencore
from gencore.first_party import PLUGINS

ROOT = Path(__file__).resolve().parents[1]
CORE_FILES = sorted((ROOT / "gencore").rglob("*.py"))
NOT_PACKAGES = ("kernels", "modalities", "tests", "examples", "benchmarks")


def modules_after(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after `statement`."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def imported(file: Path) -> set[str]:
    """Every top-level module that `file` imports anywhere, functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def code_strings(file: Path) -> set[str]:
    """String constants of `file` that are not docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    prose = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
    constants = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in prose)
    return {n.value for n in constants if isinstance(n.value, str)}


def test_importing_the_package_imports_no_library() -> None:
    heavy = {"torch", "lightning", "numpy", "einops", "safetensors"}
    loaded = modules_after("import gencore")
    assert "gencore" in loaded
    assert not {name for name in loaded if name in heavy or name.startswith("gencore_")}


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "--json"], ["list", "--help"], ["doctor", "--help"]])
def test_verbs_that_only_tell_import_no_torch(words: list[str]) -> None:
    loaded = modules_after(
        f"from gencore.cli import main\ntry:\n    main({words!r})\nexcept SystemExit:\n    pass\nprint()"
    )
    assert not loaded & {"torch", "numpy", "lightning"}


def test_public_names_resolve_and_unknown_ones_do_not() -> None:
    for name in gencore.__all__:
        assert getattr(gencore, name) is not None
        assert name in dir(gencore)
    with pytest.raises(AttributeError, match="no attribute 'Pipelin'"):
        _ = gencore.Pipelin  # type: ignore[attr-defined]


def test_every_manifest_of_this_repository_imports_the_standard_library_only() -> None:
    ours = [entry for entry in entry_points(group="gencore.plugins") if entry.name in PLUGINS]
    assert {"images", "kernels"} <= {entry.name for entry in ours}
    allowed = modules_after("pass") | sys.stdlib_module_names | {"gencore"}
    for entry in ours:
        assert modules_after(f"import {entry.module}") - allowed == {entry.module.partition(".")[0]}


@pytest.mark.parametrize("file", CORE_FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_core_never_imports_a_plugin(file: Path) -> None:
    assert not {name for name in imported(file) if name.startswith("gencore_")}


def test_the_core_names_no_modality() -> None:
    names = set(PLUGINS) - {"kernels"}
    told = {
        str(file.relative_to(ROOT)): found
        for file in CORE_FILES
        if file.name != "first_party.py" and (found := code_strings(file) & (names | {f"gencore-{n}" for n in names}))
    }
    assert told == {}


def test_folders_that_must_not_become_packages() -> None:
    assert not [name for name in NOT_PACKAGES if (ROOT / name / "__init__.py").exists()]


def test_nothing_but_gencore_is_importable_from_elsewhere(tmp_path: Path) -> None:
    code = f"from importlib.util import find_spec\nprint([n for n in {NOT_PACKAGES!r} if find_spec(n)])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_distribution_is_typed_licensed_and_in_the_one_install() -> None:
    lines = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    installs = {re.sub(r"\[.*\]", "", line.removeprefix("-e ")) for line in lines if line.startswith("-e ")}
    projects = [ROOT, ROOT / "kernels", *sorted(path.parent for path in ROOT.glob("modalities/*/pyproject.toml"))]
    assert installs == {str(project.relative_to(ROOT)) for project in projects}
    for project in projects:
        facts = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
        package = facts["project"]["name"].replace("-", "_")
        home = project / package if project == ROOT else project / "src" / package
        assert (home / "py.typed").exists()
        assert "py.typed" in facts["tool"]["setuptools"]["package-data"][package]
        assert "Apache License" in (project / "LICENSE").read_text(encoding="utf-8")
        assert not [need for need in facts["project"]["dependencies"] if "==" in need]


def test_every_package_of_the_core_is_regular() -> None:
    folders = {file.parent for file in CORE_FILES}
    assert not [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()]
