"""Reproducible initialisation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Build networks from `seed` and leave the caller's global random state as it was.

    PyTorch's initialisers draw from the global generator; this is the only place that touches it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
