"""Guidance and given cells act as they are declared."""

from __future__ import annotations

import torch
from torch import Tensor

from gencore.condition import null_of
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.known import MODES
from gencore.noise import Keyed
from gencore.request import request
from gencore.run import stream
from gencore.testing.conformance.subject import SEED, STEPS, Subject
from gencore.testing.failures import CheckFailed, Skipped, require


def guidance_one_is_one_conditional_call(subject: Subject) -> None:
    """Scale 1 means the model as trained: the same bits as a conditional call, at one network call a query."""
    pipe = subject.pipe
    *_, guided = subject.stream(guidance=1.0)
    asked = request(pipe, **{**subject.words(), "seed": SEED, "steps": STEPS})
    noise = Keyed(asked.seeds)
    plain = Denoiser(pipe.backbone, pipe.process, asked.conditions, transforms=asked.transforms, noise=noise)
    *_, last = stream(plain, asked.sampler, asked.spec, asked.times, noise, dtype=pipe.dtype)
    require(torch.equal(last.x, guided.step.x), "guidance 1 gives other samples than a single conditional call")
    assert guided.output is not None
    calls = int(guided.output.timing["calls"])
    require(calls == plain.calls, f"guidance 1 takes {calls} network calls, a conditional run {plain.calls}")


def nulls_are_declared_for_what_is_guided(subject: Subject) -> None:
    """Guidance and dropout replace a condition by its null; a port without one cannot be guided, and a network that is
    guided by default must have learned one for every port.  Where none is declared, guidance is refused by name."""
    pipe = subject.pipe
    _, conditions = pipe.conditioner({k: v for k, v in subject.words().items() if k != "n"}, 2)
    without = []
    for name, port in pipe.backbone.ports.items():
        try:
            null_of(name, conditions[name], port)
        except InputError:
            without.append(name)
        except RuntimeError as fault:
            raise CheckFailed(f"the null of port '{name}' does not fit its values: {fault}") from fault
    guided = pipe.defaults.guidance is not None
    require(not (guided and without), f"guided by default, but {', '.join(without)} has no null")
    try:
        subject.generate(guidance=2.0)
    except InputError as fault:
        require(without, f"every port has a null, but guidance 2 is refused: {fault}")
    else:
        require(not without, f"guidance 2 runs although {', '.join(without)} has no null")


def words_are_optional_or_asked_for(subject: Subject) -> None:
    """Saying nothing either means the learned null or is refused with the word that is missing; it never picks a
    condition in silence that then cannot be told from a wish."""
    pipe = subject.pipe
    try:
        said, made = pipe.conditioner({}, 2)
    except InputError as fault:
        require(any(word in str(fault) for word in pipe.conditioner.words), f"the refusal names no word: {fault}")
        return
    require(said == 2, f"2 samples are asked for without words, {said} are made")
    for name, condition in made.items():
        try:
            null = null_of(name, condition, pipe.backbone.ports[name])
        except InputError as fault:
            raise CheckFailed(f"without words port '{name}' gets a value, and no null is declared") from fault
        require(torch.equal(null, condition.value), f"without words port '{name}' gets something else than its null")


def _given(subject: Subject) -> tuple[Tensor, Tensor]:
    """Data and a mask that gives half of them."""
    if not subject.takes_known:
        raise Skipped("the manifest declares no options 'known' and 'mask'")
    return subject.data(1), subject.half()


def given_cells_come_back_bit_for_bit(subject: Subject) -> None:
    """In-painting, prefixes, prompts and history are one promise: what is given comes back as it was, with every
    sampler the modality offers and every way to tell the network; data too, where the tokenizer is exact."""
    pipe, (data, mask) = subject.pipe, _given(subject)
    known = pipe.modality.known(data, pipe)
    value = pipe.tokenizer.encode(known).value
    free = pipe.tokenizer.mask(pipe.modality.mask(mask, pipe)).expand(value.shape)
    finer = bool(pipe.tokenizer.spec().time_axes) and bool(pipe.backbone.time_axes)
    samplers = {"the default": None, **subject.samplers()}
    for name, sampler in samplers.items():
        for mode in MODES if finer else MODES[:2]:
            try:
                # One sample and one call a query are enough to tell samplers apart.
                few = {} if sampler is None else {**subject.words(1), "guidance": 1.0}
                *_, last = subject.stream(known=data, mask=mask, known_mode=mode, sampler=sampler, **few)
            except InputError as fault:
                require(sampler is not None, f"the default sampler refuses given cells: {fault}")
                continue
            where = f"with sampler {name}, known mode {mode}"
            for x in last.step.x:
                changed = int((x[~free[0]] != value[0][~free[0]]).sum())
                require(not changed, f"{changed} given cells of the latent change {where}")
            assert last.output is not None
            made = last.output.tensor
            # Data without channels, such as tokens, have the mask's grid right after the batch.
            area = mask if made.ndim == mask.ndim else mask[:, 0]
            if pipe.tokenizer.facts.exact and made.shape[-len(subject.grid()) :] == subject.grid():
                same = torch.where(area, True, made == known)
                require(bool(same.all()), f"given data change {where}")


def true_in_a_mask_means_generate(subject: Subject) -> None:
    """One polarity everywhere: True (white) is made anew and False (black) is kept.  A mask of True alone is a run
    without given cells; of False alone, a copy of them."""
    data, mask = _given(subject)
    free = subject.generate().tensor
    *_, every = subject.stream(known=data, mask=torch.ones_like(mask))
    assert every.output is not None
    gap = (every.output.tensor - free).abs().max().item()
    require(gap <= 1e-5 * max(1.0, free.abs().max().item()), f"an all-True mask changes samples by {gap:.2g}")
    *_, none = subject.stream(known=data, mask=torch.zeros_like(mask))
    value = subject.pipe.tokenizer.encode(subject.pipe.modality.known(data, subject.pipe)).value
    require(bool((none.step.x == value).all()), "an all-False mask does not give the known data back")


CHECKS = (
    guidance_one_is_one_conditional_call, nulls_are_declared_for_what_is_guided, words_are_optional_or_asked_for,
    given_cells_come_back_bit_for_bit, true_in_a_mask_means_generate,
)  # fmt: skip
