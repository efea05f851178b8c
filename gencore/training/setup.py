"""From the options of a run to its `Training` and data, and back to disk, so that resuming needs the folder alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from gencore.backbone import Backbone
from gencore.components import describe
from gencore.data import Data
from gencore.errors import CheckpointError, InputError, unknown
from gencore.loading import load, untrained
from gencore.media.files import atomic_write
from gencore.pipeline import Pipeline
from gencore.plugins import find, plugin_names, provided, resolve
from gencore.training.finetune import adapted, fine_tuning
from gencore.training.preset import Training

SETUP = "config.json"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What was asked of a run; None leaves a value to the preset.

    Args:
        modality: its name.
        preset: a preset's name; of fine-tuning it stays None.
        base: the model to fine-tune: folder or hub id, "" the packaged default, or None.
        data: folder or file.
        size: the data's (H, W), where data and preset leave it open.
        accumulate: micro-batches per step and process.
        gradient_checkpointing: recompute blocks in the backward pass, of networks that offer it.
        every: steps between checkpoints and previews.
        ranks: processes.
        pipeline: `Pipeline.config` of the network fine-tuning started with, so that resuming needs no `base`.
    """

    modality: str
    preset: str | None = None
    base: str | None = None
    data: str | None = None
    size: tuple[int, ...] | None = None
    steps: int | None = None
    batch: int | None = None
    lr: float | None = None
    seed: int = 0
    precision: str | None = None
    accumulate: int = 1
    gradient_checkpointing: bool = False
    compile: bool = False
    workers: int = 0
    every: int = 500
    ranks: int = 1
    tensorboard: bool = False
    pipeline: Mapping[str, Any] | None = None


class Prepared(NamedTuple):
    """A run ready to start: `notes` are for people."""

    training: Training
    data: Data
    notes: list[str]


def prepare(setup: Setup) -> Prepared:
    """Open the data, and build what `setup` describes around it.

    Raises:
        GencoreError: data that cannot be read, an unknown preset, a value out of range, labels that do not fit.
    """
    _check(setup)
    modality = resolve("modality", setup.modality)()
    source = None if setup.data is None else Path(setup.data)
    shape = {} if setup.size is None else {"size": setup.size}
    notes = []
    if setup.base is not None:
        pipe = untrained(setup.pipeline) if setup.pipeline else load(setup.modality, setup.base or None, device="cpu")
        data = modality.dataset(source, pipe)
        if not setup.pipeline:
            pipe, note = adapted(pipe, data.classes, setup.seed)
            notes.append(note)
        training = fine_tuning(pipe, steps=setup.steps, batch=setup.batch, seed=setup.seed)
    else:
        name, plugin = setup.preset or default_preset(setup.modality), provided("modality")[setup.modality]
        # A modality's own preset is meant, whatever other plug-ins call theirs.
        make = resolve("preset", f"{plugin.name}/{name}" if name in plugin_names(plugin, "preset") else name)
        training = make(modality.dataset(source, None, **shape), steps=setup.steps, batch=setup.batch, seed=setup.seed)
        if (owner := training.pipeline.modality.name) != setup.modality:
            raise InputError("--preset", f"{name}, a preset of '{owner}'", f"a preset of '{setup.modality}'")
        data = modality.dataset(source, training.pipeline, **training.data)
    changes = {"lr": setup.lr, "precision": setup.precision}
    training = replace(training, **{name: value for name, value in changes.items() if value is not None})
    classes = getattr(training.pipeline.conditioner, "classes", None)
    if classes is not None and len(data.classes) > classes:
        raise InputError("data", f"{len(data.classes)} classes", f"at most the network's {classes}")
    if setup.gradient_checkpointing:
        _recompute_blocks(training.pipeline.backbone)
    training.pipeline.card = _card(setup, training, data)
    return Prepared(training, data, notes)


def _recompute_blocks(net: Backbone) -> None:
    """Set `net.checkpointing`, which networks that offer it have."""
    if not hasattr(net, "checkpointing"):
        raise InputError("--gradient-checkpointing", f"{type(net).__name__}, which keeps what its blocks compute",
                         "a network with it", "--accumulate 4 takes less memory too")  # fmt: skip
    cast(Any, net).checkpointing = True


def default_preset(modality: str) -> str:
    """The first preset of the plug-in that provides the modality.

    Raises:
        InputError: it has none.
    """
    names = plugin_names(find(provided("modality")[modality].name), "preset")
    if not names:
        raise InputError("--preset", "nothing", "a preset's name, or --from MODEL; gencore list names presets")
    return names[0]


def write_setup(folder: Path, setup: Setup, pipe: Pipeline) -> None:
    """Write `setup` into the run's `folder`, with the network's configuration where it is fine-tuned."""
    if setup.base is not None:
        setup = replace(setup, pipeline=pipe.config())
    with atomic_write(folder / SETUP, "w") as file:
        file.write(json.dumps(asdict(setup), indent=1) + "\n")


def read_setup(folder: Path) -> Setup:
    """What `write_setup` wrote.

    Raises:
        CheckpointError: not the folder of a run, or a damaged one.
    """
    try:
        content = json.loads((folder / SETUP).read_text("utf-8"))
        known = {field.name for field in fields(Setup)}
        if stray := sorted(content.keys() - known):
            raise unknown("run", stray[0], known)
        size = content.get("size")
        return Setup(**{**content, "size": None if size is None else tuple(size)})
    except (OSError, ValueError, TypeError, AttributeError) as fault:
        why = getattr(fault, "strerror", None) or str(fault).splitlines()[0]
        raise CheckpointError("run", f"{folder} ({why})", "the folder of a run, as gencore train -o made it") from None


def _check(setup: Setup) -> None:
    for name in ("steps", "batch", "accumulate", "every", "ranks"):
        value = getattr(setup, name)
        if value is not None and value < 1:
            raise InputError(f"--{name}", value, "1 or more")
    if setup.lr is not None and not 0 < setup.lr < 1e3:
        raise InputError("--lr", setup.lr, "more than 0")
    if setup.workers < 0:
        raise InputError("--workers", setup.workers, "0 or more")
    if setup.precision not in (None, "32", "bf16"):
        raise unknown("--precision", setup.precision, ("32", "bf16"))
    if setup.base is not None and setup.preset is not None:
        raise InputError("--preset", f"{setup.preset} with --from", "one of them: fine-tuning has its own settings")
    if setup.base is not None and setup.size is not None:
        raise InputError("--size", f"{setup.size} with --from", "no size: the model's is taken")


def _objective(training: Training) -> dict[str, Any]:
    try:
        return describe("objective", training.objective)
    except InputError:
        return {}


def _card(setup: Setup, training: Training, data: Data) -> dict[str, Any]:
    card = dict(training.pipeline.card)
    if setup.base is not None:
        card = {"fine-tuned from": Path(setup.base).name or f"packaged:{setup.modality}", "its card": card}
    settings = {"preset": setup.preset or ("" if setup.base is not None else default_preset(setup.modality)),
                "steps": training.steps, "batch": training.batch, "optimizer": training.optimizer,
                "lr": training.lr, "seed": training.seed, "precision": training.precision,
                "objective": _objective(training)}  # fmt: skip
    return {**card, "data": data.describe(), "training": settings}
