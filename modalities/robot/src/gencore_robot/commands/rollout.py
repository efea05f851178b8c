"""``gencore rollout robot``: the success of a policy in an environment."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gencore.cli.generate import add_model
from gencore.cli.parser import Parser
from gencore.cli.progress import progress
from gencore.cli.table import line, widths
from gencore.errors import InputError
from gencore.media.files import check_output
from gencore_robot.commands.asked import add_environment, environment

if TYPE_CHECKING:
    from gencore_robot.outcomes import Rollout

_SHOWN = 3
"""Entries named in the line about what was clamped."""


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore rollout``."""
    parser.description = "Play episodes over fresh seeds and count those that succeed."
    add_environment(parser, seed=0)
    add = parser.add_argument
    add("--num-envs", type=int, default=1, help="environments side by side (default: 1)")
    add("--processes", action="store_true", help="each environment in a process of its own")
    add("--execute", type=int, help="actions of a chunk before the next prediction (default: the model's)")
    add("--realtime", action="store_true",
        help="predict beside control, at the robot's rate: chunks continue what runs meanwhile")  # fmt: skip
    add("--max-steps", type=int, help="cut longer episodes (default: as the environment does)")
    add("--steps", type=int, help="of the sampler (default: the model's)")
    add("--sampler", help="name or name:key=value,key=value (default: the model's)")
    add("--instruction", help="said with every prediction")
    add("--video", type=Path, help="film the first episode (.mp4)")
    add("--plot", type=Path, help="draw the actions of the first episode (.png)")
    add_model(parser)
    add("--force", action="store_true", help="overwrite the video and the plot")
    add("--quiet", action="store_true", help="nothing on stderr")
    add("--json", action="store_true", help="one JSON object on stdout")


def run(args: Namespace) -> int:
    """Play, and print the figures.

    Raises:
        GencoreError: an environment, mapping or model that cannot be used.
    """
    mapping, arguments = environment(args)
    for option, suffix in (("video", ".mp4"), ("plot", ".png")):
        path = getattr(args, option)
        if path is not None and path.suffix != suffix:
            raise InputError(f"--{option}", path, f"a file name that ends in {suffix}")
        if path is not None:
            check_output(path, args.force)
    from gencore.loading import load
    from gencore_robot.film import film
    from gencore_robot.layout import Layout
    from gencore_robot.packaged import fitting
    from gencore_robot.plot import available, beside, write_plot
    from gencore_robot.rollout import rollout

    if args.plot:
        available()
    robot = mapping.embodiment
    names = [] if robot is None else Layout(robot.action, "action").names
    model = args.model or fitting(args.env)
    pipe = load("robot", model, device=args.device, dtype=args.dtype, compile=args.compile)
    options = {key: value for key, value in (("steps", args.steps), ("sampler", args.sampler)) if value is not None}
    how: dict[str, Any] = {
        "seed": args.seed, "mapping": mapping, "arguments": arguments, "execute": args.execute,
        "max_steps": args.max_steps, "options": options, "realtime": args.realtime,
        "words": {} if args.instruction is None else {"instruction": args.instruction},
    }  # fmt: skip
    files = {}
    if args.video:
        film(pipe, args.env, args.video, force=args.force, **how)
        files["video"] = str(args.video)
    with progress("episodes", quiet=args.quiet) as report:
        found = rollout(pipe, args.env, episodes=args.episodes, num_envs=args.num_envs, processes=args.processes,
                        progress=report, **how)  # fmt: skip
    if args.plot:
        trace = {"action": found.trace["action"]}
        if robot is not None and "state" in found.trace:
            trace["state"] = beside(found.trace["state"], robot)
        won = "succeeded" if found.outcomes[0].success else "failed"
        write_plot(args.plot, trace, names=names, hz=None if robot is None else robot.control_hz,
                   title=f"{args.env}, seed {args.seed}: {won}", force=args.force)  # fmt: skip
        files["plot"] = str(args.plot)
    if args.json:
        print(json.dumps({**found.as_data(), "model": pipe.hash(), **files, "versions": _versions()}))
    else:
        _print(found, files, names)
    return 0


def _versions() -> dict[str, str]:
    from gencore import plugins

    found = plugins.versions("robot")
    for name in ("gencore-robot", "gymnasium", "mujoco", "gym-aloha", "gym-pusht"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _print(found: Rollout, files: Mapping[str, str], names: Sequence[str]) -> None:
    told = found.as_data()
    low, high = found.interval
    latency = "  ".join(f"{key} {value:.1f}" for key, value in told["latency_ms"].items())
    rows = [
        ("environment", found.env),
        ("success", f"{len(told['successes'])} of {told['episodes']} = {100 * found.success_rate:.1f} %"),
        ("95 % interval", f"{100 * low:.1f} .. {100 * high:.1f} %  (Wilson)"),
        ("seeds", f"{told['seeds'][0]}..{told['seeds'][-1]}"),
        ("mean return", f"{told['mean_return']:.3g}"),
        ("mean length", f"{told['mean_length']:.1f} steps"),
        ("latency", f"{latency} ms over {told['predictions']} predictions"),
        ("missed ticks", "unknown rate" if told["missed_ticks"] is None else str(told["missed_ticks"])),
        *[(key.replace("_", " "), str(told[key])) for key in ("starved_ticks", "late_chunks") if key in told],
        ("clamped", _clamped(told["clamped"], names)),
        *files.items(),
    ]  # fmt: skip
    columns = widths(rows)
    for row in rows:
        print(line(row, columns))


def _clamped(told: Mapping[str, Any] | None, names: Sequence[str]) -> str:
    """How often actions were clamped, and of the entries most often clamped how often and by how much at most."""
    if told is None:
        return "no limits"
    worst = sorted(told["entries"], key=lambda one: -one["clamped"])
    each = [f"{names[one['index']] if one['index'] < len(names) else 'entry ' + str(one['index'])} "
            f"{100 * one['clamped'] / told['actions']:.0f} %, by at most {one['largest_excess']:.2g}"
            for one in worst[:_SHOWN]]  # fmt: skip
    each += [f"{len(worst) - _SHOWN} more"] if len(worst) > _SHOWN else []
    return f"{told['clamped']} of {told['actions']} actions" + (": " + "; ".join(each) if each else "")
