"""Simulated clips as a dataset: training clips are made as they are read, held-out ones lie in the package.

Clip i of a training set is the motion of seed 1,000,000 + i, held-out clip i that of seed i.  The held-out motions are
stored (positions on a 2^-16 grid), so evaluation needs no physics engine and its clips never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

from gencore.data import Data
from gencore.errors import InputError
from gencore_video.physics.motion import DISCS, Motion, simulate
from gencore_video.physics.render import render

TRAINING_SEEDS, TRAINING_CLIPS = 1_000_000, 1 << 17
HELD_OUT = Path(__file__).parents[1] / "default" / "physics" / "held-out.npz"
_GRID = 1 << 16


class Simulated(Sequence[Motion]):
    """Motions computed when they are asked for; arguments as of `simulate`, one seed each."""

    def __init__(self, seeds: range, frames: int, *, box: Sequence[float] = (1.0, 1.0), gravity: float = 0.0) -> None:
        self.seeds, self.frames, self.box, self.gravity = seeds, frames, tuple(box), gravity

    def __len__(self) -> int:
        return len(self.seeds)

    @overload
    def __getitem__(self, index: int) -> Motion: ...
    @overload
    def __getitem__(self, index: slice) -> Simulated: ...
    def __getitem__(self, index: int | slice) -> Motion | Simulated:
        if isinstance(index, slice):
            return Simulated(self.seeds[index], self.frames, box=self.box, gravity=self.gravity)
        return simulate(self.seeds[index], self.frames, box=self.box, gravity=self.gravity)


class PhysicsClips(Data):
    """``{"data": (3, T, H, W) float32 in [-1, 1]}`` of discs in a box, one disc a colour channel.

    Args:
        motions: of at least `frames` frames each.
        frames: T.
        size: (H, W).
        name: of the set, for `describe`.
    """

    def __init__(self, motions: Sequence[Motion], frames: int, size: Sequence[int], name: str) -> None:
        self.motions, self.frames, self.size, self.name = motions, frames, (int(size[0]), int(size[1])), name
        self.channels = DISCS

    def __len__(self) -> int:
        return len(self.motions)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        motion = self.motion(index)
        return {"data": torch.from_numpy(render(motion, self.size)).float() / 127.5 - 1}

    def motion(self, index: int) -> Motion:
        """The paths that clip `index` shows."""
        whole = self.motions[index]
        return Motion(whole.positions[: self.frames], whole.radii)

    def longer(self, frames: int) -> PhysicsClips:
        """The same clips with `frames` frames; held-out motions hold 80.

        Raises:
            InputError: more frames than the motions hold.
        """
        held = len(self.motions[0].positions)
        if frames > held:
            raise InputError("frames", frames, f"at most {held}, the length of these motions")
        return PhysicsClips(self.motions, frames, self.size, self.name)

    def describe(self) -> str:
        height, width = self.size
        return f"{len(self)} {self.name} clips of colliding discs, {self.frames} frames of {height}x{width}"


def physics_clips(*, held_out: bool = False, frames: int = 16, size: Sequence[int] = (32, 32), gravity: float = 0.0,
                  count: int | None = None) -> PhysicsClips:  # fmt: skip
    """Clips of three discs that collide in a box, for training or held out from it.

    Args:
        held_out: the packaged motions (square frames without gravity; anything else is simulated, from seed 0 on).
        frames: T.
        size: (H, W).
        gravity: see `gencore_video.physics.motion.simulate`.
        count: how many clips; by default 131,072 for training, all packaged ones held out.

    Raises:
        InputError: no clip or frame, a size below 8x8, or gravity out of range.
        MissingDependency: clips must be simulated and pymunk is not installed.

    >>> physics_clips(held_out=True)[3]["data"].shape
    torch.Size([3, 16, 32, 32])
    """
    if len(size) != 2 or min(size) < 8:
        raise InputError("size", "x".join(map(str, size)), "HxW, 8x8 or more")
    for name, value in (("frames", frames), ("count", count)):
        if value is not None and value < 1:
            raise InputError(name, value, "1 or more")
    box = tuple(n / min(size) for n in size)
    if held_out:
        stored = packaged_motions()
        wanted = len(stored) if count is None else count
        fits = size[0] == size[1] and not gravity and frames <= len(stored[0].positions) and wanted <= len(stored)
        motions = stored[:wanted] if fits else Simulated(range(wanted), frames, box=box, gravity=gravity)
        return PhysicsClips(motions, frames, size, "held-out")
    seeds = range(TRAINING_SEEDS, TRAINING_SEEDS + (TRAINING_CLIPS if count is None else count))
    simulated = Simulated(seeds, frames, box=box, gravity=gravity)
    simulated[0]
    return PhysicsClips(simulated, frames, size, "training")


@cache
def packaged_motions() -> tuple[Motion, ...]:
    """The held-out motions of 80 frames that come with the package, seeds 0, 1, ..."""
    with np.load(HELD_OUT, allow_pickle=False) as file:
        positions, radii = file["positions"] / _GRID, file["radii"] / _GRID
    return tuple(map(Motion, positions, radii))


def store_motions(motions: Sequence[Motion], path: Path) -> None:
    """Write square motions of one length as `packaged_motions` reads them: uint16 positions (S, T, N, 2), radii."""
    arrays = {"positions": [m.positions for m in motions], "radii": [m.radii for m in motions]}
    np.savez_compressed(path, **{k: np.rint(np.stack(v) * _GRID).astype(np.uint16) for k, v in arrays.items()})
