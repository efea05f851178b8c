"""The bimanual ViperX of ACT (arXiv 2304.13705) in MuJoCo: joints, grippers and time, without a renderer.

The scenes are those of the package gym-aloha.  14 numbers describe the robot, [left 6 joints in radians, left gripper,
right 6 joints, right gripper], a gripper being 0 closed and 1 open; 50 control steps a second.
"""

# MuJoCo is a compiled module without stubs: pyright sees none of its names.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from gencore.errors import InputError, MissingDependency

CONTROL_HZ = 50
HOME = np.array([0, -0.96, 1.16, 0, -0.3, 0, 0.02239, -0.02239] * 2)
"""(16,) joint positions at reset: per arm 6 angles in radians and two finger positions in metres."""
CLOSED, OPEN = 0.01844, 0.058
"""Finger positions in metres that count as gripper 0 and 1."""


def load(scene: str) -> tuple[Any, Any]:
    """MuJoCo's model and data of a scene, for instance ``"bimanual_viperx_insertion"``.

    Raises:
        MissingDependency: gym-aloha or mujoco is not installed.
        InputError: MUJOCO_GL names a back end whose library is missing.
    """
    for package in ("mujoco", "gym_aloha"):
        if (found := find_spec(package)) is None:
            raise MissingDependency(package, "the ALOHA environments", "gencore-robot[aloha]")
    try:
        import mujoco  # pyright: ignore[reportMissingImports]
    except (ImportError, AttributeError) as fault:
        # MuJoCo opens the library of MUJOCO_GL while it is imported, whether or not anything is drawn.
        raise InputError("MUJOCO_GL", os.environ.get("MUJOCO_GL", ""), "a back end whose library is installed",
                         "unset it where nothing is drawn") from fault  # fmt: skip

    folder = Path(str(found.origin)).parent / "assets"
    model = mujoco.MjModel.from_xml_path(str(folder / f"{scene}.xml"))
    return model, mujoco.MjData(model)


def advance(model: Any, data: Any) -> None:
    """One control step with the controls that are set; afterwards contacts belong to the new positions."""
    import mujoco  # pyright: ignore[reportMissingImports]

    substeps = round(1 / CONTROL_HZ / model.opt.timestep)
    mujoco.mj_step2(model, data)
    mujoco.mj_step(model, data, substeps - 1)
    mujoco.mj_step1(model, data)


def fingers(gripper: float) -> float:
    """The finger position in metres of a gripper from 0 to 1.

    >>> round(fingers(1.0), 6)
    0.058
    """
    return CLOSED + gripper * (OPEN - CLOSED)


def controls(action: np.ndarray) -> np.ndarray:
    """The (16,) actuator targets of 14 joint targets."""
    left, right = fingers(action[6]), fingers(action[13])
    return np.concatenate((action[:6], [left, -left], action[7:13], [right, -right]))


def joints(qpos: np.ndarray) -> np.ndarray:
    """The 14 numbers of a (16+,) position."""
    grippers = (qpos[[6, 14]] - CLOSED) / (OPEN - CLOSED)
    return np.concatenate((qpos[:6], grippers[:1], qpos[8:14], grippers[1:]))


def touching(model: Any, data: Any) -> set[frozenset[str]]:
    """The pairs of names of geoms in contact."""
    pairs = data.contact.geom[: data.ncon]
    return {frozenset(model.geom(int(i)).name for i in pair) for pair in pairs}
