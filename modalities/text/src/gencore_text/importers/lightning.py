"""Lightning checkpoints of MDLM and EDLM: their weights, their nameless average, their options.

Such a file also pickles the objects of its training (an OmegaConf configuration, a tokenizer).  Nothing of them is
run and no library of theirs is needed: the restricted reader of ``torch.load(weights_only=True)`` puts inert stand-ins
in the place of a few named libraries' classes and refuses everything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gencore.errors import CheckpointError
from gencore.weights.files import read_checkpoint
from gencore_text.importers.layout import in_module_order, split_roots

_LIBRARIES = ("omegaconf", "antlr4", "transformers", "tokenizers", "lightning", "pytorch_lightning", "torchmetrics",
              "typing")  # fmt: skip
_BUILTINS = ("dict", "list", "tuple", "set", "int", "float", "str", "bool", "bytes", "complex", "object")


class StandIn:
    """In the place of a pickled object: it keeps the object's state and does nothing."""

    def __new__(cls, *arguments: Any, **named: Any) -> StandIn:
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read_training_file(path: str | Path) -> dict[str, Any]:
    """The dict inside `path`, as `read_checkpoint` gives it, with stand-ins for the objects of known libraries.

    Raises:
        CheckpointError: damaged, no checkpoint, or a pickle that asks for code of any other kind.
    """
    try:
        return read_checkpoint(path)
    except CheckpointError as refused:
        try:
            asked = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except (RuntimeError, ValueError, OSError, EOFError, LookupError):
            raise refused from None
        if not asked or not all(_inert(name) for name in asked):
            raise
    with torch.serialization.safe_globals([(StandIn, name) for name in asked]):
        return read_checkpoint(path)


def _inert(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    return module.partition(".")[0] in _LIBRARIES or (
        module in ("builtins", "__builtin__", "") and attribute in _BUILTINS
    )


def options(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a file's training configuration by dotted names, ``{"model.n_heads": 12, ...}``."""
    stored = _plain(checkpoint.get("hyper_parameters", {}))
    config = stored.get("config", stored) if isinstance(stored, dict) else {}
    return dict(_flat("", config)) if isinstance(config, dict) else {}


def _plain(value: Any) -> Any:
    if isinstance(value, StandIn):
        state = value.state if isinstance(value.state, dict) else {}
        return _plain(state.get("_content", state.get("_val")))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _flat(prefix: str, config: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{key}.", value)
        elif isinstance(value, bool | int | float | str):
            yield f"{prefix}{key}", value


def averaged(checkpoint: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The exponential moving average of a file, named: only what it covers.

    A file stores it as ``ema = {"decay", "num_updates", "shadow_params": [tensor, ...]}`` without names, in the order
    of ``backbone.parameters()`` and then ``noise.parameters()``, of those that were being trained.

    Args:
        state: the file's raw weights under their own names.

    Raises:
        CheckpointError: the list fits no set of parameters in this order.
    """
    ema = checkpoint.get("ema")
    shadow = ema.get("shadow_params") if isinstance(ema, Mapping) else None
    if not isinstance(shadow, Sequence) or not all(isinstance(value, Tensor) for value in shadow):
        raise CheckpointError("ema", "no list of averaged tensors in this file", "ema.shadow_params", "--weights raw")
    roots, _ = split_roots(name for name in state if name.startswith("backbone."))
    noise = [name for name in state if name.startswith("noise.")]
    own = {root: [root + name for name in in_module_order(names)] for root, names in roots.items()}
    whole = [name for names in own.values() for name in names]
    stored = [name for name in state if name in set(whole)]
    # A frozen network is not averaged: EDLM trains the energy alone.
    for names in (whole, stored, *own.values()):
        for order in (names, [*names, *noise]):
            if [state[name].shape for name in order] == [value.shape for value in shadow]:
                return dict(zip(order, shadow, strict=True))
    raise CheckpointError("ema", f"{len(shadow)} averaged tensors for {len(whole)} parameters", "one each, in order",
                          "--weights raw")  # fmt: skip


def stripped(state: Mapping[str, Tensor], warn: Callable[[str], None]) -> dict[str, Tensor]:
    """`state` without what compilers and wrappers put into its names."""
    found = {re.sub(r"(?:^module\.|_orig_mod\.)", "", name): tensor for name, tensor in state.items()}
    if found.keys() != state.keys():
        warn("names of a compiled or wrapped network: module. and _orig_mod. removed")
    return found
