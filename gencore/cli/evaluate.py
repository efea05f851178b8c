"""``gencore evaluate M``: figures of a model against held-out data."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gencore.cli import words
from gencore.cli.generate import add_model
from gencore.cli.parser import Parser
from gencore.cli.progress import progress
from gencore.cli.table import line, widths
from gencore.errors import unknown
from gencore.plugins import resolve


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore evaluate``."""
    parser.description = "Measure a model against data held out from its training."
    words.add_modality(parser)
    parser.add_argument("--data", type=Path, help="held-out data; of a source with a test part, that part")
    parser.add_argument("--train", type=Path, help="what the model was trained on: for baselines, and to find copies")
    parser.add_argument("--metric", help="this group of figures alone, where the modality has several")
    parser.add_argument("-n", "--n", type=int, help="samples to make, or to measure (default: as many as it takes)")
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

    modality = resolve("modality", args.modality)()
    if args.metric is not None and args.metric not in modality.metrics:
        raise unknown("--metric", args.metric, modality.metrics or ["nothing: this modality gives all its figures"])
    options = {} if args.metric is None else {"metric": args.metric}
    n = modality.metrics.get(args.metric, modality.enough) if args.n is None else args.n
    pipe = load(args.modality, args.model, device=args.device, dtype=args.dtype, compile=args.compile)
    data = pipe.modality.dataset(args.data, pipe, held_out=True)
    train = pipe.modality.dataset(args.train, pipe) if args.train else None
    with progress("samples", quiet=args.quiet) as report:
        figures = pipe.modality.evaluate(pipe, data, n=n, seed=args.seed, train=train, progress=report, **options)
    figures = {"data": data.describe(), "model": pipe.hash(), **figures}
    if args.json:
        print(json.dumps(figures, indent=2))
        return 0
    rows = list(_rows(figures))
    columns = widths(rows)
    for row in rows:
        print(line(row, columns))
    return 0


def _rows(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """(name, value) of every figure; nested ones carry the names they lie under."""
    for key, value in figures.items():
        name = f"{before} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from _rows(value, name)
        else:
            yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " .. ".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
