"""From what a user asked to everything a run needs: validated, nothing computed yet."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gencore import components, plugins
from gencore.attend import back_end
from gencore.condition import Condition, Conditions, check_ports
from gencore.context import Interceptor
from gencore.errors import InputError, unknown
from gencore.guidance import ClassifierFree, Guidance
from gencore.known import Known, KnownMode
from gencore.noise import seeds_for
from gencore.recipe import content_hash
from gencore.sampler import Sampler
from gencore.settings import parse
from gencore.spec import LatentSpec

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline

OPTIONS = ("n", "seed", "steps", "sampler", "guidance", "known", "mask", "known_mode", "size", "times", "interceptors",
           "attention")  # fmt: skip
"""What every pipeline accepts besides its conditioner's words."""


@dataclass(frozen=True)
class Request:
    """A validated request.  `recipe` says how to make the same result again."""

    seeds: tuple[int, ...]
    sampler: Sampler
    times: Tensor
    guidance: Guidance | None
    known: Known | None
    spec: LatentSpec
    conditions: Conditions
    interceptors: tuple[Interceptor, ...]
    attention: str
    recipe: dict[str, Any]

    def chunks(self, size: int | None) -> Iterator[Request]:
        """The same request in parts of at most `size` samples."""
        if size is not None and size < 1:
            raise InputError("batch", size, "1 or more")
        count = len(self.seeds)
        if size is None or size >= count:
            yield self
            return
        for start in range(0, count, size):
            part = slice(start, start + size)
            conditions = {name: _cut(c, part) for name, c in self.conditions.items()}
            yield replace(self, seeds=self.seeds[part], conditions=conditions)


def request(
    pipe: Pipeline,
    *,
    n: int | None = None,
    seed: int | Sequence[int] | None = None,
    steps: int | None = None,
    sampler: str | Sampler | None = None,
    guidance: float | str | Guidance | None = None,
    known: Any = None,
    mask: Any = None,
    known_mode: KnownMode = "replace_state",
    size: Sequence[int] | None = None,
    times: Tensor | None = None,
    interceptors: Sequence[Interceptor] = (),
    attention: str = "",
    **words: Any,
) -> Request:
    """The request these options make of `pipe`; see `Pipeline.stream` for their meaning.

    Raises:
        InputError: an unknown word, or a value out of range.
    """
    for word in words:
        if word not in pipe.conditioner.words:
            raise unknown("option", word, [*pipe.conditioner.words, *OPTIONS, "batch", "callback"])
    pipe.modality.ready(pipe)
    if n is not None and n < 1:
        raise InputError("n", n, "1 or more")
    if seed is None:
        seed = secrets.randbelow(1_000_000)
    if n is None and not isinstance(seed, int):
        n = len(seed)
    count, conditions = pipe.conditioner(words, n)
    check_ports(conditions, pipe.backbone.ports)
    back_end(attention)
    chosen, guide = _sampler(pipe, sampler), _guidance(pipe, guidance)
    exact = times is not None
    if times is None:
        steps = pipe.defaults.steps if steps is None else steps
        if steps < 1:
            raise InputError("steps", steps, "1 or more")
        times = chosen.times(pipe.process, pipe.backbone.prediction.kind, steps)
    elif steps is not None:
        raise InputError("steps", f"{steps} with times", "one of them")
    seeds = seeds_for(seed, count)
    given, given_recipe = _known(pipe, known, mask, known_mode, size)
    recipe = {
        "gencore": 1, "task": "generate", "modality": pipe.modality.name,
        "model": {"hash": pipe.hash(), "origin": pipe.origin, "dtype": str(pipe.dtype).removeprefix("torch.")},
        "words": {key: _plain(value) for key, value in words.items()}, "seeds": list(seeds),
        "steps": None if exact else steps, "times": times.tolist() if exact else None,
        "sampler": _described("sampler", chosen), "guidance": None if guide is None else _described("guidance", guide),
        "size": None if size is None else list(size), "known": given_recipe,
        "interceptors": [type(part).__name__ for part in interceptors], "attention": attention,
        "versions": plugins.versions(pipe.modality.name),
    }  # fmt: skip
    return Request(seeds, chosen, times, guide, given, pipe.tokenizer.spec(size), conditions, tuple(interceptors),
                   attention, recipe)  # fmt: skip


def _sampler(pipe: Pipeline, sampler: str | Sampler | None) -> Sampler:
    if isinstance(sampler, Sampler):
        return sampler
    text = pipe.defaults.sampler if sampler is None else sampler
    return components.build("sampler", parse(text, "sampler"))


def _guidance(pipe: Pipeline, guidance: float | str | Guidance | None) -> Guidance | None:
    """A scale keeps the default's channels and interval."""
    if isinstance(guidance, Guidance):
        return guidance
    text = pipe.defaults.guidance
    default = components.build("guidance", parse(text, "guidance")) if text else None
    if guidance is None:
        return default
    try:
        scale = float(guidance)
    except ValueError:
        return components.build("guidance", parse(str(guidance), "guidance"))
    if isinstance(default, ClassifierFree):
        return ClassifierFree(scale, channels=default.channels, interval=default.interval)
    return ClassifierFree(scale)


def _known(pipe: Pipeline, known: Any, mask: Any, mode: KnownMode, size: Sequence[int] | None
           ) -> tuple[Known | None, dict[str, Any] | None]:  # fmt: skip
    if known is None and mask is None:
        return None, None
    if known is None or mask is None:
        raise InputError("known" if known is None else "mask", "nothing", "known and mask together")
    if size is not None:
        raise InputError("size", f"{tuple(size)} with known data", "no size: the known data's is taken")
    data, area = pipe.modality.known(known, pipe), pipe.modality.mask(mask, pipe)
    with torch.no_grad():
        value = pipe.tokenizer.encode(data.to(pipe.device, pipe.dtype)).value
    recipe = {"mode": mode, "known": content_hash(data), "mask": content_hash(area),
              "files": [Path(s).name if isinstance(s, str | Path) else "" for s in (known, mask)]}  # fmt: skip
    return Known(value, pipe.tokenizer.mask(area.to(pipe.device)), mode), recipe


def _cut(c: Condition, part: slice) -> Condition:
    return Condition(c.value[part], None if c.mask is None else c.mask[part], c.null)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise InputError("word", type(value).__name__, "text, numbers, or lists of them")


def _described(kind: str, part: Any) -> dict[str, Any]:
    try:
        return components.describe(kind, part)
    except InputError:
        where = f"{type(part).__module__}:{type(part).__qualname__}"
        return {"type": f"{where} (not installed: reproduce needs this class)", **part.config()}
