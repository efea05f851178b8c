"""One plug-in imported in a process of its own: ``python -m gencore.cli.probe NAME RESULT``.

Run by ``gencore doctor``, with everything a plug-in might do at import (print, hang, crash) kept out of the caller.
The result is a JSON file, since stdout belongs to whatever is being imported.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

from gencore.errors import GencoreError, MissingDependency
from gencore.plugins import find, resolve


def probe(name: str) -> dict[str, object]:
    """Import torch, then all that plug-in `name` provides.

    Returns:
        ``seconds`` beyond torch, ``torch_seconds``, ``faults`` (one line each) and ``missing`` (optional packages that
        are absent, with what installs them).
    """
    start = perf_counter()
    import torch  # noqa: F401

    torch_seconds = perf_counter() - start
    faults: list[str] = []
    missing: dict[str, str] = {}
    start = perf_counter()
    plugin = find(name)
    for kind, names in plugin.manifest.provides.items() if plugin.manifest else ():
        for word in names:
            try:
                resolve(kind, f"{name}/{word}")
            except MissingDependency as error:
                missing[error.package] = error.install
            except GencoreError as error:
                faults.append(str(error))
    return {
        "seconds": round(perf_counter() - start, 3),
        "torch_seconds": round(torch_seconds, 3),
        "faults": faults,
        "missing": missing,
    }


def machine() -> dict[str, object]:
    """Torch's side of what a bug report needs."""
    import numpy
    import torch

    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "devices": devices,
        "threads": torch.get_num_threads(),
    }


def _main(name: str, result: str) -> None:
    found = probe(name)
    if name == "core":
        found["machine"] = machine()
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
