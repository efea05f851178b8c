"""The checks every gencore modality passes."""

from __future__ import annotations

import pytest

from gencore.testing.conformance.run import CHECKS, run_checks


@pytest.mark.parametrize("check", CHECKS)
def test_robot(check: str) -> None:
    (result,) = run_checks("robot", only=[check]).results
    assert result.status != "failed", f"{result.where}: {result.cause}"
