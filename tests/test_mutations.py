"""Every check of the conformance suite catches the fault it is meant for: a toy modality, broken in one way each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gencore import plugins
from gencore.testing.conformance.run import CHECKS, run_checks

sys.path.append(str(Path(__file__).with_name("toy")))
from toy_faults import MUTATIONS, Bench


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)


@pytest.mark.parametrize("fault", MUTATIONS)
def test_a_fault_is_caught_by_the_check_meant_for_it(bench: Bench, fault: str) -> None:
    check, says, mutation = MUTATIONS[fault]
    mutation(bench)
    with plugins.registered(bench.manifest):
        (result,) = run_checks("toy", only=[check]).results
    assert result.status == "failed", f"{check} does not notice: {fault}"
    assert says in result.cause
    assert len(result.cause.splitlines()) == 1 and ":" in result.where


UNPROVEN: dict[str, str] = {}
"""``{check: why no mutation is made for it}``."""


def test_every_check_is_proven_by_a_fault() -> None:
    table = {check: [f for f, (caught_by, *_) in MUTATIONS.items() if caught_by == check] for check in CHECKS}
    for check, faults in table.items():
        print(f"{check:<46} {'; '.join(faults) or UNPROVEN.get(check, '-')}")
    assert {check for check, faults in table.items() if not faults} == UNPROVEN.keys()
    assert {check for check, *_ in MUTATIONS.values()} <= CHECKS.keys()
    assert len(MUTATIONS) >= 14
