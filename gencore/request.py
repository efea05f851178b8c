"""From what a user asked to everything a run needs: validated, nothing computed yet."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from gencore import components, plugins
from gencore.attend import back_end
from gencore.condition import Condition, Conditions, check_ports
from gencore.context import Interceptor
from gencore.denoiser import Transform
from gencore.errors import InputError, unknown
from gencore.guidance import ClassifierFree, Guidance
from gencore.inversion import Inverted
from gencore.known import Known, KnownMode
from gencore.noise import seeds_for
from gencore.recipe import content_hash
from gencore.rollout import Rollout
from gencore.sampler import Sampler
from gencore.settings import parse
from gencore.spec import LatentSpec
from gencore.tuning.cache_plan import CachePlan

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline

OPTIONS = ("n", "seed", "steps", "sampler", "guidance", "known", "mask", "known_mode", "size", "times", "start",
           "interceptors", "transforms", "attention")  # fmt: skip
"""What every pipeline accepts besides the words of its conditioner and modality."""


@dataclass(frozen=True)
class Request:
    """A validated request.  `recipe` says how to make the same result again."""

    seeds: tuple[int, ...]
    sampler: Sampler
    times: Tensor
    guidance: Guidance | None
    known: Known | None
    spec: LatentSpec
    start: Inverted | None
    rollout: Rollout | None
    conditions: Conditions
    interceptors: tuple[Interceptor, ...]
    transforms: tuple[Transform, ...]
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
            known = None if self.known is None else self.known.rows(part)
            begin = None if self.start is None else self.start.rows(part)
            yield replace(self, seeds=self.seeds[part], conditions=conditions, known=known, start=begin)


def request(pipe: Pipeline, **said: Any) -> Request:
    """The request that options and words make of `pipe`; see `Pipeline.stream` for their meaning.

    Raises:
        InputError: an unknown word, or a value out of range.
    """
    words = pipe.modality.opened({name: value for name, value in said.items() if name not in OPTIONS})
    options = {name: value for name, value in said.items() if name in OPTIONS and value is not None}
    for word in words:
        if word not in (accepted := [*pipe.conditioner.words, *pipe.modality.words]):
            raise unknown("option", word, [*accepted, *OPTIONS, "batch", "callback"])
    own = {name: value for name, value in words.items() if name in pipe.modality.words}
    meant = {**options, **pipe.modality.asked(own, options, pipe)}
    return _request(pipe, words, options, **meant)


def _request(
    pipe: Pipeline,
    words: Mapping[str, Any],
    said: Mapping[str, Any],
    *,
    n: int | None = None,
    seed: int | Sequence[int] | None = None,
    steps: int | None = None,
    sampler: str | Sampler | None = None,
    guidance: float | str | Guidance | None = None,
    known: Any = None,
    mask: Any = None,
    known_mode: KnownMode | None = None,
    size: Sequence[int] | None = None,
    times: Tensor | None = None,
    start: str | Path | Inverted | None = None,
    rollout: Rollout | None = None,
    interceptors: Sequence[str | CachePlan | Interceptor] = (),
    transforms: Sequence[Transform] = (),
    attention: str = "",
) -> Request:
    pipe.modality.ready(pipe)
    if n is not None and n < 1:
        raise InputError("n", n, "1 or more")
    if seed is None:
        seed = secrets.randbelow(1_000_000)
    if n is None and not isinstance(seed, int):
        n = len(seed)
    begin = start if isinstance(start, Inverted) or start is None else Inverted.load(start)
    if begin is not None:
        if given := [name for name, v in {"steps": steps, "times": times}.items() if v is not None]:
            raise InputError(given[0], "given with start", "none: start brings its own times")
        if rollout is not None:
            raise InputError("start", "one with a roll-out", "one window, which is what was inverted")
        n, times = n or begin.count, begin.times
        sampler = begin.sampler if sampler is None else sampler
    count, conditions = pipe.conditioner({k: v for k, v in words.items() if k in pipe.conditioner.words}, n)
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
    if begin is not None and begin.count != count:
        raise InputError("start", f"{begin.count} samples for {count}", "one start a sample")
    seeds = seeds_for(seed, count)
    given, given_recipe = _known(pipe, known, mask, known_mode or pipe.defaults.known_mode, said)
    recipe = {
        "gencore": 1, "task": "generate", "modality": pipe.modality.name,
        "model": {"hash": pipe.hash(), "origin": pipe.origin, "dtype": str(pipe.dtype).removeprefix("torch.")},
        "words": {key: _plain(value) for key, value in words.items()}, "seeds": list(seeds),
        "steps": None if exact else steps, "times": times.tolist() if exact and begin is None else None,
        "sampler": _described("sampler", chosen), "guidance": None if guide is None else _described("guidance", guide),
        "size": list(said["size"]) if "size" in said else None, "known": given_recipe,
        "transforms": [type(part).__name__ for part in said.get("transforms", ())], "attention": attention,
        "implied": [_settings(part) for part in transforms if part not in said.get("transforms", ())],
        "start": None if begin is None else {"hash": content_hash(begin.x), "file": file_name(start)},
        "versions": plugins.versions(pipe.modality.name),
    }  # fmt: skip
    attach = partial(_interceptor, recipe=recipe, steps=len(times) - 1)
    recipe["interceptors"] = [_described("interceptor", attach(part)) for part in said.get("interceptors", ())]
    return Request(seeds, chosen, times, guide, given, pipe.tokenizer.spec(size), begin, rollout, conditions,
                   tuple(map(attach, interceptors)), tuple(transforms), attention, recipe)  # fmt: skip


def _interceptor(part: str | CachePlan | Interceptor, recipe: Mapping[str, Any], steps: int) -> Interceptor:
    if isinstance(part, str) and part.endswith(".json"):
        part = CachePlan.load(part)
    if isinstance(part, CachePlan):
        return part.attached(recipe, steps)
    return components.build("interceptor", parse(part, "interceptor")) if isinstance(part, str) else part


def _sampler(pipe: Pipeline, sampler: str | Sampler | None) -> Sampler:
    if not isinstance(sampler, Sampler):
        text = pipe.defaults.sampler if sampler is None else sampler
        sampler = cast(Sampler, components.build("sampler", parse(text, "sampler")))
    if sampler.kind != pipe.process.kind:
        offers = {name: plugins.resolve("sampler", name) for name in plugins.provided("sampler")}
        fit = [name for name, part in offers.items() if getattr(part, "kind", "continuous") == pipe.process.kind]
        raise InputError("sampler", f"{type(sampler).__name__}, for {sampler.kind} latents",
                         f"one for {pipe.process.kind} latents: {', '.join(fit)}")  # fmt: skip
    return sampler


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


def _known(pipe: Pipeline, known: Any, mask: Any, mode: KnownMode, said: Mapping[str, Any]
           ) -> tuple[Known | None, dict[str, Any] | None]:  # fmt: skip
    if known is None and mask is None:
        return None, None
    if known is None or mask is None:
        raise InputError("known" if known is None else "mask", "nothing", "known and mask together")
    if "size" in said:
        raise InputError("size", f"{tuple(said['size'])} with known data", "no size: the known data's is taken")
    data, area = pipe.modality.known(known, pipe), pipe.modality.mask(mask, pipe)
    moved = data.to(pipe.device, pipe.dtype) if data.is_floating_point() else data.to(pipe.device)
    with torch.no_grad():
        value = pipe.tokenizer.encode(moved).value
    files = [file_name(said[name]) if name in said else None for name in ("known", "mask")]
    recipe = {"mode": mode, "known": content_hash(data), "mask": content_hash(area), "files": files}
    return Known(value, pipe.tokenizer.mask(area.to(pipe.device)), mode), recipe


def _cut(c: Condition, part: slice) -> Condition:
    return Condition(c.value[part], None if c.mask is None else c.mask[part], c.null)


def _settings(part: Transform) -> dict[str, Any]:
    """What tells a transform that words stand for, the hash of a model in it included."""
    config = getattr(part, "config", dict)
    return {"name": type(part).__name__, **config()}


def file_name(source: Any) -> str:
    return Path(source).name if isinstance(source, str | Path) else ""


_LISTED = 1 << 16


def _plain(value: Any) -> Any:
    """`value` as a recipe holds it: a file by its name, many numbers by their hash."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        array = torch.as_tensor(value)
        if array.numel() <= _LISTED:
            return array.tolist()
        return {"hash": content_hash(array), "shape": list(array.shape)}
    if isinstance(value, Path):
        return value.name
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise InputError("word", type(value).__name__, "text, numbers, or lists of them")


def _described(kind: str, part: Any) -> dict[str, Any]:
    try:
        return components.describe(kind, part)
    except InputError:
        where = f"{type(part).__module__}:{type(part).__qualname__}"
        settings = part.config() if hasattr(part, "config") else {}
        return {"type": f"{where} (not installed: reproduce needs this class)", **settings}
