"""``gencore check NAME``: hold an installed modality against the conformance suite."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import TYPE_CHECKING

from gencore.cli.parser import Parser
from gencore.cli.table import line

if TYPE_CHECKING:
    from gencore.testing.conformance.run import Report, Result

_WORDS = {"passed": "pass", "failed": "FAIL", "expected": "expected", "skipped": "skip"}


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore check``."""
    parser.description = "Check what must hold for every modality, on this one; exit 1 if something does not."
    parser.add_argument("modality", nargs="?", help="name of an installed modality")
    parser.add_argument(
        "--model", help="folder or hub id (default: the packaged one, else the preset 'tiny' untrained)"
    )
    parser.add_argument("--only", action="append", default=[], metavar="ID", help="only this check; may be repeated")
    parser.add_argument("--list", action="store_true", help="every check and why it exists")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: Namespace) -> int:
    """Print a line a check; 0 if all hold, 1 if one does not.

    Raises:
        InputError: an unknown modality, model or check.
    """
    from gencore.errors import InputError
    from gencore.testing.conformance.run import reason_of, run_checks, selected

    if args.list:
        checks = {name: reason_of(check) for name, check in selected(args.only).items()}
        print(json.dumps(checks, indent=2) if args.json else "\n\n".join(f"{n}\n  {why}" for n, why in checks.items()))
        return 0
    if args.modality is None:
        raise InputError("modality", "nothing", "the name of an installed one", "gencore list")
    report = run_checks(args.modality, model=args.model, only=args.only, on_result=None if args.json else _show)
    if args.json:
        print(json.dumps(report.data(), indent=2))
    else:
        print(f"\n{summary(report)}")
        for result in report.results:
            if result.status == "failed":
                model = f" --model {args.model}" if args.model else ""
                print(f"again: gencore check {args.modality}{model} --only {result.id}")
    return int(not report.ok)


def summary(report: Report) -> str:
    """``38 passed, 1 expected failure (reason), 0 failed, 2 skipped``."""
    reasons = ", ".join(result.cause for result in report.results if result.status == "expected")
    expected = report.count("expected")
    parts = [
        f"{report.count('passed')} passed",
        *([f"{expected} expected failure{'s' * (expected > 1)} ({reasons})"] if expected else []),
        f"{report.count('failed')} failed",
        f"{report.count('skipped')} skipped",
    ]
    return ", ".join(parts)


def _show(result: Result) -> None:
    print(line((_WORDS[result.status], result.id, f"{result.seconds:.1f} s"), (8, 46, 0)), flush=True)
    if result.status != "passed":
        print(f"          {result.cause}")
    if result.status == "failed" and result.where:
        print(f"          {result.where}")
