"""Weights on disk: safetensors in and out, and foreign pickled checkpoints without running their code."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import pickle
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gencore.errors import CheckpointError
from gencore.media.files import atomic_write

PICKLED = (".pt", ".pth", ".ckpt", ".bin")
PREFIXES = ("module.", "_orig_mod.")
_INDEX = "model.safetensors.index.json"
# Training scripts store their options as a Namespace, often with paths inside; both are plain values.
_PLAIN = [argparse.Namespace, pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePosixPath, pathlib.PureWindowsPath]
_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.complex64: "C64",
}  # fmt: skip


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a .safetensors file, on the CPU, and the text metadata of its header.

    Raises:
        CheckpointError: the file is missing, truncated or no safetensors file.
    """
    path = _existing(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as fault:
        cause = str(fault).removeprefix("Error while deserializing header: ")
        raise CheckpointError("checkpoint", f"{path} ({cause})", "a complete .safetensors file") from None


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The dict inside a checkpoint, on the CPU: .safetensors, or a pickled .pt/.pth/.ckpt/.bin of tensors and values.

    A pickle is read by the restricted reader of ``torch.load(weights_only=True)``, which also accepts an
    ``argparse.Namespace`` (files that hold {model, ema, opt, args}) and never calls what the file asks to call.
    A folder is searched for one checkpoint; a sharded safetensors folder is joined by its index.

    Raises:
        CheckpointError: missing, truncated, no checkpoint, several candidates, or a pickle that wants to run code.
    """
    path = Path(path)
    if path.is_dir():
        shards = _shards(path)
        return {name: tensor for shard in shards for name, tensor in read_checkpoint(shard).items()}
    if path.suffix == ".safetensors":
        return dict(read_tensors(path)[0])
    path = _existing(path)
    if path.suffix not in PICKLED:
        raise CheckpointError("checkpoint", path, f"a .safetensors, {', '.join(PICKLED)} file or a folder with one")
    try:
        with torch.serialization.safe_globals(_PLAIN):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError) as fault:
        raise _refusal(path, str(fault)) from None
    if not isinstance(loaded, Mapping):
        raise CheckpointError("checkpoint", f"{path} (holds a {type(loaded).__name__})", "a dict of tensors")
    return dict(loaded)


def select_state_dict(
    checkpoint: Mapping[str, Any], prefer: Sequence[str] = ("ema", "model", "state_dict")
) -> tuple[dict[str, Tensor], str]:
    """The weights inside a loaded checkpoint, and a text that says which were taken.

    >>> import torch
    >>> state, chosen = select_state_dict({"model": {"module.w": torch.zeros(1)}, "step": 3})
    >>> list(state), chosen
    (['w'], "model (prefix 'module.' removed)")

    Args:
        checkpoint: a bare state dict (chosen is ``""``), or a dict that holds one under a key of `prefer`.
        prefer: the first present key wins.  A prefix that every name shares (data-parallel ``module.``, compiled
            ``_orig_mod.``) is removed and named.

    Raises:
        CheckpointError: no state dict under these names, or one that holds other things than tensors.
    """
    chosen = next((key for key in prefer if isinstance(checkpoint.get(key), Mapping)), "")
    state = dict(checkpoint[chosen] if chosen else checkpoint)
    other = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if not state or other:
        found = f"{', '.join(map(str, list(checkpoint)[:6])) or 'nothing'}"
        given = f"{chosen} with {other[0]} not a tensor" if chosen and other else f"entries {found}"
        raise CheckpointError("checkpoint", given, f"a state dict, or one under {' | '.join(prefer)}")
    removed = ""
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
        removed += prefix
    note = f"prefix '{removed}' removed"
    return state, (f"{chosen} ({note})" if chosen else note) if removed else chosen


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
) -> None:
    """Write a .safetensors file whose bytes depend on nothing but its arguments; complete or not at all.

    The header is written here because the library orders metadata differently in every process, which would give
    equal weights unequal files.  Tensors of any device are copied one at a time; views and tied tensors are stored
    in full.

    Raises:
        InputError: the file exists and `force` is false, or the folder or disk refuses.
        CheckpointError: a tensor of a dtype the format does not have.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in _DTYPES:
            raise CheckpointError("checkpoint", f"{name} of {tensor.dtype}", ", ".join(map(str, _DTYPES)))
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with atomic_write(path, "wb", force) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)


def require_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights with NaN or infinite values.

    Raises:
        CheckpointError: names the first such tensor and counts its bad values.
    """
    for name, tensor in tensors.items():
        if bad := int((~torch.isfinite(tensor)).sum()):
            raise CheckpointError("checkpoint", f"{name} ({bad} of {tensor.numel()} values not finite)", "finite")


def _refusal(path: Path, said: str) -> CheckpointError:
    # PyTorch's own texts run over many lines and advise to switch the protection off.
    if asked := re.search(r"GLOBAL (\S+)", said):
        why, hint = f"asks to run {asked[1]}; refused", "torch.save its state_dict where you trust it"
    elif "TorchScript" in said:
        why, hint = "a TorchScript archive", "torch.save the module's state_dict"
    else:
        with path.open("rb") as file:
            known = file.read(2) in (b"PK", b"\x80\x02")
        why, hint = ("truncated or damaged" if known else "no PyTorch checkpoint"), ""
    return CheckpointError("checkpoint", f"{path} ({why})", "a file of tensors and plain values by torch.save", hint)


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.is_file():
        raise CheckpointError("checkpoint", f"{path} (no such file)", "an existing checkpoint file or folder")
    return path


def _shards(folder: Path) -> list[Path]:
    if (folder / _INDEX).is_file():
        try:
            names = sorted(set(json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError):
            raise CheckpointError("checkpoint", folder / _INDEX, "an index with a weight_map") from None
        if outside := [name for name in names if Path(name).suffix != ".safetensors" or Path(name).name != name]:
            raise CheckpointError("checkpoint", f"{folder / _INDEX} with {outside[0]!r}", ".safetensors beside it")
        return [folder / name for name in names]
    for suffixes in ((".safetensors",), PICKLED):
        found = sorted(file for file in folder.iterdir() if file.suffix in suffixes)
        if len(found) == 1:
            return found
        if found:
            listed = ", ".join(file.name for file in found[:4])
            raise CheckpointError("checkpoint", f"{folder} (holds {listed})", "a folder with one, or the file itself")
    raise CheckpointError("checkpoint", f"{folder} (holds no weights)", f"*.safetensors, *{', *'.join(PICKLED)}")
