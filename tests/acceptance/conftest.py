"""Acceptance checks take minutes and install things: they run when they are asked for, ``pytest -m acceptance``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder alone unless the marker is asked for."""
    return None if "acceptance" in config.getoption("markexpr") else True


if str(HERE) not in sys.path:
    # The checks are a script; its modules import each other by plain names.
    sys.path.insert(0, str(HERE))
