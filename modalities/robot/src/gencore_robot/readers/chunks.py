"""Chunks of actions with the state they follow, from episodes of any reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gencore.data import Data
from gencore.errors import InputError
from gencore_robot.codec import ActionCodec
from gencore_robot.readers.encoded import encoded
from gencore_robot.readers.episode import Episode, chunk
from gencore_robot.statistics import Statistics

KEPT = 128
"""Episodes a process keeps in memory."""


class ActionChunks(Data):
    """One item a step that may begin a sample, so that every episode counts by its length.

    An item is ``data`` (horizon, 128) and ``state``, ``indicator`` (128,), float32, ``frequency`` in Hz, and
    ``instruction``, drawn by the seed and the item's number.

    Args:
        episodes: at least one.
        codec: of the robot they were recorded on.
        frequency: actions a second; None is the embodiment's.

    Raises:
        InputError: no episodes.
    """

    def __init__(self, episodes: Sequence[Episode], codec: ActionCodec, *, frequency: float | None = None,
                 seed: int = 0) -> None:  # fmt: skip
        if not episodes:
            raise InputError("episodes", "none", "at least one")
        self.codec, self.seed = codec, seed
        self.frequency = float(codec.embodiment.control_hz if frequency is None else frequency)
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._take(episodes)

    def _take(self, episodes: Sequence[Episode]) -> None:
        self.episodes = list(episodes)
        self._ends = np.cumsum([episode.length - episode.start for episode in self.episodes])
        self._kept.clear()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._ends, index, side="right"))
        episode = self.episodes[number]
        step = episode.length - (int(self._ends[number]) - index)
        state, action = self._encoded(number)
        return {
            "data": torch.from_numpy(chunk(action, step, self.codec.horizon)).float(),
            "state": torch.from_numpy(state[step]).float(),
            "indicator": self.codec.state.valid.float(),
            "frequency": torch.tensor(self.frequency),
            "instruction": episode.instruction(np.random.default_rng((self.seed, index))),
        }

    def _encoded(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if number not in self._kept:
            if len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[number] = encoded(self.episodes[number], self.codec)
        return self._kept[number]

    def statistics(self) -> Statistics:
        """Of all states from the first step of a sample on, in the unified space."""
        return Statistics.of(
            np.concatenate([encoded(episode, self.codec)[0][episode.start :] for episode in self.episodes])
        )

    def describe(self) -> str:
        return f"{len(self.episodes)} episodes, {len(self)} steps of {self.codec.embodiment.name}"

    def verify(self) -> dict[str, str]:
        faults: dict[str, str] = {}
        for episode in self.episodes:
            try:
                encoded(episode, self.codec)
            except InputError as error:
                faults[episode.name] = str(error)
        self._take([episode for episode in self.episodes if episode.name not in faults])
        return faults
