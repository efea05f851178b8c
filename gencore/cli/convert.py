"""``gencore convert SYSTEM FILE -o DIR``: somebody else's checkpoint as a model folder."""

from __future__ import annotations

import inspect
import json
import os
import re
import secrets
import shutil
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gencore.cli import words
from gencore.cli.parser import Parser
from gencore.errors import InputError
from gencore.models import CONFIG, TOKENIZER, WEIGHTS
from gencore.plugins import provided, resolve

_FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore convert``; the importer of the system that was typed adds its own."""
    parser.description = "Convert a checkpoint of another implementation into a model folder."
    names = ", ".join(sorted(provided("importer"))) or "none is installed"
    parser.add_argument("system", help=f"whose layout it has: {names}")
    parser.add_argument("file", metavar="FILE", help="checkpoint file or folder, or a hub id owner/name")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the model folder to make")
    parser.add_argument("--force", action="store_true", help="overwrite the model in DIR")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    system = next(iter(parser.words), "-")
    if not system.startswith("-"):
        for name, details in _options(resolve("importer", system)):
            parser.add_argument(f"--{name.replace('_', '-')}", dest=name, **details)


def run(args: Namespace) -> int:
    """Convert; 0 when the folder is written.

    Raises:
        GencoreError: a file that cannot be read as this system's, or an output that cannot be written; then nothing is.
    """
    importer = resolve("importer", args.system)
    _check_output(args.output, args.force)
    options = {name: getattr(args, name) for name, _ in _options(importer)}
    pipe = importer(_source(args.file), **{name: value for name, value in options.items() if value is not None})
    with _replacing(args.output) as folder:
        pipe.save_pretrained(folder)
    card = pipe.card.get("imported", {})
    if args.json:
        print(json.dumps({"model": str(args.output), "modality": pipe.modality.name, "system": args.system, **card}))
        return 0
    for note in card.get("notes", ()):
        print(note)
    size = sum(file.stat().st_size for file in args.output.iterdir()) / 1e6
    shown = words.spell_command(["gencore", "info", str(args.output)])
    print(f"{args.output}  {pipe.modality.name}  {size:.1f} MB  {shown}")
    return 0


def _options(importer: Callable[..., Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The keyword-only parameters of an importer as arguments of argparse."""
    hints, told = get_type_hints(importer), _described(importer)
    for name, parameter in inspect.signature(importer).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        kind = hints.get(name, str)
        if get_origin(kind) in (Union, UnionType):
            kind = next(part for part in get_args(kind) if part is not NoneType)
        default = "" if parameter.default in (None, parameter.empty, False) else f" (default: {parameter.default})"
        details: dict[str, Any] = {"help": (told.get(name, "") + default).replace("%", "%%") or None}
        if kind is bool:
            details["action"] = "store_true"
        elif get_origin(kind) is Literal:
            details["choices"] = get_args(kind)
        else:
            details |= {"type": kind, "metavar": kind.__name__.upper()}
        yield name, {"default": None, **details}


def _described(function: Callable[..., Any]) -> dict[str, str]:
    """What a docstring's ``Args`` say of each parameter."""
    _, _, rest = (inspect.getdoc(function) or "").partition("Args:\n")
    block = rest.partition("\n\n")[0]
    entries = re.split(r"^    (?=\w)", block, flags=re.MULTILINE)
    pairs = (entry.partition(":") for entry in entries if entry)
    return {name.strip(): " ".join(text.split()).removesuffix(".") for name, _, text in pairs}


def _source(text: str) -> Path:
    path = Path(text)
    if path.exists() or path.suffix in _FILES or text.count("/") != 1 or text.startswith((".", "/", "~")):
        return path
    from gencore.weights.hub import download

    return download(text)


def _check_output(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError("output", f"{folder} (a file)", "a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / CONFIG).exists():
            raise InputError("output", f"{folder} (holds other files)", "a new folder")
        if not force:
            raise InputError("output", f"{folder} (holds a model)", "a new folder", "--force overwrites it")
    if not folder.absolute().parent.is_dir():
        raise InputError("output", folder, "a folder in an existing folder", f"mkdir -p {folder.parent}")


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` whose model files are moved into it, the configuration last, on success."""
    part = folder.absolute().with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        folder.mkdir(exist_ok=True)
        for name in (TOKENIZER, WEIGHTS, CONFIG):
            if (part / name).exists():
                os.replace(part / name, folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)
