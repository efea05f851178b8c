"""Words for a video task as given frames and a mask: ``--task predict --known clip.mp4 --frames 8``.

A task is a kind of mask, by its name and settings (``predict``, ``interpolate:stride=5``, or whatever a plug-in
provides under "mask"), one for all samples or one a sample.  ``frames``, ``stride`` and ``index`` are short for
settings.  A known clip has either the model's T frames, of which the task keeps some, or just those that it keeps.
More frames than T are predicted window after window (`gencore.rollout`), each from as many frames as the first.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gencore import components, plugins
from gencore.errors import InputError, unknown
from gencore.mask import draw_masks
from gencore.noise import Keyed, seeds_for
from gencore.rollout import Rollout
from gencore.settings import parse
from gencore_video.given import Given, Wanted, clip_shape, kept_frames, packaged_clip, video_mask
from gencore_video.rate import read_rate

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline

WORDS = ("task", "frames", "stride", "index", "clip", "offset", "fps", "fit")
_OF_TASK = ("frames", "stride", "index")
_OF_KNOWN = ("offset", "fit")
_SHORT = {"frames": ("predict", "backward"), "stride": ("interpolate",), "index": ("image-to-video",)}


def asked(words: Mapping[str, Any], options: Mapping[str, Any], pipe: Pipeline) -> dict[str, Any]:
    """The known frames and the mask that `words` of `WORDS` stand for; see `Modality.asked`.

    Raises:
        InputError: words that do not go together, or a clip that does not suit the task.
    """
    if "fps" in words:
        read_rate(words["fps"])
    for word in ("stride", "index", "frames"):
        if type(words.get(word, 0)) is not int:
            raise InputError(word, words[word], "a whole number")
    if "clip" in words and "known" in options:
        raise InputError("clip", f"{words['clip']} with a known clip", "one of them")
    if "task" not in words:
        return _without_task(words, options, pipe)
    tasks = _tasks(words)
    known = options.get("known")
    sources = list(known) if isinstance(known, Tensor) and known.ndim == 5 else [] if known is None else [known]
    count = _count(len(tasks), len(sources), options)
    seed = options.get("seed")
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    shape, wanted = clip_shape(pipe, options.get("size")), Wanted.of(words, pipe)
    given = [Given.of(source, wanted) for source in sources]
    length = given[0].frames if given else None
    noise = Keyed(seeds_for(seed, count))
    masks = torch.cat([_mask(task, words, options, pipe, shape, noise, length) for task in tasks])
    if len(tasks) > 1:
        masks = masks.unflatten(0, (len(tasks), count)).diagonal(0, 0, 1).movedim(-1, 0)
    if bool((masks == masks[:1]).all()):
        masks = masks[:1]
    made: dict[str, Any] = {"n": count, "seed": seed}
    if set(_named(words)) == {"unconditional"}:
        if stray := next((w for w in ("known", "mask", "clip", *_OF_KNOWN) if w in options or w in words), None):
            raise InputError(stray, "one with the task unconditional", "nothing: it keeps no cell")
        return made
    if not given and "clip" not in words:
        raise InputError("known", f"nothing with the task {tasks[0]}", "a clip whose cells are kept",
                         "--known FILE, or --clip N for one that comes with the package")  # fmt: skip
    kept = kept_frames(masks)
    if words.get("frames", 0) >= shape[0]:
        if len(tasks) > 1:
            raise InputError("frames", words["frames"], f"1..{shape[0] - 1} with several tasks")
        made["rollout"] = Rollout("t", len(kept) + words["frames"], len(kept))
    data = torch.cat([clip.data(wanted, kept) for clip in given]) if given else packaged_clip(words["clip"], wanted)
    rows = max(len(masks), len(data))
    return {**made, "known": data.expand(rows, *data.shape[1:]), "mask": masks}


def _without_task(words: Mapping[str, Any], options: Mapping[str, Any], pipe: Pipeline) -> dict[str, Any]:
    """A clip and a mask of the user's own."""
    if stray := next((word for word in _OF_TASK if word in words), None):
        raise InputError(stray, f"{words[stray]} without a task", f"--task {' or '.join(_SHORT[stray])} with it")
    if "clip" not in words and "known" not in options:
        if stray := next((word for word in _OF_KNOWN if word in words), None):
            raise InputError(stray, f"{words[stray]} without a known clip", "--known FILE with it")
        return {}
    if "mask" not in options:
        raise InputError("mask", "nothing with a known clip", "--task, or --mask FILE with white = made anew",
                         f"tasks: {', '.join(plugins.provided('mask'))}")  # fmt: skip
    masks, wanted = video_mask(options["mask"], clip_shape(pipe)), Wanted.of(words, pipe)
    if "clip" in words:
        return {"known": packaged_clip(words["clip"], wanted), "mask": masks}
    if isinstance(options["known"], Tensor) and options["known"].ndim == 5:
        return {"mask": masks}
    return {"known": Given.of(options["known"], wanted).data(wanted, kept_frames(masks)), "mask": masks}


