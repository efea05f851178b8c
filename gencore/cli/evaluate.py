"""``gencore evaluate M``: figures of a model against held-out data."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from gencore.cli import words
from gencore.cli.generate import add_model
from gencore.cli.parser import Parser
from gencore.cli.progress import progress
from gencore.cli.table import line, widths


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore evaluate``."""
    parser.description = "Measure a model against data held out from its training."
    words.add_modality(parser)
    parser.add_argument("--data", type=Path, help="held-out data; of a source with a test part, that part")
    parser.add_argument("--train", type=Path, help="what the model was trained on: for baselines, and to find copies")
    parser.add_argument("-n", "--n", type=int, default=1000, help="samples to make (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first sample (default: 0)")
    add_model(parser)
    parser.add_argument("--quiet", action="store_true", help="nothing on stderr")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: Namespace) -> int:
    """Print the figures.

    Raises:
        GencoreError: a model or data that cannot be used.
    """
    from gencore.loading import load

    pipe = load(args.modality, args.model, device=args.device, dtype=args.dtype, compile=args.compile)
    data = pipe.modality.dataset(args.data, pipe, held_out=True)
    train = pipe.modality.dataset(args.train, pipe) if args.train else None
    with progress("samples", quiet=args.quiet) as report:
        figures = pipe.modality.evaluate(pipe, data, n=args.n, seed=args.seed, train=train, progress=report)
    figures = {"data": data.describe(), "model": pipe.hash(), **figures}
    if args.json:
        print(json.dumps(figures, indent=2))
        return 0
    rows = [(name.replace("_", " "), _text(value)) for name, value in figures.items()]
    columns = widths(rows)
    for row in rows:
        print(line(row, columns))
    return 0


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " .. ".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
