"""Running the checks and counting what came out."""

from __future__ import annotations

import inspect
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from gencore.errors import GencoreError, unknown
from gencore.testing.conformance import codec, conditions, determinism, discovery, files, refusals, samplers, training
from gencore.testing.conformance.subject import Subject
from gencore.testing.failures import CheckFailed, Skipped

Check = Callable[[Subject], None]
Status = Literal["passed", "failed", "expected", "skipped"]


def name_of(check: Check) -> str:
    """The id of a check: ``same-seed-same-bytes``."""
    return check.__name__.replace("_", "-")


def reason_of(check: Check) -> str:
    """Why a check exists, as one line."""
    return " ".join((inspect.getdoc(check) or "").split())


CHECKS: dict[str, Check] = {
    name_of(check): check
    for topic in (discovery, codec, determinism, conditions, training, refusals, files, samplers)
    for check in topic.CHECKS
}
"""Every check by id, in the order they run."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one check found.

    Args:
        cause: one line: what was found wrong, why it was skipped, or the reason given for an expected failure.
        where: ``file:line`` that failed.
    """

    id: str
    status: Status
    cause: str = ""
    where: str = ""
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Report:
    """The results of one modality."""

    name: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        return not any(result.status == "failed" for result in self.results)

    def count(self, status: Status) -> int:
        return sum(result.status == status for result in self.results)

    def data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"name": self.name, "ok": self.ok, "results": [asdict(result) for result in self.results]}


def selected(only: Sequence[str]) -> dict[str, Check]:
    """The checks with these ids, all for none.

    Raises:
        InputError: an id that does not exist.
    """
    for word in only:
        if word not in CHECKS:
            raise unknown("check", word, CHECKS)
    return {name: check for name, check in CHECKS.items() if not only or name in only}


def run_check(check: Check, subject: Subject) -> Result:
    """One result; an expected failure that passes is a failure too."""
    name, started = name_of(check), perf_counter()
    reason = subject.manifest.expected_failures.get(name, "")
    status, cause, where = "passed", "", ""
    try:
        check(subject)
    except Skipped as skip:
        return Result(name, "skipped", str(skip), seconds=perf_counter() - started)
    except CheckFailed as fault:
        status, cause, where = "failed", " ".join(str(fault).split()), _where(fault)
    except Exception as fault:
        first = (str(fault).strip() or "-").splitlines()[0]
        status, cause, where = "failed", f"{type(fault).__name__}: {first}", _where(fault)
    if reason:
        passed = status == "passed"
        status = "failed" if passed else "expected"
        cause = (
            f"declared an expected failure ({reason}), but it passes: take it out of the manifest" if passed else reason
        )
    return Result(name, status, cause, where, perf_counter() - started)  # type: ignore[arg-type]


def iterate(subject: Subject, only: Sequence[str] = ()) -> Iterator[Result]:
    """Results as they come, and one for every expected failure that names no check."""
    for check in selected(only).values():
        yield run_check(check, subject)
    if not only:
        for name in subject.manifest.expected_failures:
            if name not in CHECKS:
                hint = str(unknown("expected_failures", name, CHECKS)).partition(";")[0]
                yield Result(name, "failed", f"{hint}: no such check")


def run_checks(name: str, *, model: str | Path | None = None, only: Sequence[str] = (),
               on_result: Callable[[Result], None] | None = None) -> Report:  # fmt: skip
    """Check an installed modality.

    Args:
        name: of the modality.
        model: a folder or hub id; None takes the packaged default, or else the plug-in's preset "tiny".
        only: ids of checks; none means all.
        on_result: called with each result as it comes.

    Raises:
        InputError: no such modality, model or check.
        GencoreError: the model cannot be loaded at all.
    """
    selected(only)
    results = []
    with tempfile.TemporaryDirectory(prefix="gencore-check-") as folder:
        subject = Subject(name, Path(folder), model)
        _ = subject.pipe
        for result in iterate(subject, only):
            results.append(result)
            if on_result is not None:
                on_result(result)
    return Report(name, tuple(results))


def _where(fault: BaseException) -> str:
    """The line that raised: of the fault behind a failed check if there is one, else of the check that asked."""
    cause = fault.__cause__
    if isinstance(fault, CheckFailed) and cause is not None and not isinstance(cause, CheckFailed | GencoreError):
        fault = cause
    frames = [f for f in traceback.extract_tb(fault.__traceback__) if Path(f.filename).name != "failures.py"]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
