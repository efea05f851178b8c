"""A scripted expert of the cube transfer: way-points of both hands, turned into joint targets by physics.

The hands are dragged along their way-points by mocap welds in gym-aloha's end-effector scene, and the joint positions
they pass are the demonstration (ACT, arXiv 2304.13705, section on simulated data).  The weld of that scene is too soft
in current MuJoCo, the hand lags and the cube stays behind; a solimp of 0.9 to 0.95 restores it.
"""

# MuJoCo is a compiled module without stubs: pyright sees none of its names.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import numpy as np

from gencore.errors import InputError
from gencore_robot.envs import viperx
from gencore_robot.experts.waypoints import Waypoint, about, path

STEPS = 400
_LEVEL, _DOWN, _SIDE = about(0, 0.0), about(1, -70.0), about(0, 90.0)
_START = np.array([0.182, 0.5, 0.295])
_MEET = np.array([0.0, 0.5, 0.25])


def waypoints(cube: np.ndarray) -> tuple[list[Waypoint], list[Waypoint]]:
    """The way-points of the left and of the right hand for a cube at (3,) metres."""
    mirror, up, aside = np.array([-1.0, 1.0, 1.0]), np.array([0.0, 0.0, 0.1]), np.array([0.1, 0.0, 0.0])
    # The hand turns down before it moves aside: the wrist is straight on the way, and turning there with the arm aside
    # rolls the forearm over.
    grasp, held = np.array([cube[0], cube[1], 0.02]), _MEET - np.array([0.015, 0.0, 0.0])
    left = [
        Waypoint(0, _START * mirror, _LEVEL, 0.0),
        Waypoint(120, _MEET - aside, _SIDE, 1.0),
        Waypoint(270, _MEET - aside, _SIDE, 1.0),
        Waypoint(310, held, _SIDE, 1.0),
        Waypoint(330, held, _SIDE, 0.0),
        Waypoint(355, held, _SIDE, 0.0),
        Waypoint(399, held - aside, _SIDE, 0.0),
    ]
    right = [
        Waypoint(0, _START, _LEVEL, 0.0),
        Waypoint(40, _START, _DOWN, 1.0),
        Waypoint(95, grasp + up, _DOWN, 1.0),
        Waypoint(130, grasp, _DOWN, 1.0),
        Waypoint(140, grasp, _DOWN, 1.0),
        Waypoint(165, grasp, _DOWN, 0.0),
        Waypoint(210, grasp + 1.5 * up, _DOWN, 0.0),
        Waypoint(265, _MEET, _DOWN, 0.0),
        Waypoint(335, _MEET, _DOWN, 0.0),
        Waypoint(355, _MEET, _DOWN, 1.0),
        Waypoint(399, _MEET + aside, _DOWN, 1.0),
    ]
    return left, right


def transfer_cube(env_state: np.ndarray, rng: np.random.Generator | None = None, jitter: float = 0.0) -> np.ndarray:
    """The (400, 14) float32 joint targets that hand the cube over, an open-loop demonstration.

    Args:
        env_state: (7,) the cube's pose at reset: x y z in metres, quaternion.
        rng: source of `jitter`.
        jitter: way-points move by up to this many metres along each axis.

    Raises:
        InputError: another shape, or jitter without a source.
        MissingDependency: gym-aloha or mujoco is not installed.
    """
    state = np.asarray(env_state, dtype=np.float64)
    if state.shape != (7,):
        raise InputError("env_state", f"shape {state.shape}", "(7,), the pose of the cube")
    if jitter and rng is None:
        raise InputError("jitter", jitter, "0 without a generator", "pass rng")
    model, data = viperx.load("bimanual_viperx_end_effector_transfer_cube")
    model.eq_solimp[:, :2] = 0.9, 0.95
    left, right = (path(points, STEPS) for points in waypoints(state[:3]))
    if rng is not None and jitter:
        for hand in (left, right):
            knots = rng.uniform(-jitter, jitter, (9, 3))
            knots[0] = 0
            for axis in range(3):
                hand[:, axis] += np.interp(np.arange(STEPS), np.linspace(0, STEPS - 1, 9), knots[:, axis])
    return _dragged(model, data, state, left, right)


def _dragged(model: Any, data: Any, state: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    import mujoco  # pyright: ignore[reportMissingImports]

    mujoco.mj_resetData(model, data)
    data.qpos[:16], data.qpos[16:] = viperx.HOME, state
    data.mocap_pos[:], data.mocap_quat[:] = (left[0, :3], right[0, :3]), (left[0, 3:7], right[0, 3:7])
    mujoco.mj_forward(model, data)
    out = np.zeros((len(left), 14), np.float32)
    for i, (one, other) in enumerate(zip(left, right, strict=True)):
        data.mocap_pos[:], data.mocap_quat[:] = (one[:3], other[:3]), (one[3:7], other[3:7])
        grips = viperx.fingers(one[7]), viperx.fingers(other[7])
        data.ctrl[:] = grips[0], -grips[0], grips[1], -grips[1]
        viperx.advance(model, data)
        out[i] = viperx.joints(data.qpos)
        out[i, 6], out[i, 13] = one[7], other[7]
    return out
