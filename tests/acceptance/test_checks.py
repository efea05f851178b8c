"""Every acceptance check as a test; what is not built yet is skipped, never passed."""

from __future__ import annotations

from collections.abc import Iterator

import checks
import harness
import pytest

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def world() -> Iterator[harness.World]:
    yield from harness.world()


@pytest.mark.parametrize("id", checks.ids())
def test_check(id: str, world: harness.World) -> None:
    try:
        print(harness.CHECKS[id].title, harness.CHECKS[id].function(world))
    except harness.NotBuilt as missing:
        pytest.skip(f"NOT BUILT: {missing}")


def test_all_twenty_five_are_there() -> None:
    assert checks.ids() == [f"U{number:02}" for number in range(1, 26)]
