"""Demonstrations as they lie on disk: what presets look at, and what chunks are cut from."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from gencore.data import Data
from gencore.errors import InputError
from gencore_robot.conditioning.phrases import plain
from gencore_robot.embodiments.embodiment import Embodiment, difference
from gencore_robot.embodiments.library import load
from gencore_robot.readers.episode import Episode

ROBOT, HELD_OUT = "embodiment.json", "test"
"""The file that says the robot of episodes that do not say theirs, and the sub-folder kept apart for evaluation."""


class Numbers(NamedTuple):
    """An episode in the robot's units: state (T, S), action (T, A), and env_state (T, E) or None; float64."""

    state: np.ndarray
    action: np.ndarray
    env_state: np.ndarray | None


class Episodes(Data):
    """Whole episodes: ``data`` (T, A) and ``state`` (T, S) and, where all have one, ``env_state`` (T, E); float32.

    Args:
        episodes: at least one.
        note: what `describe` says beside, for instance that nothing was held out.

    Raises:
        InputError: no episodes.
    """

    def __init__(self, episodes: Sequence[Episode], note: str = "") -> None:
        if not episodes:
            raise InputError("data", "no episodes", "at least one")
        self.episodes, self.note = list(episodes), note
        self._kept: dict[int, Numbers] = {}

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        read = self.numbers(index)
        item = {"data": read.action, "state": read.state}
        if self.sees and read.env_state is not None:
            item["env_state"] = read.env_state
        return {key: torch.from_numpy(value).float() for key, value in item.items()}

    @property
    def sees(self) -> bool:
        """Whether all episodes have a state of the environment."""
        return all(episode.environment is not None for episode in self.episodes)

    @property
    def phrases(self) -> list[str]:
        """All instructions that `PhraseList` tells apart, in alphabetical order; of several spellings the first."""
        said = {text for episode in self.episodes for group in episode.instructions for text in group}
        spelt = {plain(text): text for text in sorted(said, reverse=True)}
        return sorted(text for short, text in spelt.items() if short)

    def robots(self, otherwise: Embodiment | None = None) -> list[Embodiment]:
        """The robots they were recorded on, each once.

        Args:
            otherwise: the robot of episodes that do not say theirs.

        Raises:
            InputError: such an episode, and no `otherwise`; or two robots of one name.
        """
        found: dict[str, Embodiment] = {}
        for episode in self.episodes:
            robot = episode.embodiment or otherwise
            if robot is None:
                raise InputError("data", f"{episode.name} without the robot it was recorded on", "its embodiment",
                                 f"{ROBOT} in the folder says it for all")  # fmt: skip
            if differs := difference(robot, found.setdefault(robot.name, robot)):
                raise InputError("data", f"{episode.name} of a '{robot.name}' with {differs}",
                                 "one embodiment for each name")  # fmt: skip
        return list(found.values())

    def of(self, robot: str) -> Episodes:
        """The episodes of one robot."""
        found = [one for one in self.episodes if one.embodiment is not None and one.embodiment.name == robot]
        return Episodes(found, self.note)

    def numbers(self, index: int) -> Numbers:
        """One episode, kept in memory once it was read.

        Raises:
            InputError: it cannot be read, or its parts differ in length.
        """
        if index not in self._kept:
            episode = self.episodes[index]
            state, action = episode.numbers()
            seen = None if episode.environment is None else episode.environment()
            if seen is not None and len(seen) != len(state):
                raise InputError(f"{episode.name}: env_state", f"{len(seen)} steps", f"{len(state)}, as the state has")
            self._kept[index] = Numbers(state, action, seen)
        return self._kept[index]

    def describe(self) -> str:
        steps = sum(episode.length - episode.start for episode in self.episodes)
        return f"{len(self)} episodes, {steps} steps" + (f"; {self.note}" if self.note else "")

    def verify(self) -> dict[str, str]:
        faults: dict[str, str] = {}
        for i, episode in enumerate(self.episodes):
            try:
                self.numbers(i)
            except InputError as error:
                faults[episode.name] = str(error)
        kept = self.without(faults) if len(faults) < len(self) else None
        self.episodes, self._kept = ([], {}) if kept is None else (kept.episodes, kept._kept)
        return faults

    def without(self, names: Container[str]) -> Episodes:
        """The episodes that are not among `names`.

        Raises:
            InputError: none is left.
        """
        kept = [i for i, episode in enumerate(self.episodes) if episode.name not in names]
        found = Episodes([self.episodes[i] for i in kept], self.note)
        found._kept = {new: self._kept[old] for new, old in enumerate(kept) if old in self._kept}
        return found


def open_episodes(source: Path, *, held_out: bool = False) -> Episodes:
    """The episodes of a folder of HDF5 files (those of ACT and of ``gencore record``, or, with RDT's instructions
    beside them, of RDT, whose episodes below 128 steps are left out), of one such file, or of a LeRobot dataset of
    version 3.

    Args:
        source: where they lie; its sub-folder ``test``, if there is one, is kept apart, and its ``embodiment.json``
            is the robot of episodes that do not say theirs.
        held_out: take that sub-folder; without one all episodes are taken, and `describe` says so.

    Raises:
        InputError: nothing there, a damaged file, or a LeRobot dataset of another rate than its robot.
    """
    from gencore_robot.readers.hdf5 import act_episode
    from gencore_robot.readers.lerobot import lerobot_episodes, rate
    from gencore_robot.readers.rdt import INSTRUCTIONS, SHORTEST, long_enough, rdt_episode

    if not source.exists():
        raise InputError("data", source, "an existing folder or .hdf5 file")
    apart, robot = source / HELD_OUT, source / ROBOT
    if held_out and apart.is_dir():
        found = open_episodes(apart).episodes
    elif (source / "meta" / "info.json").is_file():
        found = lerobot_episodes(source)
    else:
        files = [source] if source.is_file() else sorted([*source.rglob("*.hdf5"), *source.rglob("*.h5")])
        # A dot begins the names of files that are still being written, or were when their writer was killed.
        files = [file for file in files if apart not in file.parents and not file.name.startswith(".")]
        if not files:
            raise InputError("data", f"{source} without episodes",
                             ".hdf5 files, or a LeRobot folder with meta/info.json")  # fmt: skip
        by_rdt = {file: file.with_name(INSTRUCTIONS).is_file() for file in files}
        used = [file for file in files if not by_rdt[file] or long_enough(file)]
        if not used:
            told = f"{source} with {len(files)} episodes of RDT below {SHORTEST} steps"
            raise InputError("data", told, "longer ones")
        found = [rdt_episode(file) if by_rdt[file] else act_episode(file) for file in used]
    if robot.is_file():
        known = load(robot)
        if (source / "meta" / "info.json").is_file() and (hz := rate(source)) != known.control_hz:
            raise InputError(f"{robot}: control_hz", known.control_hz, f"{hz:g}, the fps of the dataset")
        found = [episode if episode.embodiment else replace(episode, embodiment=known) for episode in found]
    note = f"all of it: no folder '{HELD_OUT}' keeps any apart" if held_out and not apart.is_dir() else ""
    return Episodes(found, note)
