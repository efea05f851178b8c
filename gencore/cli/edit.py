"""``gencore edit M FILE``: a file's content with other words, by inversion and shared attention (RF-Edit)."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from gencore.cli import words
from gencore.cli.generate import add_model
from gencore.cli.parser import Parser
from gencore.cli.progress import of_steps, progress
from gencore.plugins import find, provided, resolve
from gencore.settings import parse


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore edit``."""
    parser.description = "Walk a file's content back to noise with the words it shows, and sample it again with others."
    manifest = words.add_modality(parser)
    add = parser.add_argument
    add("file", type=Path, help="what is edited: anything the modality takes as known data")
    add("--before", default="", metavar="KEY=VALUE,...", help="words for what the file shows, as label=3")
    words.add_words(parser, manifest)
    add("--inject", type=int, default=2, help="first steps that keep the file's attention values (default: 2)")
    add("--blocks", type=float, default=0.5, help="share of the blocks that do, from the last back (default: 0.5)")
    add("--strength", type=float, default=1.0, help="share of the steps to walk back (default: 1)")
    add("--steps", type=int, help="of the sampler (default: the model's)")
    add("--sampler", default="rf-solver", help="rf-solver (default), bdia, ddim, euler or heun")
    add("--guidance", help="of the edit (default: the model's)")
    add_model(parser)
    add("-o", "--output", type=Path, help="file (default: a new name)")
    add("--force", action="store_true", help="overwrite the output")
    add("--quiet", action="store_true", help="nothing on stderr")
    add("--json", action="store_true", help="one JSON object on stdout")


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
