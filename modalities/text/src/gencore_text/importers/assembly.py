"""From an imported network to a pipeline: its tokenizer, its schedule, its card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from gencore.backbone import Backbone
from gencore.conditioner import Unconditional
from gencore.errors import InputError
from gencore.nn.init import seeded
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.absorbing import Absorbing, NetworkTime
from gencore.weights.importer import imported
from gencore_text.importers.layout import Part
from gencore_text.importers.read import Read, Weights, load, read_part
from gencore_text.tokenizers.base import TextTokenizer
from gencore_text.tokenizers.numbers import Numbers

LICENCE = "that of the imported file; the code of MDLM is Apache-2.0, that of EDLM MIT"
PUBLISHED_LENGTH = 1024
SCHEDULES = {"loglinear": "loglinear", "cosine": "cosine", "cosinesqr": "cosine-squared", "linear": "linear",
             "geometric": "geometric"}  # fmt: skip
"""MDLM's names of schedules, and ours."""


class Words(NamedTuple):
    """A tokenizer that fits a network, and what was assumed.

    Args:
        tokenizer: of the network's vocabulary.
        notes: what a user should know of it.
    """

    tokenizer: TextTokenizer
    notes: list[str]


def words_for(read: Read, tokenizer: str | None, length: int | None, mask_id: int | None) -> Words:
    """The tokenizer of a network.

    Args:
        tokenizer: a folder with tokenizer.json, "bytes", "alphabet27", or None for token ids as text.
        length: the context; None takes the file's own, or 1024 tokens.
        mask_id: None takes the tokenizer's, else the last row of the embedding.

    Raises:
        InputError: its vocabulary or its mask is not the network's.
    """
    vocab, notes = read.sizes["vocab"], []
    context = int(read.said.get("length", PUBLISHED_LENGTH)) if length is None else length
    if length is None:
        told = "by the file" if "length" in read.said else "assumed: nothing in the file tells"
        notes.append(f"context of {context} tokens, {told} (--length)")
    match tokenizer:
        case None:
            made: TextTokenizer = Numbers(context, vocab, vocab - 1 if mask_id is None else mask_id)
            notes.append(f"no tokenizer given: texts are token ids, the mask is {made.mask_id} (--tokenizer FOLDER)")
        case "bytes":
            from gencore_text.tokenizers.bytes import Bytes

            made = Bytes(context)
        case "alphabet27":
            from gencore_text.tokenizers.alphabet27 import Alphabet27

            made = Alphabet27(context)
        case folder:
            from gencore_text.tokenizers.hf import HFTokenizer

            made = HFTokenizer.from_folder(Path(folder), context, mask_id=mask_id)
    if made.vocab != vocab:
        raise InputError("tokenizer", f"{made.vocab} token ids with the mask", f"{vocab}, the rows of the embedding")
    if mask_id not in (None, made.mask_id):
        raise InputError("mask_id", mask_id, f"{made.mask_id}, the tokenizer's")
    return Words(made, notes)


def process_for(read: Read, mask_id: int, schedule: str | None, time_conditioning: bool) -> tuple[Absorbing, list[str]]:
    """The forward process of a network, and what was assumed of it.

    Args:
        schedule: MDLM's name or ours; None takes the file's own, or loglinear.
        time_conditioning: the network was trained to see the noise; a file that says so needs no telling.
    """
    said = schedule or read.said.get("schedule", "loglinear")
    seen: NetworkTime = "none"
    if time_conditioning or read.said.get("time_conditioning"):
        seen = "t" if read.said.get("change_of_variables") else "sigma"
    known = "the file says so" if {"schedule", "time_conditioning"} & read.said.keys() else "assumed"
    shown = {"none": "shown no time", "sigma": "shown the total noise", "t": "shown the time itself"}[seen]
    note = f"{said} schedule, network {shown}: {known} (--schedule, --time-conditioning)"
    return Absorbing(mask_id, SCHEDULES.get(said, said), network_time=seen), [note]


def import_network(
    system: str,
    part: Part,
    path: str | Path,
    make: Callable[[Read, TextTokenizer], Backbone],
    *,
    sampler: str,
    steps: int,
    weights: Weights | None,
    heads: int | None,
    length: int | None,
    tokenizer: str | None,
    mask_id: int | None,
    schedule: str | None = None,
    time_conditioning: bool = False,
    notes: Sequence[str] | None = None,
) -> Pipeline:
    """The pipeline of one network of a checkpoint: what every importer of this layout does.

    Args:
        system: the importer's name, for the card.
        part: which network.
        make: the network, untrained, from what the file says and its tokenizer.
        sampler, steps: defaults of the pipeline.
        weights, heads: of `read_part`.
        length, tokenizer, mask_id: of `words_for`.
        schedule, time_conditioning: of `process_for`.
        notes: for the card, instead of what was assumed of the process.

    Raises:
        CheckpointError: damaged, unsafe, of another layout, or without such a network.
        InputError: an option that does not suit the file.
    """
    read = read_part(path, part, weights=weights, heads=heads)
    words = words_for(read, tokenizer, length, mask_id)
    with seeded(0):
        net = make(read, words.tokenizer)
    load(net, read, part)
    process, assumed = process_for(read, words.tokenizer.mask_id, schedule, time_conditioning)
    told = [*read.notes, *words.notes, *(assumed if notes is None else notes)]
    return Pipeline(
        modality="text", tokenizer=words.tokenizer, conditioner=Unconditional(), backbone=net, process=process,
        defaults=Defaults(sampler, steps), card=imported(system, path, told, LICENCE),
    )  # fmt: skip
