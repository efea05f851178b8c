"""Where trained models lie and what their folders say of themselves.  Standard library only.

A model folder holds `CONFIG` (everything but weights, as JSON), `WEIGHTS`, and `TOKENIZER` where the tokenizer has
weights of its own.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gencore import plugins
from gencore.errors import CheckpointError, InputError

FORMAT = 1
CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.safetensors"
RUN_MODEL = "model"
"""The folder of the model within a training run's."""
PARTS = ("tokenizer", "conditioner", "backbone", "process")


def find_model(name: str, model: str | Path | None = None) -> tuple[Path, str]:
    """The folder of a model, and its origin for recipes; a hub id is downloaded once.

    Args:
        name: the modality.
        model: a folder (of a model, or of the run that trains it), a hub id ``owner/name``, or None for the packaged
            default.
    """
    if model is None:
        return packaged_default(name), f"packaged:{name}"
    if Path(model).is_dir():
        inside = Path(model) / RUN_MODEL
        return inside if (inside / WEIGHTS).is_file() and not (Path(model) / WEIGHTS).exists() else Path(model), ""
    text = str(model)
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        from gencore.weights.hub import download

        return download(text), text
    raise InputError("model", text, "a folder, or a hub id owner/name")


def packaged_default(name: str) -> Path:
    """The folder of a modality's packaged default.

    Raises:
        InputError: no such modality, or it packages no default.
    """
    offers = plugins.provided("modality")
    if name not in offers:
        plugins.resolve("modality", name)
    manifest = offers[name].manifest
    if manifest is None or not manifest.default:
        raise InputError("model", "nothing", "a folder or hub id: this modality packages no default")
    package, _, inside = manifest.default.partition(":")
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise InputError("model", f"the default of '{name}' in '{package}'", "an installed package", "gencore doctor")
    return Path(next(iter(found.submodule_search_locations))) / inside


def read_config(folder: Path) -> dict[str, Any]:
    """The checked `CONFIG` of a model folder.

    Raises:
        CheckpointError: missing, not JSON, of another format, with unknown or missing keys, or values of other types.
    """
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as fault:
        why = getattr(fault, "strerror", None) or f"{CONFIG} is no JSON"
        raise CheckpointError("model", f"{folder} ({why})", f"a folder with {CONFIG} and {WEIGHTS}") from fault
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError("model", folder / CONFIG, f"format {FORMAT}", "gencore convert makes one")
    wanted = {"format", "modality", "defaults", "card", *PARTS}
    if wrong := sorted(set(config) ^ wanted):
        given = f"{folder / CONFIG} with {', '.join(wrong)} unknown or missing"
        raise CheckpointError("model", given, f"just {', '.join(sorted(wanted))}")
    for key in (*PARTS, "defaults", "card", "modality"):
        kind = str if key == "modality" else dict
        if not isinstance(config[key], kind) or (key in PARTS and not isinstance(config[key].get("type"), str)):
            accepted = "a name" if key == "modality" else "settings, a part's with the name of its type"
            raise CheckpointError("model", f"{folder / CONFIG} with {key} = {str(config[key])[:60]}", accepted)
    return config
