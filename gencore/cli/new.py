"""``gencore new NAME``: a complete package for a modality of one's own, to be edited in three marked places."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from argparse import Namespace
from pathlib import Path

from gencore.cli.parser import Parser
from gencore.cli.words import spell_command
from gencore.errors import InputError
from gencore.media.files import atomic_write
from gencore.scaffold import KINDS, render
from gencore.scaffold.names import check_name


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore new``."""
    parser.description = "Write a package that generates at once: " + "; ".join(f"{k} = {v}" for k, v in KINDS.items())
    add = parser.add_argument
    add("name", help="of the modality, as after 'gencore generate'; the distribution is gencore-NAME")
    add("--kind", choices=tuple(KINDS), default="continuous", help="of data (default: continuous)")
    add("-o", "--output", type=Path, help="folder to write (default: gencore-NAME)")
    add("--force", action="store_true", help="write into an existing folder, over files of the same names")
    add("--quiet", action="store_true", help="print nothing")
    add("--json", action="store_true", help="one JSON object on stdout")


def run(args: Namespace) -> int:
    """Write the package and say what to type next.

    Raises:
        InputError: a name that cannot be used, or a folder that exists; then nothing is written.
    """
    files = render(check_name(args.name), args.kind)
    folder: Path = args.output or Path(f"gencore-{args.name}")
    write_tree(folder, files, force=args.force)
    if args.json:
        print(json.dumps({"name": args.name, "kind": args.kind, "folder": str(folder), "files": sorted(files)}))
    elif not args.quiet:
        print(_closing(args.name, folder, files))
    return 0


def write_tree(folder: Path, files: dict[str, str], *, force: bool = False) -> None:
    """Write `files` into `folder`: a new one appears whole or not at all.

    Args:
        files: ``{relative path: text}``.
        force: write into a folder that exists, file by file; other files in it stay.

    Raises:
        InputError: `folder` exists and `force` is false, is a file, or its parent cannot be written.
    """
    if folder.exists() and not (force and folder.is_dir()):
        hint = "--force writes into it" if folder.is_dir() else ""
        raise InputError("output", f"{folder} (exists)", "a new folder", hint)
    if not folder.parent.is_dir():
        raise InputError("output", folder, "a folder in an existing folder", f"mkdir -p {folder.parent}")
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise InputError("output", f"{folder} (parent not writable)", "a folder you may write to")
    if folder.exists():
        _write(folder, files)
        return
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        _write(part, files)
        os.rename(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "w", force=True) as file:
            file.write(text)


def _closing(name: str, folder: Path, files: dict[str, str]) -> str:
    yours = [path for path, text in files.items() if "Yours" in text and path.endswith(".py")]
    path = str(folder)
    return "\n".join(
        [
            f"{folder}: {len(files)} files; yours to change, marked 'Yours': {', '.join(sorted(yours))}",
            "",
            spell_command(["pip", "install", "-e", path if folder.is_absolute() else f"./{path}"]),
            f"gencore check {name}",
            f"gencore train {name} --steps 50 -o run",
            f"gencore generate {name} --model run --seed 0",
        ]
    )