def _count(tasks: int, clips: int, options: Mapping[str, Any]) -> int:
    seed, n = options.get("seed"), options.get("n")
    many = n if n is not None else len(seed) if isinstance(seed, Sequence) else max(tasks, clips)
    if clips > 1 and many != clips:
        raise InputError("known", f"{clips} clips for {many} samples", "one clip, or one a sample")
    if tasks > 1 and many != tasks:
        raise InputError("task", f"{tasks} tasks for {many} samples", "one task, or one a sample")
    if many < 1:
        raise InputError("n", many, "1 or more")
    return many


def _mask(task: str, words: Mapping[str, Any], options: Mapping[str, Any], pipe: Pipeline, shape: tuple[int, int, int],
          noise: Keyed, length: int | None) -> Tensor:  # fmt: skip
    """(B, 1, T, H, W) bool of one task."""
    frames = shape[0]
    settings = parse(str(task), "task")
    name = settings["type"]
    if name not in (names := plugins.provided("mask")):
        raise unknown("task", name, names)
    if "mask" in options:
        if name != "complete" or len(settings) > 1:
            raise InputError("mask", f"one with the task {task}", "--task complete with a mask")
        return video_mask(options["mask"], shape).expand(len(noise.seeds), 1, *shape)
    if stray := next((w for w in _OF_TASK if w in words and not any(_takes(t, w) for t in _named(words))), None):
        raise InputError(stray, f"{words[stray]} with the task {task}", f"the task {' or '.join(_SHORT[stray])}")
    if name in _SHORT["frames"]:
        settings |= _given(settings, words.get("frames"), frames, length, goes_on=name == "predict")
    for word in ("stride", "index"):
        if word in words and name in _SHORT[word]:
            if word in settings:
                raise InputError(word, f"{words[word]} with the task {task}", "one of them")
            settings[word] = words[word]
    return draw_masks(components.build("mask", settings), shape, noise)


def _tasks(words: Mapping[str, Any]) -> list[str]:
    """One text a task: on the command line, commas stand between tasks and between settings alike."""
    said = words["task"]
    tasks: list[str] = []
    for part in said if isinstance(said, list | tuple) else [said]:
        if not isinstance(part, str):
            raise InputError("task", part, "a name, or name:key=value")
        name, sign, _ = part.partition("=")
        if tasks and sign and ":" not in name:
            tasks[-1] += f",{part}"
        else:
            tasks.append(part)
    return tasks


def _named(words: Mapping[str, Any]) -> list[str]:
    return [task.partition(":")[0] for task in _tasks(words)]


def _takes(task: str, word: str) -> bool:
    return task in _SHORT[word]


def _given(
    settings: Mapping[str, Any], made: int | None, frames: int, length: int | None, goes_on: bool
) -> dict[str, int]:
    """How many of `frames` frames are given: all but those to make, or those of the clip, or half."""
    if "given" in settings:
        if made is not None:
            raise InputError("frames", f"{made} with given={settings['given']}", "one of them")
        return {}
    if made is not None and made < 1:
        raise InputError("frames", made, f"1..{frames - 1}, or more for the task predict")
    if made is not None and made < frames:
        return {"given": frames - made}
    if made is not None and not goes_on:
        raise InputError("frames", made, f"1..{frames - 1}: at least one of this model's {frames} is given")
    return {"given": length} if length is not None and length < frames else {}
