"""The unified action space, an episode file, and the ensembling of chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from gencore.testing.cases import Got


def results(case: Path, meta: dict[str, Any], io: dict[str, Tensor]) -> Got | None:
    return None
