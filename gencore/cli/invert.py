"""``gencore invert M FILE``: the noise that a file's content comes from, to sample again or with other words."""

from __future__ import annotations

import json
import shlex
import time
import warnings
from argparse import Namespace
from typing import TYPE_CHECKING

from gencore.cli import words
from gencore.cli.inverting import add_inversion
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
    add_inversion(parser, sampler="bdia", guidance="1", output="a .safetensors file")


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

        settings = {name: getattr(args, name) for name in ("strength", "steps", "sampler", "guidance")}
        inverted = pipe.invert(args.file, callback=show, **said, **settings)
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
