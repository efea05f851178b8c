"""Command lines inside a test: typed as a user types them, without a process of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gencore.cli import main


class Done(NamedTuple):
    """What a command left behind: its exit code and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


def runner(capsys: Any) -> Run:
    """``run("list", "--json")`` and the like, with pytest's `capsys`; words need not be text."""

    def run(*words: object) -> Done:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Done(code, *capsys.readouterr())

    return run


def refused(done: Done) -> str:
    """The one error line of a command that left with 2 and printed nothing else."""
    lines = done.err.splitlines()
    assert done.code == 2 and done.out == "" and len(lines) == 1, done
    assert lines[0].startswith("gencore: error: "), done
    return lines[0].removeprefix("gencore: error: ")
