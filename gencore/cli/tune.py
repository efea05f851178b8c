"""``gencore tune M``: the fastest cache whose samples stay within an error budget."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gencore.cli import words
from gencore.cli.generate import add_model
from gencore.cli.parser import Parser
from gencore.cli.progress import progress
from gencore.cli.table import line, widths
from gencore.plugins import find, provided

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline
    from gencore.tuning.audit import Audit
    from gencore.tuning.cache_plan import CachePlan

RUN = ("seed", "steps", "sampler", "guidance", "size", "batch")
"""Options of a run that an audit takes."""


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore tune``."""
    parser.description = (
        "Measure caches on a model and write the fastest one whose worst sample stays within a budget.  gencore "
        "generate M --cache FILE takes it."
    )
    manifest = words.add_modality(parser)
    words.add_words(parser, manifest)
    add = parser.add_argument
    add("--budget", default="35dB", help="least PSNR to the uncached sample, as 35dB; of tokens the share that is "
        "equal, as 90%% (default: 35dB)")  # fmt: skip
    add("-n", "--n", type=int, help="samples that are compared (default: what the words say, else 4)")
    add("--seed", type=words.seeds, default=0, help="sample i has seed SEED + i; or one a sample, by commas "
        "(default: 0)")  # fmt: skip
    add("--steps", type=int, help="of the sampler (default: the model's)")
    add("--sampler", help="name or name:key=value (default: the model's)")
    add("--guidance", help="scale, or name:key=value (default: the model's)")
    add("--size", type=words.size, metavar="HxW", help="of the data, where it differs from the model's")
    add("--cache", dest="caches", action="append", metavar="NAME:KEY=VALUE", help="measure this one; may be repeated "
        "(default: a list of regular schedules)")  # fmt: skip
    add("--search", action="append", metavar="NAME:KEY=VALUE", help="find irregular schedules of this one, which "
        "takes steps; may be repeated; or none (default: taylorseer and delta-dit of several orders)")  # fmt: skip
    add_model(parser)
    add("--batch", type=int, help="at most this many samples at a time")
    add("-o", "--output", type=Path, help="a .json file (default: a new name)")
    add("--plot", type=Path, help="an .html file for the plot of speed-up against error")
    add("--force", action="store_true", help="overwrite the output")
    add("--quiet", action="store_true", help="nothing on stderr")
    add("--json", action="store_true", help="one JSON object on stdout")


def run(args: Namespace) -> int:
    """Write the plan; 0 when it is written.

    Raises:
        Negative: the budget is out of reach.
        GencoreError: a value that cannot be used, or an output that cannot be written; then nothing is.
    """
    from gencore.loading import load
    from gencore.tuning.audit import audit
    from gencore.tuning.cache_plan import check_plan
    from gencore.tuning.fidelity import read_budget, within
    from gencore.tuning.plot import check_plot, write_plot
    from gencore.tuning.tune import choose

    said = words.words_of(args, find(provided("modality")[args.modality].name).manifest)
    options = said | {name: value for name in RUN if (value := getattr(args, name)) is not None}
    searched = {name: value for name in ("caches", "search") if (value := getattr(args, name)) is not None}
    if "search" in searched:
        searched["search"] = [text for text in searched["search"] if text != "none"]
    read_budget(args.budget)
    output = check_plan(args.output or words.free_path(f"{args.modality}-plan", ".json"), force=args.force)
    if args.plot:
        check_plot(args.plot, force=args.force)
    pipe = load(args.modality, args.model, device=args.device, dtype=args.dtype, compile=args.compile)
    with progress("runs", quiet=args.quiet) as report:
        audited = audit(pipe, args.n, callback=lambda index, total, note: report(index, total), **searched, **options)
    least = within(args.budget, audited.unit)
    if args.plot:
        write_plot(args.plot, audited, least, force=args.force)
    if not args.json:
        print("\n".join(_table(audited, least)))
    plan = choose(pipe, audited, args.budget)
    plan.save(output, force=args.force)
    seconds = _seconds(pipe, audited.options, plan)
    if args.json:
        print(json.dumps(_as_data(output, audited, plan, seconds)))
    else:
        print(_closing(output, plan, seconds))
    return 0


def _table(audited: Audit, least: float) -> Iterator[str]:
    """The Pareto front, the fastest first, with what is within the budget marked."""
    unit = audited.unit
    rows = [("speed-up", "block FLOPs", f"worst {unit}", f"mean {unit}", "", "setting")]
    for point in audited.front:
        near = point.fidelity
        work = f"{1 / point.share:.2f}x", f"{100 * point.share:.0f} %"
        rows.append((*work, f"{near.worst:.1f}", f"{near.mean:.1f}", "ok" if near.worst >= least else "", point.text))
    columns = widths(rows)
    yield from (line(row, columns) for row in rows)
    yield f"{len(audited.points)} settings measured, {len(audited.front)} of them on the front"
    yield from (f"not measured: {text}: {reason}" for text, reason in audited.refused.items())


def _seconds(pipe: Pipeline, options: Mapping[str, Any], plan: CachePlan) -> tuple[float, float]:
    """Wall-clock of the same samples without and with the plan, the better of two runs each."""
    took = [[pipe.generate(**options, interceptors=part).timing["seconds"] for part in ([], [plan])] for _ in range(2)]
    plain, fast = map(min, zip(*took, strict=True))
    return plain, fast


def _closing(path: Path, plan: CachePlan, seconds: tuple[float, float]) -> str:
    near, other, unit = plan.fidelity, plan.held_out, plan.fidelity["unit"]
    count, (plain, fast) = len(plan.recipe["seeds"]), seconds
    return "  ".join([
        str(path), f"{1 / plan.share:.2f}x in block FLOPs", f"{near['worst']:.1f} {unit} worst of {count}",
        f"{other['worst']:.1f} {unit} with other seeds", f"{plain:.1f} s became {fast:.1f} s",
    ])  # fmt: skip


def _as_data(path: Path, audited: Audit, plan: CachePlan, seconds: tuple[float, float]) -> dict[str, Any]:
    front = audited.front
    return {
        "file": str(path), "setting": plan.interceptor, "share": plan.share, "fidelity": plan.fidelity,
        "held_out": plan.held_out, "budget": plan.budget, "seconds": dict(zip(("plain", "plan"), seconds, strict=True)),
        "points": [{"setting": p.interceptor, "share": p.share, "worst": p.fidelity.worst, "mean": p.fidelity.mean,
                    "front": p in front} for p in audited.points],
        "refused": dict(audited.refused), "recipe": audited.recipe,
    }  # fmt: skip
