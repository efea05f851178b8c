"""A live view of a text on a terminal: tokens open step by step, those of the last step in bold.

On anything that is no terminal it prints one line a step, without control sequences.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from gencore.generated import Progress
    from gencore.pipeline import Pipeline

CLOSED = "\u2591"
_BOLD, _PLAIN, _UP, _CLEAR = "\x1b[1m", "\x1b[0m", "\x1b[{}F", "\x1b[0J"


class View:
    """Shows the first sample of a run; called with every step's `Progress`.

    Args:
        pipe: whose tokens are shown.
        stream: where to.
    """

    def __init__(self, pipe: Pipeline, stream: TextIO) -> None:
        self.tokenizer: Any = pipe.tokenizer
        self.stream, self.before, self.drawn = stream, [], 0

    def __call__(self, progress: Progress) -> None:
        ids = progress.step.x[0].tolist()
        head = f"step {progress.index}/{progress.total or '?'}"
        if not self.stream.isatty():
            print(head, _printable(self.tokenizer.text(ids, CLOSED)), file=self.stream, flush=True)
            return
        columns = max(20, shutil.get_terminal_size().columns)
        lines = [head, *self._lines(ids, columns)]
        back = _UP.format(self.drawn) if self.drawn else ""
        print(back + _CLEAR + "\n".join(lines), file=self.stream, flush=True)
        self.before, self.drawn = ids, len(lines)

    def close(self) -> None:
        """Take the view off the screen, for the closing line."""
        if self.drawn:
            print(_UP.format(self.drawn) + _CLEAR, end="", file=self.stream, flush=True)
            self.drawn = 0

    def _lines(self, ids: list[int], columns: int) -> list[str]:
        """The text in rows of `columns` characters, tokens that just opened in bold."""
        fresh = [i < len(self.before) and self.before[i] != token for i, token in enumerate(ids)]
        rows, row, width, start = [], "", 0, 0
        while start < len(ids):
            stop = start + 1
            while stop < len(ids) and fresh[stop] == fresh[start]:
                stop += 1
            for char in _printable(self.tokenizer.text(ids[start:stop], CLOSED)):
                if width == columns:
                    rows, row, width = [*rows, row], "", 0
                row += f"{_BOLD}{char}{_PLAIN}" if fresh[start] else char
                width += 1
            start = stop
        return [*rows, row]


def _printable(text: str) -> str:
    """One column a character: white space as a space, what cannot be shown as a dot."""
    return "".join(" " if c.isspace() else c if c.isprintable() else "." for c in text)
