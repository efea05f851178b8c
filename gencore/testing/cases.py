"""Golden cases: numbers recorded from a published implementation, and what an adapter computes to meet them.

A case is a folder ``SLUG/NAME`` with ``meta.json`` (configuration, tolerance, what was called on what),
``io.safetensors`` (inputs and outputs) and, where it is about a network, ``weights.safetensors`` in the official
checkpoint layout.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from gencore.errors import InputError
from gencore.weights.files import read_tensors

META, IO, WEIGHTS = "meta.json", "io.safetensors", "weights.safetensors"


@dataclass(frozen=True)
class Got:
    """What an adapter computed for one case; a plain dict of tensors stands for ``Got(dict)``.

    Args:
        tensors: by their names in ``io.safetensors``.
        inputs: names, or fnmatch patterns, of tensors that were fed in and have nothing to be compared with.
        unused: {name or pattern: why it is neither fed in nor computed}.
        floors: {name or pattern: (tolerance relative to the tensor's max, reason)} where correct float32 code differs
            from one machine to another by more than the case allows; taken where the case's own tolerance does not
            hold or the case states none for it, and always reported.
        facts: {path in ``meta.json``: value} of numbers stated there, compared by ``==``: ``("nfe", "Linear.euler")``.
    """

    tensors: Mapping[str, Tensor]
    inputs: Collection[str] = ()
    unused: Mapping[str, str] = field(default_factory=dict)
    floors: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    facts: Mapping[tuple[str, ...], Any] = field(default_factory=dict)

    def __or__(self, other: Got) -> Got:
        """Both together."""
        return Got({**self.tensors, **other.tensors}, (*self.inputs, *other.inputs), {**self.unused, **other.unused},
                   {**self.floors, **other.floors}, {**self.facts, **other.facts})  # fmt: skip


def read_meta(case: Path) -> dict[str, Any]:
    """The ``meta.json`` of a case folder.

    Raises:
        InputError: absent, or no JSON object.
    """
    try:
        meta = json.loads((case / META).read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise InputError("case", f"{case / META} ({fault})", "a JSON file") from None
    if not isinstance(meta, dict):
        raise InputError("case", case / META, "a JSON object")
    return meta


def read_io(case: Path) -> dict[str, Tensor]:
    """The tensors of a case; empty where it has none.

    Raises:
        CheckpointError: the file is damaged.
    """
    return read_tensors(case / IO)[0] if (case / IO).exists() else {}


def weights_file(case: Path, meta: Mapping[str, Any]) -> Path:
    """The weights a case is about: its own, or those of the sibling that its ``model_case`` names.

    Raises:
        InputError: neither exists.
    """
    for folder in (case, case.parent / str(meta.get("model_case", case.name))):
        if (folder / WEIGHTS).exists():
            return folder / WEIGHTS
    raise InputError("case", f"{case} without {WEIGHTS}", "its own weights, or a model_case beside it that has them")
