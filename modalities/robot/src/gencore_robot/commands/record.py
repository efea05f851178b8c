"""``gencore record robot``: demonstrations of a scripted expert."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from gencore.cli.parser import Parser
from gencore.cli.progress import progress
from gencore_robot.commands.asked import add_environment, environment


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore record``."""
    parser.description = "Record demonstrations of a scripted expert, one HDF5 file an episode; run again to go on."
    # Training draws use seeds from a million on, so that roll-outs over small seeds see none of these episodes.
    add_environment(parser, seed=1_000_000)
    add = parser.add_argument
    add("--expert", required=True, help="name, name:key=value, or package.module:function")
    add("-o", "--output", type=Path, required=True, help="folder of the episodes")
    add("--instruction", default="", help="kept with every episode (default: what the mapping says)")
    add("--noise", type=float, default=0.0, help="what is executed strays by this much from what is recorded, in the "
        "unit of the actions (default: 0)")  # fmt: skip
    add("--keep-failures", action="store_true", help="keep every episode (default: those that succeed)")
    add("--quiet", action="store_true", help="nothing on stderr")
    add("--json", action="store_true", help="one JSON object on stdout")


def run(args: Namespace) -> int:
    """Record and print how many episodes were kept.

    Raises:
        GencoreError: an environment, expert or folder that cannot be used.
    """
    from gencore_robot.recording import record

    mapping, arguments = environment(args)
    with progress("episodes", quiet=args.quiet) as report:
        done = record(args.env, args.expert, args.output, episodes=args.episodes, seed=args.seed, mapping=mapping,
                      arguments=arguments, instruction=args.instruction, noise=args.noise,
                      keep_failures=args.keep_failures, progress=report)  # fmt: skip
    if args.json:
        print(json.dumps(done.as_data()))
    else:
        print(f"{done.folder}  {done.kept} episodes  {done.steps} steps  {done.tried} tried, {done.failed} failed")
    return 0
