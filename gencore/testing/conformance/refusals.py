"""What cannot work is refused in one line, before anything is written."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gencore.errors import GencoreError
from gencore.loading import load
from gencore.models import CONFIG, WEIGHTS
from gencore.testing.conformance.subject import Subject
from gencore.testing.failures import CheckFailed, Skipped, require
from gencore.weights.files import read_tensors, write_tensors


def refused(what: str, call: Callable[[], Any], *names: str) -> None:
    """Require that `call` raises one line for people that holds each of `names`."""
    try:
        call()
    except GencoreError as fault:
        text = str(fault)
        require(len(text.splitlines()) == 1, f"{what}: the refusal runs over {len(text.splitlines())} lines")
        missing = [name for name in names if name not in text]
        require(not missing, f"{what}: the refusal does not name {', '.join(missing)}: {text}")
    except Exception as fault:
        raise CheckFailed(f"{what} ends in {type(fault).__name__}: {(str(fault) or '-').splitlines()[0]}") from fault
    else:
        raise CheckFailed(f"{what} is accepted")


def unknown_words_are_refused(subject: Subject) -> None:
    """A misspelt word that is dropped in silence gives a result nobody asked for: every word is read or refused, with
    the nearest one that exists."""
    refused("the word 'no_such_word'", lambda: subject.generate(no_such_word=1), "no_such_word")
    for word in (*subject.pipe.conditioner.words, *subject.modality.words):
        misspelt = word[:-1] + "_" + word[-1]
        refused(f"the word '{misspelt}'", lambda w=misspelt: subject.generate(**{w: 1}), misspelt, word)


def values_out_of_range_are_refused(subject: Subject) -> None:
    """Counts and names out of range are told by the name they were given under, with what is accepted."""
    cases: dict[str, dict[str, Any]] = {
        "n": {"n": 0}, "steps": {"steps": 0}, "sampler": {"sampler": "no-such-sampler"},
        "guidance": {"guidance": "no-such-guidance"}, "attention": {"attention": "no-such-back-end"},
        "seed": {"seed": [1, 2, 3, 4, 5]}, "batch": {"batch": 0},
    }  # fmt: skip
    for name, options in cases.items():
        asked: dict[str, Any] = {**subject.words(), "seed": 1, "steps": 1, **options}
        refused(f"{name}={options[name]!r}", lambda asked=asked: subject.pipe.generate(**asked), name)
    for word in (*subject.pipe.conditioner.words, *subject.modality.words):
        if word in subject.words() or word in subject.modality.words:
            refused(f"{word} given as an object", lambda w=word: _with_object(subject, w), word)


def _with_object(subject: Subject, word: str) -> Any:
    options: dict[str, Any] = {word: object()}
    return subject.generate(**options)


def unusable_given_data_are_refused(subject: Subject) -> None:
    """Given data of another size, with NaN, without a mask, or from a file that is not there end before any work."""
    if not subject.takes_known:
        raise Skipped("the manifest declares no options 'known' and 'mask'")
    data, mask = subject.data(1), subject.mask()
    refused("known without mask", lambda: subject.generate(known=data), "mask")
    refused("mask without known", lambda: subject.generate(mask=mask), "known")
    longer = torch.cat([data, data], dim=-1)
    refused("known of another size", lambda: subject.generate(known=longer, mask=mask), "known")
    wider = torch.cat([mask, mask], dim=-1)
    refused("a mask of another size", lambda: subject.generate(known=data, mask=wider), "mask")
    if data.is_floating_point():
        broken = data.clone()
        broken.view(-1)[0] = math.nan
        refused("known with NaN", lambda: subject.generate(known=broken, mask=mask), "known")
    spec = subject.pipe.tokenizer.spec()
    if spec.kind == "discrete":
        assert spec.vocab is not None
        for token in (-1, spec.vocab):
            stray = data.clone()
            stray.view(-1)[0] = token
            refused(f"known with token {token}", lambda stray=stray: subject.generate(known=stray, mask=mask), "known")
    gone = subject.folder / "no-such-file"
    refused("a known file that is not there", lambda: subject.generate(known=gone, mask=mask), "known")
    refused("an unknown mode", lambda: subject.generate(known=data, mask=mask, known_mode="no-such"), "mode")  # type: ignore[arg-type]


def _copy(subject: Subject, name: str) -> tuple[Path, Callable[[], Any]]:
    folder = subject.pipe.save_pretrained(subject.folder / name)
    return folder, lambda: load(subject.name, folder, device="cpu")


def nan_weights_are_refused(subject: Subject) -> None:
    """Weights that diverged or were damaged make noise that looks like a bad model; they are named when they load."""
    for value in (math.nan, math.inf):
        folder, again = _copy(subject, f"value-{value}")
        tensors, facts = read_tensors(folder / WEIGHTS)
        name = next(n for n, t in tensors.items() if t.is_floating_point())
        tensors[name].view(-1)[0] = value
        write_tensors(folder / WEIGHTS, tensors, facts, force=True)
        refused(f"a weight of {value}", again, name)


def truncated_checkpoints_are_refused(subject: Subject) -> None:
    """An interrupted download or copy is told as such, not as a fault of the program."""
    folder, again = _copy(subject, "truncated")
    whole = (folder / WEIGHTS).read_bytes()
    for share, part in (("half", whole[: len(whole) // 2]), ("none", b""), ("all but the end", whole[:-1])):
        (folder / WEIGHTS).write_bytes(part)
        refused(f"a weights file cut to {share}", again, WEIGHTS)
    (folder / WEIGHTS).unlink()
    refused("a folder without weights", again, WEIGHTS)


def missing_and_extra_tensors_are_refused(subject: Subject) -> None:
    """Loading is strict on both sides and names what does not fit: a dropped name is a layer left at random."""
    folder, again = _copy(subject, "names")
    tensors, facts = read_tensors(folder / WEIGHTS)
    *_, last = tensors
    changes = {
        "a missing tensor": {n: t for n, t in tensors.items() if n != last},
        "a tensor of another shape": {**tensors, last: torch.cat([tensors[last].reshape(-1)] * 2)},
    }
    for what, changed in changes.items():
        write_tensors(folder / WEIGHTS, changed, facts, force=True)
        refused(what, again, last)
    write_tensors(folder / WEIGHTS, {**tensors, "no.such.layer": torch.zeros(2)}, facts, force=True)
    refused("a tensor too many", again, "no.such.layer")


def unknown_configuration_is_refused(subject: Subject) -> None:
    """A setting that no part reads would be dropped in silence, and one that is missing guessed."""
    folder, again = _copy(subject, "config")
    config = json.loads((folder / CONFIG).read_text())

    def write(changed: Any) -> None:
        (folder / CONFIG).write_text(changed if isinstance(changed, str) else json.dumps(changed))

    write({**config, "no_such_part": 1})
    refused("an unknown entry of the configuration", again, "no_such_part")
    for part in ("tokenizer", "conditioner", "backbone", "process"):
        write({**config, part: {**config[part], "no_such_setting": 1}})
        refused(f"an unknown setting of the {part}", again, "no_such_setting")
        write({**config, part: {**config[part], "type": "no-such-type"}})
        refused(f"an unknown type of {part}", again, "no-such-type")
    write("{")
    refused("a configuration that is no JSON", again, CONFIG)


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def pickled_code_never_runs(subject: Subject) -> None:
    """A model from a stranger must not be a program: weights that are a pickle are refused unread."""
    folder, again = _copy(subject, "pickle")
    went_off = subject.folder / "went-off"
    (folder / WEIGHTS).write_bytes(pickle.dumps({"weight": _Bomb(went_off)}))
    refused("a pickle in place of weights", again, WEIGHTS)
    require(not went_off.exists(), "loading a model ran code from its weights file")


CHECKS = (
    unknown_words_are_refused, values_out_of_range_are_refused, unusable_given_data_are_refused,
    nan_weights_are_refused, truncated_checkpoints_are_refused, missing_and_extra_tensors_are_refused,
    unknown_configuration_is_refused, pickled_code_never_runs,
)  # fmt: skip
