"""The checks every gencore modality passes; add your own tests beside them."""

from __future__ import annotations

import pytest

from gencore.testing.conformance.run import CHECKS, run_checks


@pytest.mark.parametrize("check", CHECKS)
def test_gencore_ecg(check: str) -> None:
    (result,) = run_checks("ecg", only=[check]).results
    assert result.status != "failed", f"{result.where}: {result.cause}"
