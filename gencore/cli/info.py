"""``gencore info``: what a modality offers, what a model is, how a file was made.  Imports no torch."""

from __future__ import annotations

import json
import struct
from argparse import Namespace
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from gencore.cli import words
from gencore.cli.list_ import as_data
from gencore.cli.parser import Parser
from gencore.cli.table import line, widths
from gencore.errors import GencoreError, InputError, nearest
from gencore.models import WEIGHTS, find_model, packaged_default, read_config
from gencore.plugins import find, provided
from gencore.recipe import read_recipe
from gencore.settings import spell

_FIRST = ("name", "modality", "task", "words", "seeds", "steps", "sampler", "guidance", "known", "size", "model")
"""What people look for first."""


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore info``."""
    parser.description = "The card of a modality or model, or the recipe of a file gencore wrote."
    parser.add_argument("subject", help="a modality, a model's folder or hub id, or a file")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: Namespace) -> int:
    """Print what is known of the subject.

    Raises:
        InputError: it is none of the three, or damaged.
    """
    subject, path = args.subject, Path(args.subject)
    if subject in provided("modality"):
        data = modality_facts(subject)
        notes = [f"gencore generate {subject} --help lists its options with their meaning"]
    elif path.is_file():
        data = read_recipe(path)
        notes = [command_line(data), words.spell_command(["gencore", "reproduce", subject])]
    elif path.is_dir() or subject.count("/") == 1:
        data = model_facts(find_model("", subject)[0])
        notes = [words.spell_command(["gencore", "generate", data["modality"], "--model", subject])]
    else:
        names = provided("modality")
        raise InputError("subject", subject, f"{', '.join(sorted(names))}, a model folder or hub id, or a file",
                         nearest(subject, names))  # fmt: skip
    if args.json:
        print(json.dumps(data, indent=2))
        return 0
    order = {name: place for place, name in enumerate(_FIRST)}
    rows = list(_rows(dict(sorted(data.items(), key=lambda item: order.get(item[0], len(order))))))
    columns = widths(rows)
    for row in rows:
        print(line(row, columns))
    print("\n" + "\n".join(notes))
    return 0


def modality_facts(name: str) -> dict[str, Any]:
    """What the plug-in declares, and its default model where that is installed."""
    plugin = find(provided("modality")[name].name)
    manifest = plugin.manifest
    assert manifest is not None
    told = ((o.name, (f"{o.type}{' or several' * o.many}", o.range, o.help)) for o in manifest.options)
    options = {option: "; ".join(filter(None, parts)) for option, parts in told}
    facts = as_data(plugin) | {"options": options, "samplers": sorted(provided("sampler"))}
    try:
        facts["default"] = model_facts(packaged_default(name))
    except GencoreError as fault:
        facts["default"] = str(fault)
    return facts


def model_facts(folder: Path) -> dict[str, Any]:
    """The configuration and card of a model folder, and the size of its weights.

    Raises:
        CheckpointError: no model, or a damaged one.
    """
    config = read_config(folder)
    card = config.pop("card")
    return {**config, "weights": _weights(folder / WEIGHTS), "card": card}


def command_line(recipe: Mapping[str, Any]) -> str:
    """The ``gencore generate`` that made a file."""
    model, known, seeds = recipe.get("model", {}), recipe.get("known"), recipe.get("seeds", [0])
    parts = ["gencore", "generate", str(recipe.get("modality", "?")), *words.spell_words(recipe.get("words", {}))]
    parts += ["-n", str(len(seeds)), "--seed"]
    parts.append(str(seeds[0]) if ".." in words.spell_seeds(seeds) else words.spell_seeds(seeds))
    if recipe.get("steps"):
        parts += ["--steps", str(recipe["steps"])]
    for kind in ("sampler", "guidance"):
        if settings := recipe.get(kind):
            parts += [f"--{kind}", spell(settings)]
    if size := recipe.get("size"):
        parts += ["--size", "x".join(map(str, size))]
    if known:
        for option, name in zip(("--known", "--mask"), known["files"], strict=True):
            parts += [] if name is None else [option, name or "FILE"]
        parts += ["--known-mode", known["mode"]]
    if not (origin := model.get("origin", "")).startswith("packaged:"):
        parts += ["--model", origin or "FOLDER"]
    if model.get("dtype", "float32") != "float32":
        parts += ["--dtype", model["dtype"]]
    if recipe.get("batch"):
        parts += ["--batch", str(recipe["batch"])]
    return words.spell_command(parts)


def _weights(path: Path) -> dict[str, Any] | str:
    """Parameters by dtype, from the file's header alone."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    except (OSError, ValueError, struct.error):
        return f"{path.name} is missing or damaged"
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    return {
        "parameters": sum(prod(entry["shape"]) for entry in tensors),
        "dtypes": sorted({entry["dtype"] for entry in tensors}),
        "bytes": path.stat().st_size,
    }


def _rows(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """``key.key  value`` of nested data; empty values are left out."""
    for key, value in data.items():
        name = f"{prefix}{key}"
        if key == "seeds" and isinstance(value, list) and value:
            yield name, words.spell_seeds(value)
        elif isinstance(value, Mapping):
            if "type" in value and not any(isinstance(v, Mapping) for v in value.values()):
                yield name, spell(dict(value))
            else:
                yield from _rows(value, f"{name}.")
        elif isinstance(value, list | tuple):
            if value:
                yield name, ", ".join(json.dumps(v) if isinstance(v, Mapping) else str(v) for v in value)
        elif value is not None and value != "":
            yield name, f"{value:,}" if key in ("parameters", "bytes") else str(value)
