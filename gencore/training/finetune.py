"""Training on from a trained model: what is kept, what is new, and sensible settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gencore import components, plugins
from gencore.conditioners.label import Labels
from gencore.errors import InputError
from gencore.nn.init import seeded
from gencore.objective import Objective
from gencore.objectives.denoising import Denoising
from gencore.objectives.flow import FlowMatching
from gencore.pipeline import Pipeline
from gencore.process import GaussianProcess
from gencore.processes.tables import TableProcess
from gencore.training.preset import Training

PORT = "label"


def fine_tuning(pipe: Pipeline, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """A run that trains `pipe` on, with the objective its process and prediction were made for.

    2,000 steps of 64 items at 1e-4 with a short warm-up, unless told otherwise.
    """
    droppable = all(port.null is not None for port in pipe.backbone.ports.values())
    return Training(
        pipeline=pipe, objective=_objective(pipe), steps=steps or 2_000, batch=batch or 64, seed=seed, lr=1e-4,
        warmup=100, ema=0.999, drop=0.1 if droppable else 0.0, clip=1.0,
    )  # fmt: skip


def adapted(pipe: Pipeline, classes: Sequence[str], seed: int = 0) -> tuple[Pipeline, str]:
    """`pipe` for data with these classes, and what was kept: a label table of other classes starts anew.

    Args:
        classes: names of the data's labels; empty where it has none.
        seed: of what is new.

    Raises:
        InputError: labelled data for a model without labels, or the other way round.
    """
    labels, old = pipe.conditioner, pipe.backbone.state_dict()
    if bool(classes) != isinstance(labels, Labels):
        given, wanted = ("labels", "none") if classes else ("no labels", "labels: one sub-folder a class")
        raise InputError("data", given, f"{wanted}, as the model was trained")
    if not isinstance(labels, Labels) or _names(labels) == list(classes):
        return pipe, f"{len(_groups(old))} of {len(_groups(old))} tensor groups reused; 0 silent"
    config = components.describe("backbone", pipe.backbone)
    port = config.get("ports", {}).get(PORT)
    if port is None:
        raise InputError("model", "a network without a label port", "one whose ports hold 'label'")
    with seeded(seed):
        ports = {**config["ports"], PORT: {**port, "classes": len(classes)}}
        net = components.build("backbone", {**config, "ports": ports})
    new = net.state_dict()
    kept = {k: old[k] for k, v in new.items() if k in old and old[k].shape == v.shape and f".{PORT}." not in f".{k}"}
    net.load_state_dict({**new, **kept})
    numbered = list(classes) == [str(i) for i in range(len(classes))]
    conditioner = Labels(len(classes), None if numbered else classes, null=labels.null)
    fresh = Pipeline(modality=pipe.modality, tokenizer=pipe.tokenizer, conditioner=conditioner, backbone=net,
                     process=pipe.process, defaults=pipe.defaults, card=pipe.card)  # fmt: skip
    groups, reused = _groups(new), _groups(kept) - _groups(new.keys() - kept.keys())
    return fresh, (f"{len(reused)} of {len(groups)} tensor groups reused; label table new: {len(classes)} classes "
                   f"(was {labels.classes}); 0 silent")  # fmt: skip


def _objective(pipe: Pipeline) -> Objective:
    """What the model was trained with, where its card says so, else the usual one of its process."""
    prediction, process = pipe.backbone.prediction, pipe.process
    training = pipe.card.get("training")
    settings = dict(training.get("objective", {})) if isinstance(training, Mapping) else {}
    if name := settings.pop("type", ""):
        return plugins.resolve("objective", name).from_config(settings, process)  # type: ignore[attr-defined]
    if isinstance(process, TableProcess):
        learned = getattr(prediction, "extra", None) == "learned_range"
        return Denoising(process, variance="learned_range" if learned else "fixed_large")
    if not isinstance(process, GaussianProcess):
        raise InputError("model", f"a {process.kind} process and a card without its objective", "a card that names it")
    return FlowMatching(process, times="logit_normal")


def _names(labels: Labels) -> list[str]:
    return labels.names or [str(i) for i in range(labels.classes)]


def _groups(names: object) -> set[str]:
    """Modules by the first two parts of their tensors' names."""
    return {".".join(name.split(".")[:2]) for name in names}  # type: ignore[attr-defined]
