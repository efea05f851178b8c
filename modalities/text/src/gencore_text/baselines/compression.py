"""General compressors as language models: bits a character of what they make of a text."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable

from gencore.errors import InputError


def _xz(content: bytes) -> bytes:
    # Raw LZMA2: no header or check sum, which would count against a short text.
    return lzma.compress(
        content, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    )


_COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {"xz": _xz, "bz2": lambda content: bz2.compress(content, 9)}


def compressed_bits(text: str, compressor: str = "xz", *, after: str = "") -> float:
    """Bits a character of `text` under "xz" or "bz2".

    Args:
        after: text the compressor has seen before; its own size is taken off.  Only "xz" looks back far enough
            (64 MiB) to profit.

    Raises:
        InputError: no text, or another compressor.

    >>> compressed_bits("ab" * 500) < 0.5
    True
    """
    if compressor not in _COMPRESSORS:
        raise InputError("compressor", compressor, ", ".join(_COMPRESSORS))
    if not text:
        raise InputError("text", "nothing", "at least one character")
    squeeze = _COMPRESSORS[compressor]
    size = len(squeeze((after + text).encode())) - (len(squeeze(after.encode())) if after else 0)
    return 8 * size / len(text)
