"""One episode of a policy as a video."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np

from gencore.errors import InputError
from gencore_robot.outcomes import Rollout
from gencore_robot.rollout import rollout
from gencore_robot.video import available, write_video
from gencore_robot.wrappers.mapped import MappedVector


def film(policy: Any, env_id: str, path: str | Path, *, arguments: Mapping[str, Any] | None = None,
         force: bool = False, **how: Any) -> Rollout:  # fmt: skip
    """Play the first episode of `rollout` and write what its environment renders.

    Args:
        how: of `rollout`, without `episodes`, `num_envs` and `watch`.

    Raises:
        InputError: an environment that cannot render here, or as `rollout`; no file is left.
        MissingDependency: av is not installed.
    """
    available()
    _headless()
    frames: list[np.ndarray] = []
    rate = 10.0

    def watch(envs: MappedVector) -> None:
        nonlocal rate
        frames.append(_frame(envs, env_id))
        rate = float(envs.metadata.get("render_fps") or rate)

    found = rollout(policy, env_id, episodes=1, num_envs=1, watch=watch,
                    arguments={**(arguments or {}), "render_mode": "rgb_array"}, **how)  # fmt: skip
    write_video(path, frames, rate, force=force)
    return found


def _headless() -> None:
    # MuJoCo asks for a window unless it is told otherwise before it is imported.
    shown = os.environ.get("MUJOCO_GL") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and not shown and find_library("EGL"):
        os.environ["MUJOCO_GL"] = "egl"


def _frame(envs: MappedVector, env_id: str) -> np.ndarray:
    # What fails here is whatever a graphics library throws.
    try:
        shown = envs.render()
        frame = np.asarray(shown[0])  # type: ignore[index]
    except InputError as fault:
        raise InputError("--video", fault.given, "an environment that renders here",
                         "set MUJOCO_GL=egl or MUJOCO_GL=osmesa, or drop --video") from fault  # fmt: skip
    except Exception as fault:
        said = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise InputError("--video", f"no OpenGL ({said})", "an environment that renders here",
                         "set MUJOCO_GL=egl or MUJOCO_GL=osmesa, or drop --video") from fault  # fmt: skip
    if frame.ndim != 3 or frame.dtype != np.uint8:
        raise InputError("--video", f"{env_id} renders no pictures", "(H, W, 3) uint8 frames", "drop --video")
    return frame
