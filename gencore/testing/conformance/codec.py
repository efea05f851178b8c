"""The tokenizer keeps its word on shapes and on what comes back."""

from __future__ import annotations

import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.process import AbsorbingProcess
from gencore.testing.conformance.subject import Subject
from gencore.testing.failures import CheckFailed, require


def encode_decode_round_trip(subject: Subject) -> None:
    """What is encoded and decoded is what a user gets back: bit for bit where the tokenizer calls itself exact (given
    data are then copied exactly), else of the same shape and closer to the data than their mean is."""
    tokenizer, data = subject.pipe.tokenizer, subject.data(3)
    with torch.no_grad():
        back = tokenizer.decode(tokenizer.encode(data))
    require(back.shape == data.shape, f"{tuple(data.shape)} data come back as {tuple(back.shape)}")
    require(bool(torch.isfinite(back.float()).all()), "decoded data are not finite")
    if tokenizer.facts.exact:
        changed = int((back != data).sum())
        require(not changed, f"{changed} of {data.numel()} values change, but the tokenizer's facts say exact")
    elif data.is_floating_point() and data.var() > 0:
        share = ((back - data).square().mean() / data.var()).item()
        require(share < 1, f"the round trip loses more ({share:.2g} of the variance) than taking the mean would")


def spec_matches_shapes(subject: Subject) -> None:
    """Samplers, masks and known regions trust the declared axes: the spec must be what encoding gives and decoding and
    the network take."""
    pipe, data = subject.pipe, subject.data(2)
    spec = pipe.tokenizer.spec()
    with torch.no_grad():
        latent = pipe.tokenizer.encode(data).value
    try:
        spec.check(latent)
    except InputError as fault:
        raise CheckFailed(f"encoding does not give what spec() declares: {fault}") from fault
    require(latent.is_floating_point() == (spec.kind == "continuous"), f"{spec.kind} latents are {latent.dtype}")
    if spec.kind == "discrete":
        _clean_tokens(subject, latent)
    *_, last = subject.stream(2)
    require(last.step.x.shape == spec.shape(2), f"samples are {tuple(last.step.x.shape)}, not {spec.shape(2)}")
    if spec.kind == "discrete":
        _clean_tokens(subject, last.step.x)
    fold, cells = pipe.tokenizer.facts.fold, [axis for axis in spec.names if axis not in ("b", "c")]
    require(not fold or len(fold) == len(cells), f"facts.fold {fold} is not one number a grid axis of '{spec.axes}'")
    told = f"spec and fold {fold} say a data grid of {subject.grid()}, but data are {tuple(data.shape)}"
    require(_has(data, subject.grid()), told)


def _clean_tokens(subject: Subject, latent: Tensor) -> None:
    """Data are tokens of the vocabulary, and none of them is the mask, which says that a token is not known."""
    spec, process = subject.pipe.tokenizer.spec(), subject.pipe.process
    assert spec.vocab is not None
    require(latent.dtype == torch.int64, f"token ids are {latent.dtype}, not int64")
    low, high = latent.min().item(), latent.max().item()
    require(low >= 0 and high < spec.vocab, f"token ids {low}..{high} leave the vocabulary of {spec.vocab}")
    if isinstance(process, AbsorbingProcess):
        mask = process.mask_id
        require(mask < spec.vocab, f"the process's mask {mask} is no token of the vocabulary of {spec.vocab}")
        require(not bool((latent == mask).any()), f"clean data hold the mask token {mask}")


def mask_fits_the_latent(subject: Subject) -> None:
    """A data mask becomes a latent mask that covers the latent: a cell is given only if all its data is, so that
    nothing of the given data is made anew and nothing else is kept."""
    tokenizer = subject.pipe.tokenizer
    latent = tokenizer.encode(subject.data(1)).value
    for value in (True, False):
        mask = tokenizer.mask(subject.mask(value))
        require(mask.dtype == torch.bool, f"the latent mask is {mask.dtype}, not bool")
        try:
            whole = mask.expand(latent.shape)
        except RuntimeError as fault:
            raise CheckFailed(f"a mask {tuple(mask.shape)} does not cover latents {tuple(latent.shape)}") from fault
        require(bool((whole == value).all()), f"an all-{value} mask is not all {value} over the latent")
    mixed = subject.mask(False)
    mixed.view(-1)[0] = True
    free = tokenizer.mask(mixed)
    require(bool(free.any()), "one free cell of data frees no cell of the latent")
    require(free.numel() == 1 or not bool(free.all()), "one free cell of data frees the whole latent")


def odd_sizes_work_or_are_refused(subject: Subject) -> None:
    """Sizes users meet are odd and not square.  Each works, with the shape that was asked for, or is refused with an
    InputError before any work; a wrong shape or a fault from deep inside is neither."""
    pipe, grid = subject.pipe, subject.grid()
    wanted = [tuple(n + 1 for n in grid), tuple(n * 2 if i == 0 else n for i, n in enumerate(grid)), (1,) * len(grid),
              (0,) * len(grid), (*grid, 2)]  # fmt: skip
    for size in wanted:
        try:
            out = subject.generate(1, steps=1, size=size)
        except InputError:
            continue
        except Exception as fault:
            raise CheckFailed(f"size {size} ends in {type(fault).__name__}: {str(fault).splitlines()[0]}") from fault
        require(_has(out.tensor, size), f"size {size} gives {tuple(out.tensor.shape)}")
    require(pipe.tokenizer.spec(grid) == pipe.tokenizer.spec(), f"spec({grid}) is not the default one")


def _has(data: Tensor, grid: tuple[int, ...]) -> bool:
    """Whether the sizes of `grid` occur in the shape of `data`, after the batch and in order."""
    rest = iter(data.shape[1:])
    return all(n in rest for n in grid)


CHECKS = (encode_decode_round_trip, spec_matches_shapes, mask_fits_the_latent, odd_sizes_work_or_are_refused)
