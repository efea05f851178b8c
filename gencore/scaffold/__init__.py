"""The files of a new modality package, rendered from templates that lie beside this module.  Standard library only.

``templates/common`` holds what every kind of package has; ``templates/KIND`` adds to it.  ``$name``, ``$dist``,
``$module``, ``$cls`` and ``$core`` are replaced (`string.Template`), a last suffix ``.tmpl`` is taken off, and the path
elements ``MODULE`` and ``DOT`` stand for the import name and a leading dot.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from string import Template

from gencore import __version__

KINDS = {
    "continuous": "real numbers on a grid: signals, fields, pictures",
    "discrete": "symbols on a grid, as analog bits",
    "policy": "chunks of actions for an observation",
}
"""``{kind: what its data is}``."""


def render(name: str, kind: str) -> dict[str, str]:
    """The package of modality `name`: ``{path relative to its folder: text}``.

    Args:
        name: normalised, see `gencore.scaffold.names`.
        kind: one of `KINDS`.
    """
    words = {
        "name": name,
        "dist": f"gencore-{name}",
        "module": module_name(name),
        "cls": "".join(part.capitalize() for part in name.split("-")),
        "core": _core_range(),
    }
    root = resources.files(__name__) / "templates"
    files: dict[str, str] = {}
    for part in ("common", kind):
        for path, text in _templates(root / part):
            files[path.replace("MODULE", words["module"]).replace("DOT", ".")] = Template(text).substitute(words)
    return files


def module_name(name: str) -> str:
    """The import name of modality `name`.

    >>> module_name("my-audio")
    'gencore_my_audio'
    """
    return "gencore_" + name.replace("-", "_")


def _core_range() -> str:
    """The versions of gencore a package made now works with: from this one up to the next that may break it."""
    major, minor = (int(part) for part in __version__.split(".")[:2])
    after = f"0.{minor + 1}" if major == 0 else f"{major + 1}"
    return f"gencore>={major}.{minor},<{after}"


def _templates(folder: Traversable, prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _templates(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".tmpl"):
            found.append((prefix + entry.name.removesuffix(".tmpl"), entry.read_text(encoding="utf-8")))
    return found
