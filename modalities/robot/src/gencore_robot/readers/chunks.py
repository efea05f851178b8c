"""Chunks of actions with the observation they follow, from episodes of any reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gencore.data import Data
from gencore.errors import InputError
from gencore_robot.codec import ActionCodec
from gencore_robot.conditioning.frames import CameraFrames
from gencore_robot.conditioning.lowdim import LowDim
from gencore_robot.conditioning.observation import Observation
from gencore_robot.conditioning.phrases import PhraseList
from gencore_robot.conditioning.precomputed import Precomputed
from gencore_robot.data import Episodes, Numbers
from gencore_robot.embodiments.embodiment import difference
from gencore_robot.readers.episode import chunk
from gencore_robot.readers.pictures import pictures, require_pictures
from gencore_robot.readers.tokens import require_tokens, tokens

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline


class ActionChunks(Data):
    """One item a step that may begin a sample, so that every episode counts by its length.

    An item is ``data`` (horizon, A) and ``state`` (S,) in the robot's units, float32, ``env_state`` (E,) where all
    episodes have one, ``images`` (views, 3, H, W) uint8 of its cameras, and ``instruction``, drawn by the seed and the
    item's number.

    Args:
        episodes: of one robot.
        codec: of that robot.
        frequency: actions a second; None is the embodiment's.
        read: encoders whose tokens lie beside the episodes and belong to the items.
        cameras: what the pictures of the items are for; None reads none.

    Raises:
        InputError: episodes without those tokens or pictures.
    """

    def __init__(self, episodes: Episodes, codec: ActionCodec, *, frequency: float | None = None, seed: int = 0,
                 read: Sequence[Precomputed] = (), cameras: CameraFrames | None = None) -> None:  # fmt: skip
        require_tokens(episodes.episodes, read)
        if cameras is not None:
            require_pictures(episodes.episodes, cameras, codec.embodiment)
        self.codec, self.seed, self.read, self.cameras = codec, seed, list(read), cameras
        self.frequency = float(codec.embodiment.control_hz if frequency is None else frequency)
        self._take(episodes)

    def _take(self, episodes: Episodes) -> None:
        self.episodes, self.sees = episodes, episodes.sees
        self._fit: set[int] = set()
        self._ends = np.cumsum([episode.length - episode.start for episode in episodes.episodes])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def place(self, index: int) -> tuple[int, int]:
        """Episode and step of an item.

        Raises:
            IndexError: no such item.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, self.episodes.episodes[number].length - (int(self._ends[number]) - index)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        number, step = self.place(index)
        read = self.numbers(number)
        item: dict[str, Any] = {"data": _floats(chunk(read.action, step, self.codec.horizon)),
                                "state": _floats(read.state[step])}  # fmt: skip
        if self.sees and read.env_state is not None:
            item["env_state"] = _floats(read.env_state[step])
        episode = self.episodes.episodes[number]
        for part in self.read:
            item |= tokens(episode, step, part)
        if self.cameras is not None:
            item["images"] = pictures(episode, step, self.cameras, self.codec.embodiment)
        return {**item, "instruction": episode.instruction(np.random.default_rng((self.seed, index)))}

    def before(self, index: int) -> Tensor:
        """(A,) the action before an item's step, or at the beginning of an episode its first one."""
        number, step = self.place(index)
        return _floats(self.numbers(number).action[max(step - 1, 0)])

    def numbers(self, number: int) -> Numbers:
        """An episode, in the robot's units.

        Raises:
            InputError: it cannot be read, is of another robot, or leaves its limits.
        """
        read = self.episodes.numbers(number)
        if number in self._fit:
            return read
        try:
            self.codec.state.check(torch.from_numpy(read.state))
            self.codec.action.check_limits(torch.from_numpy(read.action))
        except InputError as error:
            name = self.episodes.episodes[number].name
            raise InputError(f"{name}: {error.field}", error.given, error.accepted, error.hint) from error
        self._fit.add(number)
        return read

    def describe(self) -> str:
        told = f"{len(self.episodes)} episodes, {len(self)} steps of {self.codec.embodiment.name}"
        return told + (f"; {self.episodes.note}" if self.episodes.note else "")

    def verify(self) -> dict[str, str]:
        faults = self.episodes.verify()
        self._take(self.episodes)
        for number, episode in enumerate(self.episodes.episodes):
            try:
                self.numbers(number)
                if self.cameras is not None:
                    pictures(episode, episode.length - 1, self.cameras, self.codec.embodiment)
            except InputError as error:
                faults[episode.name] = str(error)
        self._take(self.episodes.without(faults))
        return faults


class UnifiedChunks(Data):
    """The chunks of several robots in one space: ``data`` (horizon, 128), NaN in slots the robot lacks, ``state`` and
    ``indicator`` (128,), 1 in the slots that its state or its action fills, ``frequency`` in Hz, and what else the
    items of `parts` have.

    Args:
        parts: each of one robot, at least one.
    """

    def __init__(self, parts: list[ActionChunks]) -> None:
        self.parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._ends, index, side="right"))
        part = self.parts[number]
        item = part[index - (int(self._ends[number]) - len(part))]
        codec = part.codec
        chunk = codec.encode_actions(item["data"]).masked_fill(~codec.action.valid, float("nan"))
        return {**item, "data": chunk, "state": codec.encode_state(item["state"]).value,
                "indicator": codec.indicator.float(), "frequency": torch.tensor(part.frequency)}  # fmt: skip

    def describe(self) -> str:
        return "; ".join(part.describe() for part in self.parts)


def _floats(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).float()


def _require_phrases(episodes: Episodes, phrases: PhraseList) -> None:
    for episode in episodes.episodes:
        said = [text for group in episode.instructions for text in group]
        if not said:
            raise InputError("data", f"{episode.name} without an instruction", "one of the model's in each episode")
        for text in said:
            try:
                phrases.row(text)
            except InputError as error:
                raise InputError(f"{episode.name}: instruction", error.given, error.accepted, error.hint) from error


def chunks_of(episodes: Episodes, pipe: Pipeline) -> ActionChunks | UnifiedChunks:
    """The chunks that train `pipe`: of its robot, or in the unified space of all robots of the episodes.

    Raises:
        InputError: episodes of another robot than the pipeline's, or without what its conditioner reads.
    """
    parts = pipe.conditioner.parts if isinstance(pipe.conditioner, Observation) else [pipe.conditioner]
    read = [part for part in parts if isinstance(part, Precomputed)]
    cameras = next((part for part in parts if isinstance(part, CameraFrames)), None)
    if any(isinstance(part, LowDim) for part in parts) and not episodes.sees:
        raise InputError("data", "episodes without env_state", "low-dimensional state of the environment in each")
    for phrases in (part for part in parts if isinstance(part, PhraseList)):
        _require_phrases(episodes, phrases)
    if isinstance(pipe.tokenizer, ActionCodec):
        (robot, *others) = episodes.robots(pipe.tokenizer.embodiment)
        trained = pipe.tokenizer.embodiment
        differs = difference(robot, trained)
        if others or differs:
            given = ", ".join(one.name for one in (robot, *others))
            same = f" with {differs}" if given == trained.name else ""
            raise InputError("data", f"episodes of {given}{same}", f"of {trained.name}, the model's robot")
        return ActionChunks(episodes, pipe.tokenizer, read=read, cameras=cameras)
    horizon = pipe.tokenizer.spec().sizes[0]
    return UnifiedChunks([
        ActionChunks(episodes.of(robot.name), ActionCodec(robot, horizon), read=read, cameras=cameras)
        for robot in episodes.robots()
    ])  # fmt: skip
