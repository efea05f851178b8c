"""The public surface of the contract files as text: ``python tests/api/dump.py [--write]``.

One line a name: its module, and for what can be called its arguments as they are written.  Read from the source, so
that the text does not depend on the versions of Python or of any library.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SURFACE = Path(__file__).with_name("surface.txt")
CONTRACTS = [path for path in sorted((ROOT / "gencore").glob("*.py")) if path.stem not in ("__init__", "__main__")]
KEPT = ("property", "classmethod", "staticmethod", "abstractmethod")


def surface() -> list[str]:
    """Every name ``gencore`` offers, every public name of the contract files, and every part the core provides."""
    import gencore
    from gencore.builtin import manifest

    names = [f"gencore.{name}" for name in sorted(gencore.__all__)]
    parts = [f"core {kind} {name}" for kind, provided in manifest.provides.items() for name in provided]
    return [*names, *(line for path in CONTRACTS for line in _module(path)), *sorted(parts)]


def api_version() -> str:
    """`API_VERSION` as the source has it: ``1.0``."""
    from gencore.manifest import API_VERSION

    return ".".join(map(str, API_VERSION))


def text() -> str:
    """What `SURFACE` should hold."""
    return "\n".join([f"API {api_version()}", *surface(), ""])


def _module(path: Path) -> Iterator[str]:
    name = f"gencore.{path.stem}"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        yield from _entry(name, node)


def _entry(prefix: str, node: ast.stmt, inside: bool = False) -> Iterator[str]:
    """The lines of one statement of a module or class body; nothing for what is private or imported."""
    match node:
        case ast.FunctionDef(name=name) if not name.startswith("_") or (inside and name in ("__init__", "__call__")):
            kinds = [ast.unparse(decorator) for decorator in node.decorator_list]
            mark = "".join(f"@{kind} " for kind in kinds if kind in KEPT)
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            yield f"{prefix}.{name} {mark}({ast.unparse(node.args)}){returns}"
        case ast.ClassDef(name=name) if not name.startswith("_"):
            bases = ", ".join(ast.unparse(base) for base in node.bases)
            frozen = "".join(f"@{ast.unparse(decorator)} " for decorator in node.decorator_list)
            yield f"{prefix}.{name} {frozen}class({bases})"
            for part in node.body:
                yield from _entry(f"{prefix}.{name}", part, inside=True)
        case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
            value = f" = {ast.unparse(node.value)}" if node.value and inside else ""
            yield f"{prefix}.{name} : {ast.unparse(node.annotation)}{value}"
        case ast.Assign(targets=[ast.Name(id=name)]) if not name.startswith("_"):
            yield f"{prefix}.{name} ="


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        SURFACE.write_text(text(), encoding="utf-8")
        print(f"{SURFACE.relative_to(ROOT)}: {len(surface())} names of API {api_version()}")
    else:
        print(text(), end="")
