"""Writing files so that nothing is overwritten unasked and nothing is left half-written.

A file is written under a temporary name in its own folder and renamed when it is complete; any failure, a full disk
and Ctrl-C included, removes the temporary file and leaves an existing file as it was.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gencore.errors import InputError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def check_output(path: str | os.PathLike[str], force: bool = False) -> Path:
    """`path` as a Path after checking, before any work, that it may be written.

    Raises:
        InputError: the file exists and `force` is false, the path is a folder, or its folder is missing or read-only.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError("output", f"{path} (a folder)", "a file name")
    if not path.parent.is_dir():
        raise InputError("output", path, "a file in an existing folder", f"mkdir -p {path.parent}")
    if path.exists() and not force:
        raise InputError("output", f"{path} (exists)", "a new file name", "--force overwrites it")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError("output", f"{path} (folder not writable)", "a file in a folder you may write to")
    return path


@contextmanager
def atomic_path(path: str | os.PathLike[str], force: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, for a library that opens files by name; renamed on success.

    Raises:
        InputError: as `check_output`, or the disk is full or refuses the write.
    """
    path = check_output(path, force)
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield part
        check_output(path, force)
        os.replace(part, path)
    except OSError as fault:
        part.unlink(missing_ok=True)
        if fault.errno in _DISK or fault.filename in (str(part), part):
            raise InputError("output", f"{path} ({fault.strerror})", "a writable folder with room") from fault
        raise
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb", force: bool = False) -> Iterator[IO[Any]]:
    """An open file that becomes `path` when the block ends without an exception; text is UTF-8 with ``\\n``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(folder + "/note.txt", "w") as file:
    ...         _ = file.write("done")
    ...     open(folder + "/note.txt").read()
    'done'

    Args:
        mode: ``"w"`` or ``"wb"``.
        force: overwrite an existing file.

    Raises:
        InputError: as `atomic_path`.
    """
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    with atomic_path(path, force) as part, open(part, mode, encoding=encoding, newline=newline) as file:
        yield file
