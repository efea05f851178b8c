"""Files of a recording: one an episode, and the log of what was tried."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gencore.errors import InputError
from gencore.media.files import atomic_path, atomic_write
from gencore_robot.embodiments.embodiment import ROLES, Embodiment
from gencore_robot.wrappers.mapping import EnvMapping

LOG = "recording.json"


def checked(arrays: dict[str, Any], seed: int) -> dict[str, Any]:
    """What `write` takes.

    Args:
        arrays: word of the mapping, and ``action``: its values, one a step.

    Raises:
        InputError: no ``state``, or a value that is not finite.
    """
    if "state" not in arrays:
        raise InputError("mapping", f"words {', '.join(arrays)}", "state among them: a recording needs the robot's")
    numbers = {
        word: np.asarray(arrays[word], np.float32) for word in ("state", "env_state", "action") if word in arrays
    }
    for word, values in numbers.items():
        if bad := np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1)).tolist():
            raise InputError(word, f"a value that is not finite at step {bad[0]} of seed {seed}", "finite numbers",
                             "check the environment")  # fmt: skip
    return arrays | numbers


def write(path: Path, arrays: dict[str, Any], instruction: str, success: bool, seed: int,
          robot: Embodiment | None) -> None:  # fmt: skip
    """Write an episode, whole or not at all.

    Args:
        arrays: of `checked`.
    """
    import h5py

    said = instruction or (arrays["instruction"][0] if "instruction" in arrays else "")
    with atomic_path(path, force=True) as part, h5py.File(part, "w") as file:
        file["observations/qpos"] = arrays["state"]
        file["action"] = arrays["action"]
        if "env_state" in arrays:
            file["observations/env_state"] = arrays["env_state"]
        if "images" in arrays:
            frames = np.moveaxis(np.asarray(arrays["images"]), -3, -1)
            named = [] if robot is None else [robot.cameras[role] for role in ROLES if role in robot.cameras]
            if len(named) != frames.shape[1]:
                named = [f"view_{view}" for view in range(frames.shape[1])]
            for view, camera in enumerate(named):
                file.create_dataset(f"observations/images/{camera}", data=frames[:, view], compression="gzip")
        file.attrs.update({"instruction": said, "sim": True, "success": success, "seed": seed})
        if robot is not None:
            file.attrs["embodiment"] = json.dumps(robot.config())


def signature(mapping: EnvMapping) -> str:
    """The name of a mapping and what tells its content from another's."""
    content = json.dumps(asdict(mapping), sort_keys=True, default=lambda value: np.asarray(value).tolist())
    return f"{mapping.name} ({hashlib.sha256(content.encode()).hexdigest()[:8]})"


def opened(folder: Path, made: dict[str, Any]) -> dict[int, tuple[int, bool]]:
    """What was recorded before: {seed: (steps, success)}.

    Args:
        made: how it is recorded, as JSON.

    Raises:
        InputError: a folder of something else, or one recorded in another way.
    """
    log = folder / LOG
    if not log.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError("--output", f"{folder} (not empty, and no recording)", "a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        return {}
    try:
        before = json.loads(log.read_text("utf-8"))
        outcomes = {int(seed): (int(steps), bool(success)) for seed, (steps, success) in before["outcomes"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise InputError("--output", log, "the log of a recording", str(fault)) from fault
    # A log from before a key was kept says nothing about it.
    if other := [key for key in made if key in before and before[key] != made[key]]:
        raise InputError("--output", f"{folder}, recorded with {other[0]} {before[other[0]]}",
                         f"{other[0]} {made[other[0]]}", "record into another folder")  # fmt: skip
    return outcomes


def note(folder: Path, made: dict[str, Any], outcomes: dict[int, tuple[int, bool]]) -> None:
    """Write the log that `opened` reads."""
    with atomic_write(folder / LOG, "w", force=True) as file:
        json.dump({**made, "outcomes": outcomes}, file, indent=1)
        file.write("\n")
