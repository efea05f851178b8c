"""What several verbs share: the modality they act on, its own options, and how values are spelt.

A modality's options come from its manifest, so that a help text never imports the modality.
"""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gencore.cli.parser import Parser
from gencore.manifest import Manifest, Option
from gencore.plugins import provided, resolve

_TYPES: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str, "path": Path}


def add_modality(parser: Parser) -> Manifest | None:
    """Declare the positional argument ``modality``; returns its manifest if one was typed.

    Raises:
        GencoreError: the modality is unknown, absent or broken.
    """
    offers = provided("modality")
    parser.add_argument("modality", help=f"one of: {', '.join(sorted(offers)) or 'none is installed'}")
    name = next(iter(parser.words), "-")
    if name.startswith("-"):
        return None
    if name not in offers:
        resolve("modality", name)
    return offers[name].manifest


def add_words(parser: Parser, manifest: Manifest | None) -> None:
    """Declare the modality's own options."""
    for option in manifest.options if manifest else ():
        details = [option.help, option.range, f"default: {option.default}" if option.default is not None else ""]
        if option.many:
            details.insert(1, "several separated by commas")
        # --given is --known with the mask a task implies.
        spellings = [f"--{option.name.replace('_', '-')}", *(["--given"] if option.name == "known" else [])]
        parser.add_argument(
            *spellings,
            dest=option.name,
            type=_many(option) if option.many else _TYPES.get(option.type, str),
            metavar=option.type.upper(),
            help="; ".join(filter(None, details)).replace("%", "%%"),
        )


def words_of(args: Namespace, manifest: Manifest | None) -> dict[str, Any]:
    """The modality's own options that were typed, as `Pipeline.generate` takes them."""
    options = manifest.options if manifest else ()
    return {o.name: getattr(args, o.name) for o in options if getattr(args, o.name) is not None}


def seeds(text: str) -> int | list[int]:
    """``7`` or ``7,9,30``."""
    numbers = [_whole(part) for part in text.split(",")]
    return numbers if len(numbers) > 1 else numbers[0]


def size(text: str) -> tuple[int, ...]:
    """``28x28``, rows first."""
    if not re.fullmatch(r"[0-9]+(x[0-9]+)*", text):
        raise ArgumentTypeError(f"got {text}; accepted: HxW, for instance 28x28")
    return tuple(int(part) for part in text.split("x"))


def spell_seeds(numbers: Sequence[int]) -> str:
    """``0..15`` for consecutive seeds, else all of them.

    >>> spell_seeds([4, 5, 6]), spell_seeds([4]), spell_seeds([4, 6])
    ('4..6', '4', '4,6')
    """
    if list(numbers) == list(range(numbers[0], numbers[0] + len(numbers))):
        return f"{numbers[0]}..{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
    return ",".join(map(str, numbers))


def spell_words(words: Mapping[str, Any]) -> list[str]:
    """Options of a command line, ``["--label", "3,7"]``."""
    spelt: list[str] = []
    for name, value in words.items():
        text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        option = f"--{name.replace('_', '-')}"
        spelt += [f"{option}={text}"] if text.startswith("-") else [option, text]
    return spelt


def spell_command(parts: Sequence[str]) -> str:
    """A command line as it can be typed.

    >>> spell_command(["gencore", "info", "my picture.png"])
    "gencore info 'my picture.png'"
    """
    return shlex.join(parts)


def free_path(stem: str, suffix: str, folder: Path = Path()) -> Path:
    """``stem`` + ``suffix`` in `folder`, with -2, -3 ... before the suffix where that exists."""
    stem = re.sub(r"[^\w.-]+", "-", stem).strip("-")[:80]
    path, number = folder / f"{stem}{suffix}", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{suffix}"
    return path


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"got {text}; accepted: whole numbers, separated by commas") from None


def _many(option: Option) -> Callable[[str], Any]:
    one = _TYPES.get(option.type, str)

    def convert(text: str) -> Any:
        parts = [one(part.strip()) for part in text.split(",")]
        return parts if len(parts) > 1 else parts[0]

    convert.__name__ = option.type
    return convert
