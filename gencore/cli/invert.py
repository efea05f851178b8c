"""``gencore invert M FILE``: the noise that a file's content comes from, to sample again or with other words."""

from __future__ import annotations

import json
import shlex
import time
import warnings
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from gencore.cli import words
from gencore.cli.generate import add_model
from gencore.cli.parser import Parser
from gencore.cli.progress import progress
from gencore.media.files import check_output
from gencore.plugins import find, provided

if TYPE_CHECKING:
    from gencore.run import Step


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore invert``."""
    parser.description = (
        "Walk a file's content back to noise.  gencore generate M --start FILE with the same words returns to it, and "
        "with other words edits it."
    )
    manifest = words.add_modality(parser)
    parser.add_argument("file", type=Path, help="what is inverted: anything the modality takes as known data")
    words.add_words(parser, manifest)
    add = parser.add_argument
    add("--steps", type=int, help="of the sampler (default: the model's)")
    add("--sampler", help="bdia (default, exact), rf-solver, ddim, euler or heun")
    add("--guidance", default="1", help="scale while inverting (default: 1)")
    add("--strength", type=float, default=1.0, help="share of the steps to walk from the clean end (default: 1)")
    add_model(parser)
    add("-o", "--output", type=Path, help="a .safetensors file (default: a new name)")
    add("--force", action="store_true", help="overwrite the output")
    add("--quiet", action="store_true", help="nothing on stderr")
    add("--json", action="store_true", help="one JSON object on stdout")


def run(args: Namespace) -> int:
    """Write the inversion; 0 when it is written.

    Raises:
        GencoreError: a value that cannot be used, or an output that cannot be written; then nothing is.
    """
    from gencore.loading import load

    said = words.words_of(args, find(provided("modality")[args.modality].name).manifest)
    output = args.output or words.free_path(f"{args.file.stem}-inverted", ".safetensors")
    check_output(output, args.force)
    pipe = load(args.modality, args.model, device=args.device, dtype=args.dtype, compile=args.compile)
    started = time.perf_counter()
    with progress("steps", quiet=args.quiet) as report, warnings.catch_warnings(record=True) as told:

        def show(step: Step) -> None:
            report(step.index, step.total)

        inverted = pipe.invert(args.file, strength=args.strength, guidance=args.guidance, callback=show, **said, **{
            name: value for name in ("steps", "sampler") if (value := getattr(args, name)) is not None})  # fmt: skip
    inverted.save(output, force=args.force)
    seconds, notes = time.perf_counter() - started, [str(warning.message) for warning in told]
    if args.json:
        facts = {"file": str(output), "samples": inverted.count, "seconds": round(seconds, 3), "warnings": notes}
        print(json.dumps({**facts, "recipe": inverted.recipe}))
        return 0
    for note in notes:
        print(f"warning: {note}")
    back = ["gencore", "generate", args.modality, "--start", str(output), *words.spell_words(said)]
    back += ["--guidance", str(args.guidance)]
    count, steps = inverted.count, len(inverted.times) - 1
    print(f"{output}  {count} sample{'s' * (count > 1)}  {steps} steps  {seconds:.1f} s  back: {shlex.join(back)}")
    return 0
