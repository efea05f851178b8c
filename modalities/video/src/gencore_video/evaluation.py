"""A trained video pipeline against held-out clips: all tasks, given frames, a long roll-out, and copies.

Every figure stands beside the same figure of what a model must beat: the nearest given frame, straight lines in time
cell by cell, and, for simulated discs, the straight line through the two nearest given frames, reflected at walls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gencore.data import Data
from gencore.errors import MissingDependency
from gencore.mask import MaskKind, Size, draw_masks
from gencore.noise import Keyed
from gencore_video.copies import copies
from gencore_video.figures import Truth, baselines, compare, truth, unevenness
from gencore_video.masks.complete import Complete
from gencore_video.masks.frames import Backward, ImageToVideo, Interpolate, Predict, RandomFrames
from gencore_video.physics.clips import PhysicsClips, physics_clips
from gencore_video.prediction import Maker, by_given_frames, roll_out

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline

Report = dict[str, Any]
Place = tuple[str, ...]
_ROLL_OUT, _TRAINING_CLIPS = 80, 1024


def random_frames(size: Size, rng: Random) -> Tensor:
    """`RandomFrames` with two frames given in any case, without which no baseline exists."""
    mask = RandomFrames()(size, rng).clone()
    mask[rng.sample(range(size[0]), 2)] = False
    return mask


def completion(size: Size, rng: Random) -> Tensor:
    """`Complete` with the first and the last frame given in any case."""
    mask = Complete()(size, rng).clone()
    mask[[0, -1]] = False
    return mask


TASKS: Mapping[str, MaskKind] = {
    "predict": Predict(), "backward": Backward(), "interpolate": Interpolate(4), "image-to-video": ImageToVideo(0),
    "random-frames": random_frames, "complete": completion,
}  # fmt: skip


def evaluate(pipe: Pipeline, data: Data, *, n: int, seed: int = 0, train: Data | None = None,
             progress: Callable[[int, int], None] | None = None) -> Report:  # fmt: skip
    """Figures of `pipe` on the first `n` clips of `data`; sample i of everything has the seed ``seed + i``.

    Args:
        data: held-out clips of the pipeline's size.
        train: clips the model was trained on, to find copies; simulated ones are made where it is None.

    Returns:
        ``clips``, ``seeds``, ``sampler``; ``tasks``: for each task the figures of ``model``, ``nearest``, ``linear``
        and ``straight_line`` (`gencore_video.figures`); ``given_frames``: those of prediction from 1, 2, ... frames,
        over the last quarter of the clip, which all of them predict; ``roll_out``: by frame, for clips continued
        half a window at a time; ``unconditional``: see `gencore_video.copies`; ``seconds``.

    Raises:
        InputError: fewer clips than `n`.
    """
    started, true = perf_counter(), truth(data, n)
    maker = Maker(pipe, seed, progress=progress)
    report: Report = {"clips": n, "seeds": [seed, seed + n - 1], "sampler": sampler_of(pipe)}
    for place, part in parts(maker, data, true, train).items():
        put(report, place, part())
    return report | {"seconds": round(perf_counter() - started, 1)}


def sampler_of(pipe: Pipeline) -> str:
    """The default sampler of `pipe` in words."""
    return f"{pipe.defaults.sampler}, {pipe.defaults.steps} steps"


def parts(maker: Maker, data: Data, true: Truth, train: Data | None = None) -> dict[Place, Callable[[], Report]]:
    """What a report of `true`, the first clips of `data`, consists of: where each part stands, and what measures it.

    Sets `maker.total` to all the clips that they make.
    """
    frames, n = true.frames, len(true.clips)
    counts = sorted({k for k in (1, 2, 4, 8, 12, 3 * frames // 4) if k <= 3 * frames // 4})

    def unconditional() -> Report:
        samples = maker(torch.zeros_like(true.clips), torch.ones_like(true.clips[:, :1], dtype=torch.bool))
        return _unconditional(samples, true, train if train is not None else _training(data))

    found: dict[Place, Callable[[], Report]] = {
        **{("tasks", name): partial(task, maker, true, kind) for name, kind in TASKS.items()},
        **{("given_frames", str(k)): partial(by_given_frames, maker, true, k) for k in counts},
        ("unconditional",): unconditional,
    }
    maker.total = n * len(found)
    if isinstance(data, PhysicsClips):
        found["roll_out",] = lambda: roll_out(maker, truth(data.longer(_ROLL_OUT), n), frames)
        maker.total += n * ((_ROLL_OUT - frames) * 2 // frames + 1)
    return found


def put(report: Report, place: Place, part: Any) -> None:
    """Set the entry of `report` that lies under the names of `path`."""
    for name in place[:-1]:
        report = report.setdefault(name, {})
    report[place[-1]] = part


def task(maker: Callable[[Tensor, Tensor], Tensor], true: Truth, kind: MaskKind) -> dict[str, Report]:
    """The figures of one task, model and baselines."""
    mask = task_mask(true, kind)
    return {"model": compare(maker(true.clips, mask), true, mask), **baselines(true, mask)}


def task_mask(true: Truth, kind: MaskKind) -> Tensor:
    """(B, 1, T, H, W): masks are those of seeds 0, 1, ..., whatever the samples' seed."""
    clips = true.clips
    return draw_masks(kind, (true.frames, *clips.shape[-2:]), Keyed(range(len(clips)), prefix=("evaluation",)))


def _unconditional(samples: Tensor, true: Truth, train: Data | None) -> Report:
    report: Report = {}
    if true.positions is not None:
        report["unevenness"] = {"model": unevenness(samples), "real": unevenness(true.clips)}
    if train is not None:
        report |= copies(samples, true, truth(train, min(len(train), _TRAINING_CLIPS)))
    return report


def _training(data: Data) -> Data | None:
    """Training clips like `data`, where they can be made here."""
    if not isinstance(data, PhysicsClips):
        return None
    try:
        return physics_clips(frames=data.frames, size=data.size, count=_TRAINING_CLIPS)
    except MissingDependency:
        return None
