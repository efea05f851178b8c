"""``gencore doctor``: import everything that is installed and say what is wrong, slow or missing.

Each plug-in is imported in a process of its own with a time limit, so none can hang, crash or print into the report.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from argparse import Namespace
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from gencore import __version__
from gencore.cli.list_ import api_text, version_text
from gencore.cli.parser import Parser
from gencore.cli.table import line, widths
from gencore.errors import InputError
from gencore.installed import CORE, Plugin
from gencore.plugins import discover

SLOW_SECONDS = 5.0
"""Beyond torch; a plug-in above it is reported as slow, which is no fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What importing one plug-in showed.

    Args:
        status: ``"ok"``, ``"slow"`` or ``"broken"``.
        cause: one line where the status is not ok.
        faults: every import that failed, one line each.
        seconds: import time beyond torch's; None if it never finished.
        missing: ``{absent optional package: what installs it}``.
        machine: torch's versions and devices; the core's process alone reports them.
    """

    status: str
    cause: str = ""
    faults: list[str] = field(default_factory=list)
    seconds: float | None = None
    missing: dict[str, str] = field(default_factory=dict)
    machine: dict[str, object] = field(default_factory=dict)


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore doctor``."""
    parser.description = "Import everything every plug-in provides, each in its own process, and report."
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds a plug-in may take (default: 60)")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: Namespace) -> int:
    """Print the report; 1 if a plug-in is broken.

    Raises:
        InputError: the time limit is not positive.
    """
    if not args.timeout > 0:
        raise InputError("--timeout", args.timeout, "seconds above 0")
    with redirect_stdout(sys.stderr):
        plugins = discover()
    head = ("name", "distribution", "version", "api", "seconds", "status")
    named = [(p.name, p.distribution, version_text(p), api_text(p)) for p in plugins]
    columns = widths([head, *((*row, "", "") for row in named)])
    columns[4] = len(head[4])
    if not args.json:
        print(line(head, columns))
    found: list[Diagnosis] = []
    for plugin, row in zip(plugins, named, strict=True):
        diagnosis = examine(plugin, args.timeout)
        found.append(diagnosis)
        if not args.json:
            seconds = "-" if diagnosis.seconds is None else f"{diagnosis.seconds:.1f}"
            print(line((*row, seconds, _state(diagnosis)), columns), flush=True)
    machine = {
        "gencore": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **found[0].machine,
        "cores": os.cpu_count(),
        "free_disk_gb": round(shutil.disk_usage(".").free / 1e9, 1),
    }
    if args.json:
        rows = [_as_data(plugin, diagnosis) for plugin, diagnosis in zip(plugins, found, strict=True)]
        print(json.dumps({**machine, "plugins": rows}, indent=2))
    else:
        print()
        for key, value in machine.items():
            print(f"{key:<12}  {', '.join(value) if isinstance(value, list) else value}")
    return int(any(diagnosis.status == "broken" for diagnosis in found))


def examine(plugin: Plugin, timeout: float) -> Diagnosis:
    """Import all that `plugin` provides in a new process that is ended after `timeout` seconds."""
    if plugin.status == "broken":
        return Diagnosis(status="broken", cause=plugin.cause)
    label = f"{plugin.distribution} {plugin.version}"
    selection = "" if plugin.name == CORE else plugin.name
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    with TemporaryDirectory(prefix="gencore-doctor-") as folder:
        result = Path(folder, "result.json")
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "gencore.cli.probe", plugin.name, str(result)],
                env={**os.environ, "GENCORE_PLUGINS": selection, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            return Diagnosis(status="broken", cause=f"{label}: still importing after {timeout:g} s")
        if not result.exists():
            ended = f"killed by signal {-done.returncode}" if done.returncode < 0 else f"exit {done.returncode}"
            *_, last = done.stderr.decode(errors="replace").strip().splitlines() or [ended]
            return Diagnosis(status="broken", cause=f"{label}: import ended the process ({last})")
        report = json.loads(result.read_text(encoding="utf-8"))
    status, cause, faults = "ok", "", report["faults"]
    if faults:
        status, cause = "broken", faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")
    elif report["seconds"] > SLOW_SECONDS:
        status, cause = "slow", f"{label}: imports take {report['seconds']:.1f} s beyond torch's own"
    return Diagnosis(
        status=status,
        cause=cause,
        faults=faults,
        seconds=report["seconds"],
        missing=report["missing"],
        machine=report.get("machine", {}),
    )


def _state(diagnosis: Diagnosis) -> str:
    text = f"{diagnosis.status}: {diagnosis.cause}" if diagnosis.cause else diagnosis.status
    if diagnosis.missing:
        text += "".join(f'; without {name} (pip install "{extra}")' for name, extra in diagnosis.missing.items())
    return text


def _as_data(plugin: Plugin, diagnosis: Diagnosis) -> dict[str, object]:
    data = asdict(diagnosis)
    del data["machine"]
    api = list(plugin.api) if plugin.api else None
    return {"name": plugin.name, "distribution": plugin.distribution, "version": plugin.version, "api": api, **data}
