"""Compare what is installed with golden numbers: ``python -m gencore.testing.golden DIR [--system SLUG] [--json]``.

Every case ``DIR/.../SLUG/NAME/meta.json`` goes to the adapter that some plug-in provides under ``golden`` and SLUG:
``fn(case_dir, meta)`` returns `gencore.testing.cases.Got`, a dict of tensors, or None for a case of an unknown kind.
Exit code 1 on a failure, or on a case without adapter of a system named by ``--system``.
"""

from __future__ import annotations

import json
import math
import os
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor

from gencore import plugins
from gencore.cli.parser import Parser
from gencore.errors import GencoreError, InputError, unknown
from gencore.installed import summary_line
from gencore.testing.cases import META, Got, read_io, read_meta
from gencore.testing.tolerance import Distance, Tolerance, distance, tolerance_of

PASS, FAIL, NO_ADAPTER = "PASS", "FAIL", "NO ADAPTER"
Adapter = Callable[[Path, dict[str, Any]], "Got | Mapping[str, Tensor] | None"]


@dataclass(frozen=True)
class Outcome:
    """The result of one case.

    Args:
        case: ``SLUG/NAME``.
        status: `PASS`, `FAIL` or `NO_ADAPTER`.
        faults: what is wrong, one entry a tensor or fact.
        error, allowed: of the element nearest to its allowance.
        compared: {tensor: its error as a share of its allowance}.
        facts: numbers of ``meta.json`` that were compared.
        inputs, unused: tensors that were not compared, the latter with the reason.
        floors: tensors that only hold to the adapter's own, looser tolerance, with the reason.
    """

    case: str
    status: str
    faults: list[str] = field(default_factory=list)
    error: float = 0.0
    allowed: float = 0.0
    compared: dict[str, float] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    unused: dict[str, str] = field(default_factory=dict)
    floors: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.status == NO_ADAPTER:
            return f"{self.case}  {NO_ADAPTER}"
        line = f"{self.case}  max|err| {self.error:.1e}  tol {self.allowed:.2g}  {self.status}"
        if self.faults:
            more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
            return f"{line}  {self.faults[0]}{more}"
        return f"{line}  (at its floor: {', '.join(self.floors)})" if self.floors else line


def find_cases(folder: Path, systems: Sequence[str] = ()) -> list[Path]:
    """The case folders under `folder`, sorted; only those of `systems` if any are named.

    Raises:
        InputError: there are none, or none of a system that was named.
    """
    if not folder.is_dir():
        raise InputError("DIR", folder, "a folder of golden cases")
    cases = [meta.parent for meta in folder.resolve().rglob(META)]
    cases.sort(key=lambda case: (case.parent.name, case.name, case))
    found = {case.parent.name for case in cases}
    if not cases:
        raise InputError("DIR", f"{folder} without cases", f"a folder with SLUG/NAME/{META} inside")
    for system in systems:
        if system not in found:
            raise unknown("--system", system, found)
    return [case for case in cases if not systems or case.parent.name in systems]


def check_case(case: Path) -> Outcome:
    """Run one case through its adapter and compare."""
    slug = case.parent.name
    name = f"{slug}/{case.name}"
    if not any(slug in (offer, offer.rpartition("/")[2]) for offer in plugins.provided("golden")):
        return Outcome(name, NO_ADAPTER)
    try:
        meta, io = read_meta(case), read_io(case)
        adapter: Adapter = plugins.resolve("golden", slug)
        got = adapter(case, meta)
        if got is None:
            return Outcome(name, NO_ADAPTER)
        return _compare(name, meta, io, got if isinstance(got, Got) else Got(got))
    except Exception as fault:
        if os.environ.get("GENCORE_DEBUG") == "1":
            raise
        return Outcome(name, FAIL, [summary_line(fault)], float("inf"))


