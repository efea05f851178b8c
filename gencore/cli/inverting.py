"""What the verbs that walk data back to noise share: ``gencore invert`` and ``gencore edit``."""

from __future__ import annotations

from pathlib import Path

from gencore.cli import words
from gencore.cli.generate import add_model
from gencore.cli.parser import Parser


def add_inversion(parser: Parser, *, sampler: str, guidance: str | None, output: str) -> None:
    """Declare the modality with its words, the file, and the options of an inversion.

    Args:
        sampler: the default.
        guidance: the default; None for the model's.
        output: what is written, in the words of a help text.
    """
    manifest, own = words.add_modality(parser), "the model's"
    add = parser.add_argument
    add("file", type=Path, help="what is walked back: anything the modality takes as known data")
    words.add_words(parser, manifest)
    add("--strength", type=float, default=1.0, help="share of the steps to walk, from the clean end (default: 1)")
    add("--steps", type=int, help="of the sampler (default: the model's)")
    add("--sampler", default=sampler, help=f"bdia (exact), rf-solver, ddim, euler or heun (default: {sampler})")
    add("--guidance", default=guidance, help=f"scale (default: {guidance or own})")
    add_model(parser)
    add("-o", "--output", type=Path, help=f"{output} (default: a new name)")
    add("--force", action="store_true", help="overwrite the output")
    add("--quiet", action="store_true", help="nothing on stderr")
    add("--json", action="store_true", help="one JSON object on stdout")
