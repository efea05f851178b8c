"""The acceptance checks of the command line, run blind: ``python tests/acceptance/checks.py [U03 U07 ...]``.

Each check drives the installed command line in a new temporary folder and prints one line: its number, the verdict,
the seconds it took, and what was measured or what went wrong.  A check of something that does not exist yet prints
NOT BUILT and never counts as passed.  The exit status is 0 when no check failed, else 1.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence

import install_checks  # noqa: F401
import modality_checks  # noqa: F401
import picture_checks  # noqa: F401
import process_checks  # noqa: F401
import robot_checks  # noqa: F401
import training_checks  # noqa: F401
from harness import CHECKS, NotBuilt, World, check, world

LATER = {
    "U25": ("serving", "serving"),
}
"""Checks of plug-ins that are still to come: ``{id: (title, what is missing)}``."""


def _later(id: str, title: str, missing: str) -> None:
    @check(id, title)
    def not_built(world: World) -> str:
        raise NotBuilt(f"needs {missing}")


for _id, (_title, _missing) in LATER.items():
    _later(_id, _title, _missing)


def ids() -> list[str]:
    """Every check's number, in order."""
    return sorted(CHECKS)


def judge(id: str, where: World) -> tuple[str, str]:
    """Run one check: its verdict (``PASS``, ``FAIL`` or ``NOT BUILT``) and one line or a traceback of why."""
    try:
        return "PASS", CHECKS[id].function(where)
    except NotBuilt as missing:
        return "NOT BUILT", str(missing)
    except Exception:
        return "FAIL", traceback.format_exc(limit=-2)


def main(wanted: Sequence[str]) -> int:
    """Run the checks named in `wanted`, or all."""
    if unknown := set(wanted) - set(CHECKS):
        print(f"no check {', '.join(sorted(unknown))}; there are {', '.join(ids())}", file=sys.stderr)
        return 2
    counts: dict[str, int] = {}
    for where in world():
        for id in wanted or ids():
            started = time.perf_counter()
            verdict, told = judge(id, where)
            counts[verdict] = counts.get(verdict, 0) + 1
            seconds = time.perf_counter() - started
            print(f"{id} {verdict:<9} {seconds:6.1f} s  {CHECKS[id].title}: {told}", flush=True)
    passed, failed, missing = (counts.get(verdict, 0) for verdict in ("PASS", "FAIL", "NOT BUILT"))
    print(f"acceptance: {passed} passed, {failed} failed, {missing} not built")
    return int("FAIL" in counts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
