"""What a new modality may be called: a normalised name (PEP 503) that is free here and reads as one in Python."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec

from gencore.errors import InputError
from gencore.first_party import PLUGINS
from gencore.plugins import discover
from gencore.scaffold import module_name

LONGEST = 30


def check_name(name: str) -> str:
    """`name` if a package may be called so.

    Raises:
        InputError: not normalised, taken, or a word of Python; the hint is one that is free.
    """
    if len(name) > LONGEST or not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        rule = f"lower-case letters and digits, words joined by '-', a letter first, at most {LONGEST}"
        raise InputError("name", repr(name), rule, _suggestion(name))
    if name.startswith("gencore-") or name == "gencore":
        raise InputError("name", repr(name), "a name without 'gencore', which the distribution gets", _suggestion(name))
    if reason := _taken(name):
        raise InputError("name", f"'{name}', {reason}", "a name that is free", _suggestion(name))
    return name


def _taken(name: str) -> str:
    """Why `name` cannot be used, or the empty string."""
    word = name.replace("-", "_")
    if keyword.iskeyword(word) or keyword.issoftkeyword(word):
        return "a keyword of Python"
    if word in sys.stdlib_module_names:
        return "a module of the standard library"
    if plugin := next((plugin for plugin in discover() if plugin.name == name), None):
        return f"which {plugin.distribution} {plugin.version} has here"
    if name in PLUGINS:
        return f"which {PLUGINS[name]} has"
    try:
        return f"whose distribution gencore-{name} {metadata.version(f'gencore-{name}')} is installed"
    except metadata.PackageNotFoundError:
        pass
    return f"whose module {module_name(name)} can be imported already" if find_spec(module_name(name)) else ""


def _suggestion(name: str) -> str:
    """A command with a free name like `name`."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-").removeprefix("gencore").strip("-")
    return "gencore new " + next(word for word in _like(plain) if not _taken(word))


def _like(plain: str) -> Iterator[str]:
    if plain[:1].isalpha() and len(plain) <= LONGEST:
        yield plain
    base = f"my-{plain}"[: LONGEST - 4].rstrip("-") if plain else "my-data"
    yield base
    number = 2
    while True:
        yield f"{base}-{number}"
        number += 1
