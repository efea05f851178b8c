"""Progress on stderr: a bar on a terminal, otherwise one line per ten per cent, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, TextIO

Report = Callable[..., None]
"""``report(index, total, note="")`` after each of `total` pieces of work, the first being 1; total 0 is unknown."""


@contextmanager
def progress(unit: str, *, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Report]:
    """A `Report` for the length of a ``with`` block.

    Args:
        unit: what is counted, in the plural.
        quiet: report nothing.
        stream: default stderr.
    """
    out: TextIO = sys.stderr if stream is None else stream
    if quiet:
        yield lambda index, total, note="": None
    elif out.isatty():
        with _bar(unit, out) as report:
            yield report
    else:
        yield _lines(unit, out)


@contextmanager
def _bar(unit: str, stream: TextIO) -> Iterator[Report]:
    from tqdm import tqdm

    form = "{bar:20} {n_fmt}/{total_fmt} " + unit + "  {rate_fmt}  eta {remaining}{postfix}"
    bar = tqdm(file=stream, bar_format=form, unit=" it", leave=False, dynamic_ncols=True)

    def report(index: int, total: int, note: str = "") -> None:
        if bar.total is None:
            bar.bar_format = form if total else "{n_fmt} " + unit + "  {rate_fmt}{postfix}"
            bar.initial = bar.n = index - 1
        bar.total = total
        if note:
            bar.set_postfix_str(note, refresh=False)
        bar.update(index - bar.n)

    try:
        yield report
    finally:
        bar.close()


def _lines(unit: str, stream: TextIO) -> Report:
    started, before, tenth = perf_counter(), 0, 0

    def report(index: int, total: int, note: str = "") -> None:
        nonlocal before, tenth
        if before == 0:
            before, tenth = index, (index - 1) * 10 // total if total else 0
        if not total or index * 10 // total <= tenth:
            return
        tenth = index * 10 // total
        rate = (index - before + 1) / max(perf_counter() - started, 1e-9)
        eta = clock((total - index) / rate)
        words = (f"{100 * index // total:>3} %", f"{index}/{total} {unit}", f"{rate:.1f} it/s", f"eta {eta}")
        print("  ".join((*words, note)).rstrip(), file=stream, flush=True)

    return report


def of_steps(report: Report, chunks: int = 1) -> Callable[[Any], None]:
    """A callback for `Pipeline.generate` that reports the steps of `chunks` equal runs as one."""
    done = 0

    def step(progress: Any) -> None:
        nonlocal done
        done += 1
        report(done, progress.total * chunks)

    return step


def clock(seconds: float) -> str:
    """``m:ss``, or ``h:mm:ss`` from an hour on.

    >>> clock(75), clock(3671.6)
    ('1:15', '1:01:12')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
