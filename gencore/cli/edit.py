"""``gencore edit M FILE``: a file's content with other words, by inversion and shared attention (RF-Edit)."""

from __future__ import annotations

import json
from argparse import Namespace

from gencore.cli import words
from gencore.cli.inverting import add_inversion
from gencore.cli.parser import Parser
from gencore.cli.progress import of_steps, progress
from gencore.plugins import find, provided, resolve
from gencore.settings import parse


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore edit``."""
    parser.description = "Walk a file's content back to noise with the words it shows, and sample it again with others."
    add_inversion(parser, sampler="rf-solver", guidance=None, output="file")
    add = parser.add_argument
    add("--before", default="", metavar="KEY=VALUE,...", help="words for what the file shows, as label=3")
    add("--inject", type=int, default=2, help="first steps that keep the file's attention values (default: 2)")
    add("--blocks", type=float, default=0.5, help="share of the blocks that do, from the last back (default: 0.5)")


def run(args: Namespace) -> int:
    """Write the edit; 0 when it is written.

    Raises:
        GencoreError: a value that cannot be used, or an output that cannot be written; then nothing is.
    """
    modality = resolve("modality", args.modality)()
    after = words.words_of(args, find(provided("modality")[args.modality].name).manifest)
    before = parse(f"before:{args.before}", "before")
    del before["type"]
    output = args.output or words.free_path(f"{args.file.stem}-edited", modality.suffix)
    modality.check_output(output, (0,), force=args.force)

    from gencore.editing import edit
    from gencore.loading import load

    pipe = load(args.modality, args.model, device=args.device, dtype=args.dtype, compile=args.compile)
    with progress("steps", quiet=args.quiet) as report:
        names = ("steps", "sampler", "guidance", "inject", "blocks", "strength")
        settings = {name: getattr(args, name) for name in names}
        out = edit(pipe, args.file, before, after, callback=of_steps(report), **settings)
    files = out.save(output, force=args.force)
    if args.json:
        facts = {"files": [str(file) for file in files], "seconds": out.timing["seconds"]}
        print(json.dumps({**facts, "recipe": out.recipe}))
    else:
        print(f"{output}  {out.timing['calls']:.0f} network calls after the inversion  {out.timing['seconds']:.1f} s")
    return 0
