"""What every acceptance check uses: an empty folder, the installed command line, and a way to judge what came out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

COMMAND = Path(sys.executable).with_name("gencore")
THREES = ("generate", "images", "--label", "3", "-n", "16", "--seed", "0", "--steps", "50", "--sampler", "dpmpp")
"""The one line that most checks vary."""


class NotBuilt(Exception):
    """The check needs a part that does not exist yet; it never counts as passed."""


@dataclass(frozen=True)
class Check:
    """One row of the table."""

    id: str
    title: str
    function: Callable[[World], str]


CHECKS: dict[str, Check] = {}


def check(id: str, title: str) -> Callable[[Callable[[World], str]], Callable[[World], str]]:
    """Register a check: a function of a `World` that asserts, and returns what it measured."""

    def add(function: Callable[[World], str]) -> Callable[[World], str]:
        CHECKS[id] = Check(id, title, function)
        return function

    return add


@dataclass(frozen=True)
class Run:
    """A finished command."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    def ok(self) -> Run:
        """This run, which must have succeeded."""
        assert self.code == 0, f"{' '.join(self.words)}: exit {self.code}\n{self.out[-1000:]}{self.err[-2000:]}"
        return self

    def refused(self, *named: str) -> Run:
        """This run, which must have ended with exit 2 and one line that names everything in `named`."""
        assert self.code == 2, f"{' '.join(self.words)}: exit {self.code}, not 2\n{self.out[-1000:]}{self.err[-2000:]}"
        lines = self.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("gencore: error: "), f"not one line of error: {self.err[-2000:]}"
        missing = [word for word in named if word not in lines[0]]
        assert not missing, f"{missing} not in: {lines[0]}"
        return self


@dataclass
class World:
    """Where checks happen.

    Args:
        folder: everything is written below it.
        command: the installed command line.
        python: the interpreter it is installed in.
        path: ``PYTHONPATH`` of what is run.
        idle: nothing else kept the machine busy when the checks began, so that times can be judged.
    """

    folder: Path
    command: tuple[str, ...] = (str(COMMAND),)
    python: str = sys.executable
    path: str = os.environ.get("PYTHONPATH", "")
    idle: bool = field(default_factory=lambda: os.getloadavg()[0] < 0.5)
    _made: dict[str, Any] = field(default_factory=dict)

    def fresh(self, name: str) -> Path:
        """A new, empty folder."""
        path = self.folder / name
        number = 1
        while path.exists():
            number += 1
            path = self.folder / f"{name}-{number}"
        path.mkdir(parents=True)
        return path

    def run(self, *words: str, cwd: Path, timeout: float = 300, env: dict[str, str] | None = None) -> Run:
        """Run any command to its end."""
        started = time.perf_counter()
        done = subprocess.run(words, cwd=cwd, env=environment(self.path) | (env or {}), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout)  # fmt: skip
        return Run(words, done.returncode, done.stdout, done.stderr, time.perf_counter() - started)

    def gencore(self, *words: str, cwd: Path, **how: Any) -> Run:
        """Run the command line."""
        return self.run(*self.command, *words, cwd=cwd, **how)

    def code(self, source: str, *words: str, cwd: Path, **how: Any) -> Run:
        """Run Python source in a new interpreter."""
        return self.run(self.python, "-c", source, *words, cwd=cwd, **how)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returned the first time; checks share what is costly to make and never changed."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def within(self, what: str, seconds: float, limit: float) -> str:
        """`seconds` against `limit` as text; on a machine that was idle, more than twice the limit is a failure."""
        assert not self.idle or seconds < 2 * limit, f"{what}: {seconds:.2f} s, the limit is {limit:g} s"
        judged = "" if seconds < limit else ", OVER" if self.idle else ", OVER on a busy machine"
        return f"{what} {seconds:.2f} s (limit {limit:g} s{judged})"

    def threes(self) -> tuple[Path, Run]:
        """``a.png`` of sixteen threes in a folder of its own, and the run that made it."""

        def make() -> tuple[Path, Run]:
            folder = self.fresh("threes")
            return folder / "a.png", self.gencore(*THREES, "-o", "a.png", cwd=folder).ok()

        return self.once("threes", make)

    def facts(self) -> dict[str, Any]:
        """The packaged default of images: ``size`` (H, W), ``channels``, ``classes`` and number of ``cells``."""

        def make() -> dict[str, Any]:
            told = self.gencore("info", "images", "--json", cwd=self.fresh("info")).ok()
            default = json.loads(told.out)["default"]
            assert isinstance(default, dict), f"no packaged default: {default}"
            height, width = default["tokenizer"]["size"]
            return {"size": (height, width), "channels": default["tokenizer"]["channels"], "cells": height * width,
                    "classes": default["conditioner"]["classes"]}  # fmt: skip

        return self.once("facts", make)


def environment(path: str = "") -> dict[str, str]:
    """This process's environment without what would change gencore's behaviour, and offline."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GENCORE_")}
    return {**kept, "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}


def world() -> Iterator[World]:
    """A `World` in a temporary folder that is removed afterwards."""
    with TemporaryDirectory(prefix="gencore-acceptance-") as folder:
        yield World(Path(folder))


def pixels(path: Path) -> np.ndarray:
    """A picture as integers."""
    with Image.open(path) as picture:
        return np.asarray(picture).astype(np.int16)


def cells(sheet: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    """The pictures of a sheet: equal cells of `size` with a gap that the sheet's own width tells."""
    (height, width), (h, w) = sheet.shape[:2], size
    columns = next(n for n in range(width // w, 0, -1) if n == 1 or (width - n * w) % (n - 1) == 0)
    gap = (width - columns * w) // (columns - 1) if columns > 1 else 0
    rows = (height + gap) // (h + gap)
    tops, lefts = (range(0, n * (side + gap), side + gap) for n, side in ((rows, h), (columns, w)))
    return [sheet[top : top + h, left : left + w] for top in tops for left in lefts]


def nothing_in(folder: Path, *but: str) -> None:
    """`folder` must hold just the files named in `but`, hidden ones included."""
    found = sorted(path.name for path in folder.iterdir())
    assert found == sorted(but), f"left behind: {found}, expected {sorted(but)}"
