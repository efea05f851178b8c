"""Pipelines from model folders, packaged defaults and hub ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gencore import components
from gencore.backbone import Backbone
from gencore.errors import CheckpointError, InputError
from gencore.models import CONFIG, PARTS, TOKENIZER, WEIGHTS, find_model, read_config
from gencore.nn.init import seeded
from gencore.pipeline import Defaults, Pipeline
from gencore.weights.files import read_tensors, require_finite


def load(name: str, model: str | Path | None = None, device: str = "auto", dtype: str = "auto",
         compile: bool = False) -> Pipeline:  # fmt: skip
    """The pipeline of a modality.

    Args:
        name: the modality.
        model: a folder, a hub id ``owner/name``, or None for the packaged default.
        device, dtype: see `Pipeline.to`.
        compile: compile the network (the first call then takes long).

    Raises:
        InputError: an unknown modality, a model of another modality, or a default that is not packaged.
        CheckpointError: files that do not fit.
    """
    folder, origin = find_model(name, model)
    pipe = load_folder(folder, origin=origin)
    if pipe.modality.name != name:
        raise InputError("model", f"{model}, a model of '{pipe.modality.name}'", f"a model of '{name}'")
    pipe.to(device, dtype)
    return pipe.compile() if compile else pipe


def load_folder(folder: str | Path, *, origin: str = "") -> Pipeline:
    """The pipeline in a folder.

    Raises:
        CheckpointError: files missing or damaged, names or shapes that do not fit, weights that are not finite.
    """
    folder = Path(folder)
    pipe = untrained(read_config(folder), origin=origin)
    load_strict(pipe.backbone, read_tensors(folder / WEIGHTS)[0])
    if (folder / TOKENIZER).exists():
        pipe.tokenizer.load(read_tensors(folder / TOKENIZER)[0])
    return pipe


def untrained(config: Mapping[str, Any], *, origin: str = "") -> Pipeline:
    """The pipeline that `Pipeline.config` described, with fresh weights.

    Raises:
        CheckpointError: a part that cannot be built from what the configuration says.
    """
    try:
        with seeded(0):
            parts = {kind: components.build(kind, config[kind]) for kind in PARTS}
        defaults = Defaults(**config["defaults"])
    except (KeyError, TypeError, AttributeError) as fault:
        raise CheckpointError("model", f"{CONFIG} ({fault})", "a complete configuration") from fault
    return Pipeline(modality=config["modality"], defaults=defaults, card=config["card"], origin=origin, **parts)


def load_strict(net: Backbone, tensors: Mapping[str, Tensor]) -> None:
    """Load `tensors` into `net`: every name and shape must fit and every value be finite.

    Raises:
        CheckpointError: otherwise, naming the first that do not.
    """
    wanted = net.state_dict()
    faults = {
        "missing": sorted(set(wanted) - set(tensors)),
        "unexpected": sorted(set(tensors) - set(wanted)),
        "wrong shape": [k for k in wanted if k in tensors and wanted[k].shape != tensors[k].shape],
    }
    said = [f"{what} {', '.join(names[:3])}{' ...' * (len(names) > 3)}" for what, names in faults.items() if names]
    if said:
        raise CheckpointError("checkpoint", "; ".join(said), "the names and shapes of this architecture")
    require_finite(tensors)
    net.load_state_dict({k: v.to(wanted[k].dtype) for k, v in tensors.items()})
