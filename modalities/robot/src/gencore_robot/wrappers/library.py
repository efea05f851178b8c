"""Mappings by file, or those that are packaged for well-known environments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from gencore.errors import InputError
from gencore_robot.embodiments.library import load as load_embodiment
from gencore_robot.wrappers.mapping import EnvMapping


def load(path: str | Path) -> EnvMapping:
    """The mapping of a ``.json`` file; its ``embodiment`` is a name, a file beside it, or the content of one.

    Raises:
        InputError: an unreadable file, or content that cannot be used.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError("mapping", path, "a readable JSON file", str(error).splitlines()[0]) from error
    return _parse(content, path.stem, path.parent)


def for_environment(env_id: str) -> EnvMapping:
    """The packaged mapping of an environment.

    Raises:
        InputError: none is packaged for it.

    >>> sorted(for_environment("gym_pusht/PushT-v0").observation)
    ['env_state', 'images', 'state']
    """
    plain = env_id.rpartition(":")[2]
    known: list[str] = []
    for mapping in _packaged():
        if plain in mapping.environments:
            return mapping
        known += mapping.environments
    raise InputError("mapping", f"none for '{plain}'", "--mapping FILE", f"packaged for {', '.join(sorted(known))}")


def _packaged() -> Iterator[EnvMapping]:
    folder = files("gencore_robot.wrappers").joinpath("files")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            yield _parse(json.loads(file.read_text("utf-8")), file.name.removesuffix(".json"), Path())


def _parse(content: Any, name: str, folder: Path) -> EnvMapping:
    if isinstance(content, dict):
        content = {"name": name, **content}
        robot = content.get("embodiment")
        if isinstance(robot, str):
            content["embodiment"] = load_embodiment(folder / robot if robot.endswith(".json") else robot)
    return EnvMapping.from_config(content)
