"""What a plug-in provides under ``importer``: a function from somebody else's checkpoint to a pipeline.

    @recognised_by(KEYS)
    def import_dit(path, *, heads: int | None = None, ...) -> Pipeline

Its keyword-only parameters are the options of ``gencore convert NAME``, their help is the docstring's ``Args``, and
what a user should know of the file goes into ``pipeline.card["imported"]["notes"]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from gencore import plugins
from gencore.errors import GencoreError
from gencore.weights.keymap import Keymap

F = TypeVar("F", bound=Callable[..., Any])


def recognised_by(keys: Keymap) -> Callable[[F], F]:
    """Attach the names an importer's files have, so that a file given to the wrong importer can be told."""

    def attach(function: F) -> F:
        function.keys = keys  # type: ignore[attr-defined]
        return function

    return attach


def looks_like(names: Iterable[str], to: str) -> str:
    """The hint ``this looks like ...`` for importer `to`: another one that knows more of `names`, or ``""``.

    It must know at least half of them.
    """
    names = list(names)
    known: dict[str, int] = {to: 0}
    for name in plugins.provided("importer"):
        try:
            keys = getattr(plugins.resolve("importer", name), "keys", None)
        except GencoreError:
            continue
        if keys is not None:
            known[name] = len(names) - len(keys.unmatched(names))
    best = max(known, key=lambda name: known[name])
    if known[best] <= known[to] or 2 * known[best] < len(names):
        return ""
    return f"this looks like {best} (gencore convert {best})"


def imported(system: str, path: str | Path, notes: list[str], licence: str) -> dict[str, Any]:
    """The card of an imported model."""
    return {"licence": licence, "imported": {"system": system, "file": Path(path).name, "notes": notes}}
