"""Rows that an interrupted run has finished, which the next run on the same machine and weights takes over."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Kept:
    """Finished rows, one JSON line each, in a file that `done` removes.

    Args:
        path: of that file; None keeps nothing.
        mark: what must be equal for rows to be taken over, as JSON; else the file begins anew.
    """

    def __init__(self, path: Path | None, mark: Mapping[str, Any]) -> None:
        self.path, self.rows = path, dict[str, Row]()
        if path is None:
            return
        lines = path.read_text().splitlines() if path.exists() else []
        if lines[:1] == [json.dumps(mark)]:
            self.rows = dict(found for line in lines[1:] if (found := _read(line)) is not None)
        path.parent.mkdir(exist_ok=True)
        # Written anew, so that a line cut short by the interruption does not spoil the next one.
        path.write_text("".join(f"{json.dumps(line)}\n" for line in [mark, *self.rows.items()]))

    def row(self, key: str, make: Callable[[], Row]) -> Row:
        """The row kept under `key`, or the one that `make` gives."""
        if key not in self.rows:
            self.rows[key] = make()
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(f"{json.dumps([key, self.rows[key]])}\n")
        return self.rows[key]

    def done(self) -> None:
        """All rows are in hands that keep them."""
        if self.path is not None:
            self.path.unlink()


def _read(line: str) -> tuple[str, Row] | None:
    try:
        key, row = json.loads(line)
    except ValueError:
        return None
    return key, row
