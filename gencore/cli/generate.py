"""``gencore generate M``: samples into a file that carries its recipe."""

from __future__ import annotations

import json
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gencore.cli import parallel, words
from gencore.cli.parser import Parser
from gencore.cli.progress import of_steps, progress
from gencore.errors import InputError
from gencore.plugins import find, provided, resolve

if TYPE_CHECKING:
    from gencore.generated import Generated
    from gencore.known import Known
    from gencore.modality import Modality, View
    from gencore.pipeline import Pipeline
    from gencore.spec import LatentSpec


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore generate``; those of the modality come first."""
    parser.description = "Make samples and write them with their recipe inside."
    manifest = words.add_modality(parser)
    words.add_words(parser, manifest)
    own = {option.name for option in manifest.options} if manifest else set()
    add = parser.add_argument
    add("-n", "--n", type=int, help="number of samples (default: what the words say, else 1)")
    add("--seed", type=words.seeds, help="sample i has seed SEED + i; or one a sample, by commas (default: drawn)")
    add("--steps", type=int, help="of the sampler (default: the model's)")
    add("--sampler", help="name or name:key=value,key=value (default: the model's); gencore list names them")
    add("--guidance", help="scale, or name:key=value (default: the model's)")
    if "known" not in own:
        add("--known", "--given", type=Path, help="file whose cells are kept where the mask is black")
    if "mask" not in own:
        add("--mask", type=Path, help="white = made anew, black = kept")
    add("--known-mode", help="replace_state, compose_input or per_token_time (default: the model's)")
    add("--start", type=Path, help="sample from a file of gencore invert instead of from noise")
    add("--cache", dest="interceptors", action="append", metavar="NAME:KEY=VALUE",
        help="reuse or forecast parts of the network between steps; gencore list names them; or a file of "
        "gencore tune")  # fmt: skip
    add("--size", type=words.size, metavar="HxW", help="of the data, where it differs from the model's")
    add_model(parser)
    add("--batch", type=int, help="at most this many samples at a time")
    add("--parallel", dest="ranks", type=parallel.ranks, default=1, metavar="dp=N", help="the N processes of torchrun "
        "each make a share")  # fmt: skip
    add("-o", "--output", type=Path, help="file, or a folder for one file a sample (default: a new name)")
    add("--force", action="store_true", help="overwrite the output")
    add("--no-recipe", action="store_true", help="write the samples alone")
    add("--live", action="store_true", help="show the samples as they form, on stderr (default: on a terminal, where "
        "the modality can)")  # fmt: skip
    add("--quiet", action="store_true", help="nothing on stderr")
    add("--json", action="store_true", help="one JSON object on stdout")


def add_model(parser: Parser) -> None:
    """Declare which model runs, where and in what precision."""
    add = parser.add_argument
    add("--model", help="folder or hub id (default: the packaged model)")
    add("--device", default="auto", help="cpu, cuda or cuda:N (default: auto)")
    add("--dtype", default="auto", help="float32, float64, bfloat16 or float16 (default: auto, float32)")
    add("--compile", action="store_true", help="compile the network, which pays off in long runs")


def run(args: Namespace) -> int:
    """Make the samples; 0 when they are written.

    Raises:
        GencoreError: a value that cannot be used, or an output that cannot be written; then nothing is.
    """
    from gencore.request import OPTIONS

    modality = resolve("modality", args.modality)()
    said = words.words_of(args, find(provided("modality")[args.modality].name).manifest)
    options = said | {name: value for name in OPTIONS if (value := getattr(args, name, None)) is not None}
    if args.output:
        modality.check_output(args.output, (), force=args.force)
    with parallel.group(args.ranks):
        options.setdefault("seed", parallel.drawn_seed())
        return _make(args, modality, options)


def _make(args: Namespace, modality: Modality, options: dict[str, Any]) -> int:
    from gencore.loading import load
    from gencore.request import request

    device = parallel.device(args.device, args.ranks)
    pipe = load(args.modality, args.model, device=device, dtype=args.dtype, compile=args.compile)
    asked = request(pipe, **options)
    path = args.output or words.free_path(_stem(args.modality, asked.recipe), modality.suffix)
    modality.check_output(path, asked.seeds, force=args.force)
    batch = parallel.share(asked, args.ranks, args.batch) if args.ranks > 1 else args.batch
    chunks = len(list(asked.chunks(batch))) // args.ranks
    silent = args.quiet or parallel.rank() > 0
    with (
        _warnings(silent),
        _watched(args, pipe, silent) as view,
        progress("steps", quiet=silent or view is not None) as report,
    ):
        callback = of_steps(report, chunks) if view is None else view
        if args.ranks > 1:
            out = parallel.generate(pipe, asked, options, batch=batch, count=args.ranks, callback=callback)
        else:
            out = pipe.generate(batch=batch, callback=callback, **options)
    if out is None:
        return 0
    files = out.save(path, force=args.force, recipe=not args.no_recipe)
    if args.json:
        print(json.dumps(_as_data(out, files, asked.known)))
    else:
        print(_closing(out, path, files, asked.known, asked.spec))
    return 0


@contextmanager
def _warnings(silent: bool) -> Iterator[None]:
    """What the run warns of, one line each on stderr."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        yield
    for text in () if silent else dict.fromkeys(str(warning.message) for warning in told):
        print(f"warning: {' '.join(text.split())}", file=sys.stderr)


