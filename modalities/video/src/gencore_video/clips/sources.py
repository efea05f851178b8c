"""Where clips lie: a file, a folder, a list of files, or tar shards in the WebDataset layout.  Only names are read."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from gencore.errors import InputError
from gencore_video.io.stills import PICTURES, natural

VIDEOS = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".ogv", ".flv", ".wmv", ".ts"}
SPLITS = {False: ("train", "training"), True: ("test", "val", "validation", "held-out")}


@dataclass(frozen=True)
class File:
    """A video file, or a folder of frames.

    Args:
        name: for messages.
        path: of the file, or of the shard it lies in.
        offset, size: bytes of the shard; a size of None is the whole file.
    """

    name: str
    path: Path
    offset: int = 0
    size: int | None = None

    def open(self) -> Path | BytesIO:
        """What `gencore_video.io.reading` takes.

        Raises:
            OSError: the shard cannot be read.
        """
        if self.size is None:
            return self.path
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return BytesIO(file.read(self.size))


def find_clips(path: Path, held_out: bool = False) -> tuple[str, list[File]]:
    """What `path` is, for people, and its clips in a fixed order.

    Args:
        path: a video; a folder with videos, folders of frames (``clip/000.png``) or .tar shards, at any depth; a
            .txt with one path a line, relative to it; a .tar.
        held_out: of a folder with a part for training and one for testing, which one.

    Raises:
        InputError: nothing there, nothing understood, a list that names absent files, a damaged shard.
    """
    if path.is_dir():
        inside = {child.name: child for child in path.iterdir() if child.is_dir()}
        parts = {part: next((inside[n] for n in names if n in inside), None) for part, names in SPLITS.items()}
        root = parts[held_out] if all(parts.values()) else path
        assert root is not None
        shards = sorted(root.glob("*.tar"), key=natural)
        if shards:
            return _shards(shards)
        files = [File(str(file.relative_to(path)), file) for file in _walk(root)]
        kind = "video folder"
    elif not path.exists():
        raise InputError("data", f"{path} (no such file or folder)", "a folder, list or file of clips")
    elif path.suffix == ".txt":
        files, kind = _listed(path), "list of clips"
    elif path.suffix == ".tar":
        return _shards([path])
    elif path.suffix.lower() in VIDEOS:
        files, kind = [File(path.name, path)], "video"
    else:
        raise InputError("data", path, f"a folder, a .txt list, a .tar, or {', '.join(sorted(VIDEOS))}")
    if not files:
        raise InputError("data", f"{path} (no clips)", "videos, or folders of frames")
    return kind, files


def _walk(folder: Path) -> Iterator[Path]:
    children = sorted((c for c in folder.iterdir() if not c.name.startswith(".")), key=natural)
    if children and all(c.suffix.lower() in PICTURES and c.is_file() for c in children):
        yield folder
        return
    for child in children:
        if child.is_dir():
            yield from _walk(child)
        elif child.suffix.lower() in VIDEOS:
            yield child


def _listed(path: Path) -> list[File]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError("data", f"{path} (no readable text)", "one path a line") from None
    files = []
    for number, line in enumerate(lines, 1):
        if not (name := line.strip()) or name.startswith("#"):
            continue
        file = path.parent / name
        if not file.exists():
            raise InputError("data", f"{path.name} line {number}: {name} (no such file)", f"paths below {path.parent}")
        files.append(File(name, file))
    return files


def _shards(shards: list[Path]) -> tuple[str, list[File]]:
    files = [file for shard in shards for file in _members(shard)]
    if not files:
        raise InputError("data", f"{shards[0]} (no clips)", f"samples with {', '.join(sorted(VIDEOS))}")
    return f"{len(shards)} tar shard{'s' * (len(shards) > 1)}", files


def _members(shard: Path) -> Iterator[File]:
    size = shard.stat().st_size
    try:
        with shard.open("rb") as file:
            file.seek(max(0, size - tarfile.BLOCKSIZE))
            # tarfile itself takes a cut between two members for the end.
            if any(file.read()):
                raise tarfile.ReadError("truncated or no .tar")
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError("truncated")
                if member.isreg() and not member.issparse() and Path(member.name).suffix.lower() in VIDEOS:
                    yield File(f"{shard.name}: {member.name}", shard, member.offset_data, member.size)
    except (tarfile.TarError, OSError) as fault:
        raise InputError("data", f"{shard} ({fault})", "a complete, uncompressed .tar shard") from None
