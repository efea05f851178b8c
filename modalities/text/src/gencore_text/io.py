"""Text files: one sample as it is, several as pages of one file.

Pages are parted by a line of form feeds, one more than the longest run of them inside any page, so that a file is
always cut where it was joined.  Bytes that are no UTF-8 travel as lone surrogates (PEP 383) and come back unchanged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from gencore.errors import InputError
from gencore.media.files import atomic_write, check_output
from gencore.recipe import Recipe, sidecar, write_sidecar

PAGE = "\f"


def to_bytes(text: str) -> bytes:
    """`text` as UTF-8, lone surrogates as the bytes they stand for.

    >>> to_bytes("a\\udcff")
    b'a\\xff'
    """
    return text.encode("utf-8", "surrogateescape")


def to_text(content: bytes) -> str:
    """What `to_bytes` encoded.

    >>> to_text(b"a\\xff")
    'a\\udcff'
    """
    return content.decode("utf-8", "surrogateescape")


def join(pages: Sequence[str]) -> str:
    """`pages` as one text that `split` cuts again; a single page is the text itself.

    >>> join(["one", "two"])
    'one\\n\\x0c\\ntwo'
    """
    if len(pages) == 1:
        return pages[0]
    longest = max((len(run) for page in pages for run in re.findall(f"{PAGE}+", page)), default=0)
    return f"\n{PAGE * (longest + 1)}\n".join(pages)


def split(text: str, count: int) -> list[str]:
    """The `count` pages of a text that `join` made, or fewer or more where it did not.

    >>> split("one\\n\\x0c\\ntwo", 2)
    ['one', 'two']
    """
    if count == 1:
        return [text]
    longest = max((len(run) for run in re.findall(f"{PAGE}+", text)), default=0)
    return text.split(f"\n{PAGE * longest}\n") if longest else [text]


def read(path: str | os.PathLike[str], field: str = "file") -> str:
    """The text of a file, its line ends untouched.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return to_text(Path(path).read_bytes())
    except OSError as fault:
        raise InputError(field, f"{path} ({fault.strerror})", "a readable text file") from fault


def check(path: Path, force: bool = False) -> None:
    """Refuse, before any work, a `path` whose text or recipe could not be written.

    Raises:
        InputError: as `gencore.media.files.check_output`.
    """
    check_output(path, force)
    check_output(sidecar(path), force)


def write(pages: Sequence[str], path: Path, recipe: Recipe | None, force: bool = False) -> None:
    """Write `pages` to `path` and, unless it is None, `recipe` beside it; both or neither.

    Raises:
        InputError: a file exists and `force` is false, or cannot be written.
    """
    with atomic_write(path, "wb", force) as file:
        file.write(to_bytes(join(pages)))
        if recipe is not None:
            write_sidecar(path, recipe, force)