@contextmanager
def _watched(args: Namespace, pipe: Pipeline, silent: bool) -> Iterator[View | None]:
    """The modality's view of the run, where it is asked for or stderr is a terminal."""
    wanted = not silent and not args.json and (args.live or sys.stderr.isatty())
    view = pipe.modality.view(pipe, sys.stderr) if wanted else None
    if args.live and view is None:
        given = "with --quiet or --json" if silent or args.json else f"modality '{args.modality}'"
        raise InputError("--live", given, "a run that may be shown, of a modality that can")
    try:
        yield view
    finally:
        if view is not None:
            view.close()


def _stem(modality: str, recipe: dict[str, Any]) -> str:
    parts = [modality]
    for name, value in recipe["words"].items():
        if isinstance(value, dict):
            continue
        parts += [name, *map(str, value if isinstance(value, list) else [value])]
    return "-".join([*parts, "seed", str(recipe["seeds"][0])])


def _closing(out: Generated, path: Path, files: list[Path], known: Known | None, spec: LatentSpec) -> str:
    count = len(out.seeds)
    parts = [
        str(path) if len(files) == 1 else f"{path} ({len(files)} files)",
        f"{count} sample{'s' * (count > 1)}",
        f"seed{'s' * (count > 1)} {words.spell_seeds(out.seeds)}",
        f"{out.timing['calls']:.0f} network calls",
        f"{out.timing['seconds']:.1f} s",
        f"next unused seed: {max(out.seeds) + 1}",
    ]
    for cache in out.caches:
        if "computed" in cache:
            calls = cache["computed"] + cache["answered"]
            parts.append(f"{cache['type']}: {cache['answered']} of {calls} calls answered, {_kept(cache)}")
    if known is not None:
        cells = 1
        for axis in spec.names[1:]:
            cells *= spec.size(axis) if axis != "c" else 1
        parts.insert(1, f"keeps {known.share:.0%} of {cells} cells".replace("%", " %"))
    return "  ".join(parts)


def _kept(cache: Mapping[str, Any]) -> str:
    """The memory a cache held: in all, and where from."""
    sites: list[list[int]] = list(cache["sites"].values())
    terms, largest = max(map(len, sites), default=0), max((size for site in sites for size in site), default=0)
    each = f"{len(sites)} site{'s' * (len(sites) != 1)} x {terms} term{'s' * (terms != 1)} x {largest / 1e3:.1f} kB"
    return f"{cache['bytes'] / 1e6:.1f} MB kept ({each})"


def _as_data(out: Generated, files: list[Path], known: Known | None) -> dict[str, Any]:
    return {
        "files": [str(file) for file in files],
        "samples": len(out.seeds),
        "seeds": list(out.seeds),
        "network_calls": int(out.timing["calls"]),
        "seconds": round(out.timing["seconds"], 3),
        "next_unused_seed": max(out.seeds) + 1,
        "kept": None if known is None else known.share,
        "caches": list(out.caches),
        "recipe": out.recipe,
    }
