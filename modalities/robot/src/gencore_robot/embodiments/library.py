"""Embodiments by name or by file.

A distribution brings its own with an entry point of group ``gencore_robot.embodiments``, whose name is the
embodiment's and whose value says where the file lies, ``"package:file.json"``.
"""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

from gencore.errors import InputError, PluginError, unknown
from gencore_robot.embodiments.embodiment import Embodiment

GROUP = "gencore_robot.embodiments"


def names() -> list[str]:
    """All names that `load` knows.

    Raises:
        PluginError: two distributions bring the same name.

    >>> {"aloha-agilex", "franka"} <= set(names())
    True
    """
    return sorted(sources())


def load(source: str | Path) -> Embodiment:
    """The embodiment of a name, or of a ``.json`` file.

    Raises:
        InputError: an unknown name, an unreadable file, or content that cannot be used.
        PluginError: two distributions bring the same name, or one whose file is not there.

    >>> load("aloha-gym").control_hz
    50
    """
    if isinstance(source, Path) or source.endswith(".json"):
        return parse(read(Path(source)), str(source))
    known = sources()
    if source not in known:
        raise unknown("embodiment", source, known)
    package, _, file = known[source].partition(":")
    try:
        text = files(package).joinpath(file).read_text("utf-8")
    except (ImportError, OSError, UnicodeDecodeError) as error:
        raise PluginError(f"embodiment '{source}': no readable file at {known[source]} ({error})") from error
    return parse(text, source)


def sources() -> dict[str, str]:
    """Every name: where its file lies, ``"package:file.json"``."""
    package = "gencore_robot.embodiments"
    found = {file.name.removesuffix(".json"): f"{package}:{file.name}"
             for file in files(package).iterdir() if file.name.endswith(".json")}  # fmt: skip
    for point in entry_points(group=GROUP):
        if point.name in found and found[point.name] != point.value:
            raise PluginError(f"embodiment '{point.name}': from {found[point.name]} and from {point.value}")
        found[point.name] = point.value
    return found


def read(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("embodiment file", path, "a readable file", str(error)) from error


def parse(text: str, source: str) -> Embodiment:
    """The embodiment that JSON `text` from `source` describes."""
    try:
        return Embodiment.from_config(json.loads(text))
    except json.JSONDecodeError as error:
        raise InputError("embodiment file", source, "JSON", str(error)) from error
