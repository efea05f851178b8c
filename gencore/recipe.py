"""A recipe: how a file was made, as a plain JSON dict that travels with the file.

It holds the model hash, versions, conditions, content hashes of inputs, seeds, sampler and interceptors; no clock
time and no absolute path, so equal runs give equal bytes.  It lives in a PNG text chunk, in the metadata of a
safetensors header under `KEY`, in the comment of an MP4, WebM, Matroska or GIF file, or in ``<file>.recipe.json``
beside any other file.  Reading needs the standard library only.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gencore.errors import InputError
from gencore.media.comments import read_comment
from gencore.media.files import atomic_write

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

Recipe = dict[str, Any]
KEY = "gencore-recipe"
"""The PNG text keyword and the safetensors metadata key."""

_PNG = b"\x89PNG\r\n\x1a\n"


def dumps(recipe: Recipe) -> str:
    """`recipe` as canonical ASCII JSON on one line: sorted keys, no spaces, floats in their shortest exact form.

    Raises:
        InputError: something in it is not plain JSON (a tensor, a path, NaN, a key that is no text).
    """
    try:
        text = json.dumps(recipe, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as fault:
        raise InputError("recipe", fault, "text, finite numbers, true, false, null, lists and dicts of them") from None
    if json.loads(text) != _listed(recipe):
        raise InputError("recipe", "a key that is not text", "text keys")
    return text


def content_hash(content: bytes | str | os.PathLike[str] | Tensor | ndarray) -> str:
    """``blake2b:`` and 32 hexadecimal digits of what `content` holds.

    A path (str is a path) hashes the bytes of the file; a tensor or array hashes dtype, shape and values, alike on
    every device and in torch and numpy.

    >>> content_hash(b"abc")
    'blake2b:cf4ab791c62b8d2b2109c90275287816'

    Raises:
        InputError: the file cannot be read.
    """
    digest = blake2b(digest_size=16)
    if isinstance(content, bytes):
        digest.update(content)
    elif isinstance(content, str | os.PathLike):
        try:
            with open(content, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as fault:
            raise InputError("file", f"{content} ({fault.strerror})", "a readable file") from None
    else:
        dtype, shape, data = _raw(content)
        digest.update(f"{dtype}{list(shape)}".encode())
        digest.update(data)
    return f"blake2b:{digest.hexdigest()}"


def model_hash(state: Mapping[str, Tensor]) -> str:
    """One hash over the names and contents of a state dict, whatever the order of its entries."""
    lines = (f"{name} {content_hash(state[name])}\n" for name in sorted(state))
    return content_hash("".join(lines).encode())


def embed_png(png: bytes, recipe: Recipe) -> bytes:
    """`png` with `recipe` in a tEXt chunk after its header, replacing one that is there; pixels are untouched.

    Raises:
        InputError: `png` is no complete PNG file, or `recipe` is not plain JSON.
    """
    body = KEY.encode() + b"\0" + dumps(recipe).encode("ascii")
    out = [_PNG]
    for kind, data in _chunks(png, "png"):
        if not _is_recipe(kind, data):
            out.append(_chunk(kind, data))
        if kind == b"IHDR":
            out.append(_chunk(b"tEXt", body))
    return b"".join(out)


def comment_of(recipe: Recipe) -> str:
    """The comment of a media file that carries `recipe`.

    Raises:
        InputError: `recipe` is not plain JSON.

    >>> comment_of({"gencore": 1})
    'gencore-recipe:{"gencore":1}'
    """
    return f"{KEY}:{dumps(recipe)}"


def sidecar(path: str | os.PathLike[str]) -> Path:
    """Where the recipe of `path` lives when its format has no room for one."""
    path = Path(path)
    return path.with_name(path.name + ".recipe.json")


def write_sidecar(path: str | os.PathLike[str], recipe: Recipe, force: bool = False) -> None:
    """Write `recipe` beside `path`.

    Raises:
        InputError: the sidecar exists and `force` is false, or cannot be written.
    """
    with atomic_write(sidecar(path), "w", force) as file:
        file.write(dumps(recipe) + "\n")


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """The recipe inside `path`, or else of its sidecar; `path` may be a ``.recipe.json`` itself, or a folder with one.

    Raises:
        InputError: no such file, a damaged file, or a file without a recipe.
    """
    path = Path(path)
    try:
        text = "" if path.is_dir() and sidecar(path).is_file() else _inside(path)
        if not text and sidecar(path).is_file():
            text = sidecar(path).read_text("utf-8")
    except UnicodeDecodeError:
        raise InputError("file", f"{path} (recipe is not UTF-8)", "a recipe as gencore writes it") from None
    except OSError as fault:
        raise InputError("file", f"{path} ({fault.strerror})", "a file gencore wrote") from None
    if not text:
        raise InputError("file", f"{path} (holds no recipe)", f"a file gencore wrote, or one with {sidecar(path).name}")
    try:
        recipe = json.loads(text)
    except ValueError:
        recipe = None
    if not isinstance(recipe, dict):
        raise InputError("file", f"{path} (its recipe is no JSON object)", "a recipe as gencore writes it")
    return recipe


def _inside(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(8)
        if start == _PNG:
            return _from_png(start + file.read(), str(path))
        if path.suffix == ".safetensors":
            return _from_safetensors(start, file, str(path))
        if path.name.endswith(".recipe.json"):
            return path.read_text("utf-8")
        key, _, text = read_comment(file).partition(":")
        return text if key == KEY else ""


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _raw(array: Tensor | ndarray) -> tuple[str, tuple[int, ...], bytes | memoryview]:
    import numpy as np

    shape = tuple(array.shape)
    if isinstance(array, np.ndarray):
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        return array.dtype.name, shape, np.ascontiguousarray(little).reshape(-1).view(np.uint8).data
    import torch

    flat = array.detach().cpu().contiguous().reshape(-1)
    return str(array.dtype).removeprefix("torch."), shape, flat.view(torch.uint8).numpy().data


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(png: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    if png[:8] != _PNG:
        raise InputError("file", f"{name} (no PNG signature)", "a PNG file")
    at, kind = 8, b""
    while kind != b"IEND":
        if at + 12 > len(png):
            raise InputError("file", f"{name} (truncated)", "a complete PNG file")
        (size,) = struct.unpack_from(">I", png, at)
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        at += 12 + size
        if at > len(png):
            raise InputError("file", f"{name} (truncated)", "a complete PNG file")
        if png[at - 4 : at] != struct.pack(">I", zlib.crc32(kind + data)):
            raise InputError("file", f"{name} (damaged: checksum of {kind!r} differs)", "an undamaged PNG file")
        yield kind, data


def _is_recipe(kind: bytes, data: bytes) -> bool:
    return kind == b"tEXt" and data.startswith(KEY.encode() + b"\0")


def _from_png(png: bytes, name: str) -> str:
    found = (data for kind, data in _chunks(png, name) if _is_recipe(kind, data))
    return next(found, b"").partition(b"\0")[2].decode("latin-1")


def _from_safetensors(start: bytes, file: Any, name: str) -> str:
    size = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
    if not 0 < size <= os.fstat(file.fileno()).st_size - 8:
        raise InputError("file", f"{name} (truncated)", "a complete .safetensors file")
    try:
        return json.loads(file.read(size)).get("__metadata__", {}).get(KEY, "")
    except (ValueError, AttributeError):
        raise InputError("file", f"{name} (damaged header)", "a .safetensors file") from None
