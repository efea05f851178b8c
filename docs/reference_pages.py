"""A page of the reference for every contract file, made while the site is built."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]


def contract_names() -> list[str]:
    """The modules of ``gencore/`` itself, by name."""
    return sorted(path.stem for path in (ROOT / "gencore").glob("*.py") if not path.stem.startswith("__"))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages into the navigation."""
    pages = [{f"gencore.{name}": f"reference/{name}.md"} for name in contract_names()]
    assert config.nav is not None
    config.nav = [{"Reference": pages} if item == {"Reference": []} else item for item in config.nav]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for name in contract_names():
        content = f"# gencore.{name}\n\n::: gencore.{name}\n"
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files
