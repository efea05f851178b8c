"""Fixtures of the core's tests: distributions made up for a test, and the folder of reference numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from gencore.testing.commands import Run, runner

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Site:
    """A folder that stands in for site-packages, before the real one: real metadata, seen by a new interpreter."""

    folder: Path

    def install(self, distribution: str, *, entry: str = "", version: str = "1.2.3", **modules: str) -> None:
        """Write `modules` (``name=source``) and metadata with ``entry`` as a line of group ``gencore.plugins``."""
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[gencore.plugins]\n{entry}\n")
        for name, source in modules.items():
            (self.folder / f"{name}.py").write_text(dedent(source))

    def plugin(
        self, name: str, provides: str = "{}", rest: str = "", *, distribution: str = "", code: str = ""
    ) -> None:
        """Install a plug-in with a well-formed manifest; `code` is the body of its implementation module."""
        manifest = f"""
            from gencore.manifest import Manifest, Option
            manifest = Manifest(name={name!r}, summary="made up", provides={provides}, {rest})
        """
        module = (distribution or name).replace("-", "_")
        self.install(
            distribution or f"gencore-{name}",
            entry=f"{name} = {module}_manifest:manifest",
            **{f"{module}_manifest": manifest, f"{module}_code": code},
        )

    def run(self, *words: str, plugins: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``python -m`` with `words` where the folder is visible."""
        env = {**os.environ, "PYTHONPATH": str(self.folder), **environment}
        for name in {"GENCORE_PLUGINS", "PYTHONUNBUFFERED"} - environment.keys():
            env.pop(name, None)
        if plugins is not None:
            env["GENCORE_PLUGINS"] = plugins
        # -P: the folder the tests are started from must not stand in for what is installed.
        return subprocess.run(
            [sys.executable, "-P", *words], env=env, cwd=self.folder, capture_output=True, text=True, timeout=120
        )

    def gencore(self, *words: str, **how: str) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return self.run("-m", "gencore", *words, **how)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An empty `Site`."""
    return Site(tmp_path)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the reference numbers too large to be versioned: ``golden_dir / system / case``.

    It is ``$GENCORE_GOLDEN``, or ``shared/golden`` beside the repository; tests that need it are skipped without it.
    """
    if given := os.environ.get("GENCORE_GOLDEN"):
        folder = Path(given)
        assert folder.is_dir(), f"GENCORE_GOLDEN: {folder} is not a folder"
        return folder
    folder = ROOT.parent / "shared" / "golden"
    if not folder.is_dir():
        pytest.skip("reference numbers absent: set GENCORE_GOLDEN, or put them in shared/golden beside the repository")
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gencore.testing.tiny import tiny_pipeline

    return tiny_pipeline().save_pretrained(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def run(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Run:
    """One command line in an empty folder, where the tiny model is the packaged default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gencore.models.packaged_default", lambda name: model)

    return runner(capsys)


@pytest.fixture
def generate(run: Run) -> Run:
    return lambda *words: run("generate", "images", "--label", 3, "--seed", 0, *words)
