"""Episodes by the rules of RDT (github.com/thu-ml/RoboticsDiffusionTransformer).

    first = the first step where any |qpos - qpos_0| > 0.01;  a sample begins at a step in [first - 1, T)

Episodes of fewer than 128 steps are not used.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gencore.errors import InputError
from gencore_robot.codec import ActionCodec
from gencore_robot.readers.encoded import encoded
from gencore_robot.readers.episode import Episode, chunk
from gencore_robot.readers.hdf5 import STATE, cameras, dataset, frames, numbers, opened
from gencore_robot.statistics import Statistics

SHORTEST, MOVED, HISTORY = 128, 1e-2, 2
INSTRUCTIONS = "expanded_instruction_gpt-4-turbo.json"
CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")


def first_moving(qpos: np.ndarray) -> int:
    """The first step of (T, S) robot states, unscaled, that differs from step 0 by more than 0.01 somewhere.

    Raises:
        InputError: the robot never moves.

    >>> first_moving(np.array([[0.0], [0.005], [0.02]]))
    2
    """
    moved = (np.abs(qpos - qpos[:1]) > MOVED).any(1)
    if not moved.any():
        raise InputError("episode", "a robot that never moves", f"a step more than {MOVED} from the first")
    return int(np.argmax(moved))


def rdt_episode(path: Path) -> Episode:
    """The episode of a file and of the instructions beside it, if there are any.

    Raises:
        InputError: the file is damaged, too short, or nothing moves in it.
    """
    qpos, _ = numbers(path)
    if len(qpos) < SHORTEST:
        raise InputError(f"{path}: steps", len(qpos), f"at least {SHORTEST}")
    with opened(path) as file:
        seeing = cameras(path, file)
    return Episode(str(path), len(qpos), partial(numbers, path), first_moving(qpos) - 1, instructions(path),
                   pictures=seeing)  # fmt: skip


def long_enough(path: Path) -> bool:
    """Whether a file has the steps that an episode needs to be used.

    Raises:
        InputError: the file is damaged or lacks a key.
    """
    with opened(path) as file:
        return len(dataset(file, STATE, path)) >= SHORTEST


def instructions(path: Path) -> tuple[tuple[str, ...], ...]:
    """The three ways to say the task of an episode, each one text or more; none without their file.

    Raises:
        InputError: the file is no JSON, or lacks a way.
    """
    file = path.with_name(INSTRUCTIONS)
    if not file.is_file():
        return ()
    try:
        said = json.loads(file.read_text("utf-8"))
        ways = [said[key] for key in ("instruction", "simplified_instruction", "expanded_instruction")]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("instructions", file, "JSON with instruction, simplified_ and expanded_instruction") from error
    groups = tuple((way,) if isinstance(way, str) else tuple(way) for way in ways)
    if not all(group and all(isinstance(text, str) for text in group) for group in groups):
        raise InputError("instructions", file, "a text or several, each way")
    return groups


def sample(path: Path, step: int, codec: ActionCodec) -> dict[str, Any]:
    """What RDT is trained on, numbers float64, statistics over the whole episode.

    Args:
        step: in [first - 1, T).

    Returns:
        ``state`` (1, 128), ``actions`` (horizon, 128), ``state_indicator`` (128,), ``state_mean``, ``state_std``,
        ``state_norm`` (128,), and of each of `CAMERAS` ``<camera>`` (2, H, W, 3) uint8 BGR of the steps
        before and at `step`, and ``<camera>_mask`` (2,) bool, which of the two lie in the motion.

    Raises:
        InputError: as `rdt_episode`, a camera the file lacks, or a step outside.
    """
    episode = rdt_episode(path)
    if not episode.start <= step < episode.length:
        raise InputError(f"{path}: step", step, f"{episode.start}..{episode.length - 1}")
    state, action = encoded(episode, codec)
    moments = Statistics.of(state)
    found = {
        "state": state[step : step + 1], "actions": chunk(action, step, codec.horizon),
        "state_indicator": codec.state.valid.numpy().astype(np.float64),
        "state_mean": moments.mean, "state_std": moments.std, "state_norm": moments.rms,
    }  # fmt: skip
    valid = np.arange(HISTORY) >= HISTORY - min(step - episode.start + 1, HISTORY)
    for camera in CAMERAS:
        found[camera] = frames(path, camera, [max(step - back, 0) for back in reversed(range(HISTORY))])
        found[f"{camera}_mask"] = valid
    return found


def trajectory(path: Path, codec: ActionCodec) -> tuple[np.ndarray, np.ndarray]:
    """State and action, (T - first + 1, 128) float64 each, from the step before the first motion on.

    Raises:
        InputError: as `rdt_episode`.
    """
    episode = rdt_episode(path)
    state, action = encoded(episode, codec)
    return state[episode.start :], action[episode.start :]
