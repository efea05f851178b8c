"""``pytest --gencore-modality NAME`` runs every conformance check of an installed modality as a test.

Every test session imports this module, so it imports nothing but pytest until the option is given.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gencore.testing.conformance.run import Result
    from gencore.testing.conformance.subject import Subject


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gencore", "conformance of installed gencore modalities")
    group.addoption("--gencore-modality", action="append", default=[], metavar="NAME", help="check this modality")
    group.addoption("--gencore-model", metavar="MODEL", help="its model: a folder or hub id")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    names: list[str] = config.getoption("--gencore-modality") or []
    for name in names:
        items.extend(_checks(session, name))


def _checks(session: pytest.Session, name: str) -> Iterator[pytest.Item]:
    from gencore.errors import GencoreError
    from gencore.testing.conformance.run import CHECKS
    from gencore.testing.conformance.subject import Subject

    config = session.config
    scratch = tempfile.TemporaryDirectory(prefix="gencore-check-")
    config.add_cleanup(scratch.cleanup)
    try:
        subject = Subject(name, Path(scratch.name), config.getoption("--gencore-model"))
        _ = subject.pipe
    except GencoreError as fault:
        raise pytest.UsageError(f"--gencore-modality {name}: {fault}") from fault
    for check in CHECKS:
        yield CheckItem.from_parent(
            session, name=f"{name}[{check}]", nodeid=f"gencore::{name}::{check}", subject=subject, check=check
        )


class CheckItem(pytest.Item):
    """One check of one modality."""

    def __init__(self, *, subject: Subject, check: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.subject, self.check = subject, check

    def runtest(self) -> None:
        from gencore.testing.conformance.run import CHECKS, run_check

        result = run_check(CHECKS[self.check], self.subject)
        match result.status:
            case "failed":
                raise _Found(result)
            case "expected":
                pytest.xfail(result.cause)
            case "skipped":
                pytest.skip(result.cause)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if not isinstance(excinfo.value, _Found):
            return super().repr_failure(excinfo)
        result = excinfo.value.result
        return f"{result.cause}\n{result.where}\nagain: gencore check {self.subject.name} --only {result.id}"

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return Path(__file__), None, self.name


class _Found(Exception):
    def __init__(self, result: Result) -> None:
        super().__init__(result.cause)
        self.result = result