def _compare(case: str, meta: dict[str, Any], io: Mapping[str, Tensor], got: Got) -> Outcome:
    worst, compared, floors, faults = Distance(0.0, 0.0, True), {}, {}, []
    for name, tensor in got.tensors.items():
        if name not in io:
            faults.append(f"{name}: not in the case")
        elif tensor.shape != io[name].shape:
            faults.append(f"{name}: shape {tuple(tensor.shape)} for {tuple(io[name].shape)}")
        else:
            try:
                found = distance(tensor, io[name], tolerance_of(meta, name, io[name]))
            except InputError:
                if not any(fnmatchcase(name, pattern) for pattern in got.floors):
                    raise
                found = Distance(math.inf, 0.0, False)
            for pattern, (floor, reason) in got.floors.items():
                if not found.fits and fnmatchcase(name, pattern):
                    found = distance(tensor, io[name], Tolerance(rel_to_max=floor))
                    floors[name] = f"{floor:.2g} of its max: {reason}"
            compared[name] = found.share
            if not found.fits:
                faults.append(f"{name}: off by {found.error:.2g}, {found.allowed:.2g} allowed")
            if (not found.fits, found.share) >= (not worst.fits, worst.share):
                worst = found
    rest = [name for name in io if name not in got.tensors]
    inputs = [name for name in rest if any(fnmatchcase(name, pattern) for pattern in got.inputs)]
    unused = {name: reason for name in rest for pattern, reason in got.unused.items() if fnmatchcase(name, pattern)}
    faults += [f"{name}: not compared" for name in rest if name not in inputs and name not in unused]
    for path, value in got.facts.items():
        wanted: Any = meta
        for key in path:
            wanted = wanted[key]
        if value != wanted:
            faults.append(f"{'/'.join(path)}: {value!r} for {wanted!r}")
    facts = ["/".join(path) for path in got.facts]
    if not compared and not facts and not faults:
        faults.append("nothing compared")
    status = FAIL if faults else PASS
    return Outcome(case, status, faults, worst.error, worst.allowed, compared, facts, inputs, unused, floors)


def report(outcomes: Sequence[Outcome]) -> str:
    """The closing line."""
    n = Counter(outcome.status for outcome in outcomes)
    return f"golden: {n[PASS]} passed, {n[FAIL]} failed, {n[NO_ADAPTER]} without adapter"


def _details(outcome: Outcome) -> Iterator[str]:
    yield from (f"  {share:9.2e} of the tolerance  {name}" for name, share in outcome.compared.items())
    yield from (f"  equal  {fact}" for fact in outcome.facts)
    yield from (f"  input  {name}" for name in outcome.inputs)
    yield from (f"  unused  {name}: {reason}" for name, reason in outcome.unused.items())
    yield from (f"  floor  {name}: {reason}" for name, reason in outcome.floors.items())
    yield from (f"  wrong  {fault}" for fault in outcome.faults)


def _finite(value: Any) -> Any:
    """`value` with None for the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def add_arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.description = "Compare what is installed with golden numbers."
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder with SLUG/NAME/meta.json inside")
    parser.add_argument("--system", metavar="SLUG", action="append", default=[], help="only this system; repeatable")
    parser.add_argument("--verbose", action="store_true", help="also every tensor: compared, input, or unused and why")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: Namespace) -> int:
    """Print one line a case and the closing line; 1 on a failure or a missing adapter that was asked for."""
    outcomes = []
    for case in find_cases(args.folder, args.system):
        outcomes.append(check_case(case))
        if not args.json:
            print(outcomes[-1], flush=True)
            if args.verbose:
                print("\n".join(_details(outcomes[-1])), flush=True)
    if args.json:
        n = Counter(outcome.status for outcome in outcomes)
        totals = {"passed": n[PASS], "failed": n[FAIL], "without_adapter": n[NO_ADAPTER]}
        print(json.dumps({"cases": [_finite(asdict(outcome)) for outcome in outcomes], **totals}, indent=1))
    else:
        print(report(outcomes))
    bad = (FAIL, NO_ADAPTER) if args.system else (FAIL,)
    return int(any(outcome.status in bad for outcome in outcomes))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    parser = Parser("python -m gencore.testing.golden", sys.argv[1:] if argv is None else argv)
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except GencoreError as fault:
        print(f"gencore: error: {' '.join(str(fault).splitlines())}", file=sys.stderr)
        return fault.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
