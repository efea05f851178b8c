"""Options that both verbs have."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gencore.cli.parser import Parser
from gencore.errors import InputError
from gencore.settings import parse

if TYPE_CHECKING:
    from gencore_robot.wrappers.mapping import EnvMapping


def add_environment(parser: Parser, seed: int) -> None:
    """Declare which environment, how its words become the policy's, and which episodes, from `seed` on by default."""
    parser.add_argument("modality", choices=("robot",), help="robot")
    parser.add_argument("--env", required=True, help="gymnasium id, or package:id to import what registers it")
    parser.add_argument(
        "--env-args", metavar="KEY=VALUE,...", default="", help="arguments the environment is made with"
    )
    parser.add_argument("--mapping", type=Path, help="mapping file (default: the packaged one of the environment)")
    parser.add_argument("--episodes", type=int, default=50, help="how many (default: 50)")
    parser.add_argument("--seed", type=int, default=seed,
                        help="of the first episode; the next has SEED + 1 (default: %(default)s)")  # fmt: skip


def environment(args: Namespace) -> tuple[EnvMapping, dict[str, Any]]:
    """The mapping and the arguments that were asked for.

    Raises:
        InputError: none for this environment, or one that cannot be read.
    """
    from gencore_robot.environments import registered
    from gencore_robot.wrappers.library import for_environment, load

    registered(args.env)
    if args.seed < 0:
        raise InputError("--seed", args.seed, "0 or more")
    arguments = parse(f"env:{args.env_args}", "--env-args")
    del arguments["type"]
    return (load(args.mapping) if args.mapping else for_environment(args.env)), arguments
