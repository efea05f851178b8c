"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("gencore", "torch", "diffusers", "numpy")


def machine() -> dict[str, Any]:
    """CPU model, threads, versions, and how busy the machine was at the start."""
    return {
        "cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2), "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES}, "capability": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
