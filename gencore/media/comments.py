"""The comment of a video file, by the standard library alone: MP4, Matroska and WebM, GIF.

    MP4       boxes (size, type):            moov / udta / meta / ilst / (c)cmt / data    ISO 14496-12, QuickTime
    Matroska  elements (id, size):           Segment / Tags / Tag / SimpleTag             RFC 9559
    GIF       blocks by introducer:          0x21 0xFE, sub-blocks of up to 255 bytes     GIF89a

Only headers are read on the way, so a long film costs as little as a short one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO

_PATH = (b"moov", b"udta", b"meta", b"ilst", b"\xa9cmt", b"data")
_NEST, _NAME, _STRING = (0x18538067, 0x1254C367, 0x7373, 0x67C8), 0x45A3, 0x4487
_GIF_IMAGE, _GIF_EXTENSION, _GIF_COMMENT, _GIF_END = 0x2C, 0x21, 0xFE, 0x3B


def read_comment(file: IO[bytes]) -> str:
    """The comment in an open file, empty where it has none, is damaged before it, or is of another kind."""
    file.seek(0)
    start = file.read(8)
    size = os.fstat(file.fileno()).st_size
    try:
        if start[4:8] == b"ftyp":
            found = _from_boxes(file, 0, size)
        elif start[:4] == b"\x1a\x45\xdf\xa3":
            found = _from_elements(file, 0, size)
        elif start[:6] in (b"GIF87a", b"GIF89a"):
            found = next(gif_comments(file), b"")
        else:
            return ""
        return (found or b"").decode("utf-8")
    except (IndexError, UnicodeDecodeError):
        return ""


def _from_boxes(file: IO[bytes], at: int, end: int, depth: int = 0) -> bytes | None:
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, kind, body = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if size == 1:
            size, body = int.from_bytes(head[8:16], "big"), at + 16
        stop = min(at + size, end) if size else end
        if stop < body:
            return None
        if kind == _PATH[depth]:
            if kind == b"data":
                file.seek(body + 8)
                return file.read(max(0, stop - body - 8))
            if (found := _from_boxes(file, body + 4 * (kind == b"meta"), stop, depth + 1)) is not None:
                return found
        at = stop
    return None


def _from_elements(file: IO[bytes], at: int, end: int, depth: int = 0) -> bytes | None:
    name = b""
    while at < end:
        file.seek(at)
        kind, length = _number(file, keep=True)
        size, more = _number(file, keep=False)
        body = at + length + more
        # All bits of a size set: unknown, as in a live stream; it then reaches to the end.
        stop = end if size == (1 << 7 * more) - 1 else min(body + size, end)
        if depth < len(_NEST):
            if kind == _NEST[depth] and (found := _from_elements(file, body, stop, depth + 1)) is not None:
                return found
        elif kind == _NAME:
            name = file.read(stop - body)
        elif kind == _STRING and name.upper() == b"COMMENT":
            return file.read(stop - body)
        at = stop
    return None


def _number(file: IO[bytes], keep: bool) -> tuple[int, int]:
    """A number of variable length and its length in bytes; `keep` the marker bit, as identifiers do."""
    first = file.read(1)[0]
    length = 9 - first.bit_length()
    if length > 8:
        raise IndexError("no such number")
    value = first if keep else first & (0xFF >> length)
    return int.from_bytes(bytes([value]) + file.read(length - 1), "big"), length


def gif_comments(file: IO[bytes]) -> Iterator[bytes]:
    """The comments in an open GIF."""
    return (body for kind, body in _gif_blocks(file) if kind == _GIF_COMMENT)


def whole_gif(file: IO[bytes]) -> bool:
    """Whether an open GIF has its end; decoders take a cut one for a shorter one."""
    try:
        return any(kind == _GIF_END for kind, _ in _gif_blocks(file))
    except IndexError:
        return False


def _gif_blocks(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """What each block is, and what a comment says.  IndexError: the file is cut."""
    file.seek(0)
    _table(file, file.read(13)[10])
    while (kind := file.read(1)[0]) in (_GIF_IMAGE, _GIF_EXTENSION):
        if kind == _GIF_IMAGE:
            _table(file, file.read(9)[8])
            file.read(1)
        else:
            kind = file.read(1)[0]
        body = b""
        while (size := file.read(1)[0]) > 0:
            part = file.read(size)
            body += part if kind == _GIF_COMMENT else b""
        yield kind, body
    yield kind, b""


def embed_gif(gif: bytes, comment: str) -> bytes:
    """`gif` with `comment` after its header.

    >>> import io
    >>> blank = b"GIF89a" + bytes(7) + b";"
    >>> next(gif_comments(io.BytesIO(embed_gif(blank, "a" * 300)))).decode() == "a" * 300
    True
    """
    body = comment.encode()
    parts = [body[i : i + 255] for i in range(0, len(body), 255)]
    block = b"".join(bytes([len(part)]) + part for part in parts)
    end = 13 + (3 << (gif[10] & 7) + 1 if gif[10] & 0x80 else 0)
    return gif[:end] + bytes([_GIF_EXTENSION, _GIF_COMMENT]) + block + b"\0" + gif[end:]


def _table(file: IO[bytes], flags: int) -> None:
    if flags & 0x80:
        file.read(3 << (flags & 7) + 1)
