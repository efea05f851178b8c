"""Training moves the weights, all of them, and may stop at any step."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import torch
from torch import Tensor

from gencore.condition import dropped
from gencore.noise import Keyed
from gencore.objective import Batch
from gencore.testing.conformance.subject import Subject
from gencore.testing.failures import CheckFailed, Skipped, require
from gencore.training.preset import Training


def _loss(training: Training, batch: dict[str, Tensor]) -> Tensor:
    """The loss of a batch, the same on every call: its draws are keyed."""
    pipe, noise = training.pipeline, Keyed(range(1_000_000, 1_000_000 + len(batch["data"])), prefix=("train", 0, 0))
    data = batch["data"] if training.augment is None else training.augment(batch["data"], noise)
    with torch.no_grad():
        latent = pipe.tokenizer.encode(data, noise)
    conditions = dropped(pipe.conditioner.targets(batch), pipe.backbone.ports, training.drop, noise)
    roles = {**training.roles, "model": pipe.backbone}
    return training.objective.loss("main", roles, Batch(latent.value, conditions, latent.valid), noise).total


def one_step_lowers_the_loss(subject: Subject) -> None:
    """The first thing to ask of any training: a small step against the gradient lowers the loss of the same batch, and
    the loss of the same batch is the same number twice."""
    training, batch = subject.training(), subject.batch()
    net = training.pipeline.backbone.train()
    before = _loss(training, batch)
    require(
        before.ndim == 0 and bool(torch.isfinite(before)), f"the loss is {before.detach().tolist()}, no finite number"
    )
    require(torch.equal(_loss(training, batch), before), "the same batch and noise give two losses")
    weights = [p for p in net.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(before, weights, allow_unused=True)
    steep = sum(g.square().sum() for g in gradients if g is not None)
    require(float(steep) > 0, "the loss has no gradient")
    # A step that would lower a straight line by 1 %.
    step = 0.01 * before.detach() / steep
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                weight -= step * gradient
        after = _loss(training, batch)
    require(bool(after < before), f"a step against the gradient moves the loss from {before:.6g} to {after:.6g}")


def every_weight_is_trained(subject: Subject) -> None:
    """A weight without a gradient is an input that is not heard or a layer that is not called; what is meant to stay
    fixed says so with requires_grad."""
    training, batch = subject.training(), subject.batch()
    net = training.pipeline.backbone.train()
    named = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    gradients = torch.autograd.grad(_loss(training, batch), [p for _, p in named], allow_unused=True)
    dead = [name for (name, _), g in zip(named, gradients, strict=True) if g is None]
    require(not dead, f"{len(dead)} weights get no gradient: {', '.join(dead[:4])}")


def resumed_training_equals_the_uninterrupted(subject: Subject) -> None:
    """A run that is stopped and resumed ends with the same weights, bit for bit: everything that training remembers is
    in the checkpoint."""
    if find_spec("lightning") is None:
        raise Skipped("lightning is not installed; pip install gencore[train]")
    from gencore.training.run import fit

    ends = []
    for name, stops in (("straight", (2,)), ("resumed", (1, 2))):
        folder = subject.folder / name
        folder.mkdir()
        for steps in stops:
            training = replace(subject.training(), steps=steps)
            fit(training, subject.items, folder, every=100, device="cpu")
            state = training.pipeline.backbone.state_dict()
        ends.append(state)
    moved = [name for name in ends[0] if not torch.equal(ends[0][name], ends[1][name])]
    require(
        not moved, f"after a stop and a resume {len(moved)} of {len(ends[0])} weights differ: {', '.join(moved[:3])}"
    )
    start = subject.pipe.backbone.state_dict()
    if all(torch.equal(ends[0][name], start[name]) for name in start):
        raise CheckFailed("two steps of training change no weight")


CHECKS = (one_step_lowers_the_loss, every_weight_is_trained, resumed_training_equals_the_uninterrupted)
