"""Two bimanual ALOHA tasks that cost milliseconds a step: no camera renders unless it is asked for.

Scenes, rewards and success are those of gym-aloha (reward 0 to 4, success at 4), whose environments render three
cameras at every step and share the object's pose between instances.  Here the pose is drawn from the instance's own
generator, and the limits of the action space are those of the actuators.
"""

# MuJoCo is a compiled module without stubs: pyright sees none of its names.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from gencore.errors import InputError, unknown
from gencore_robot.envs import viperx

LEFT, RIGHT = "vx300s_left/10_left_gripper_finger", "vx300s_right/10_right_gripper_finger"
CAMERAS = ("top", "angle", "front_close", "left_pillar", "right_pillar")


class Aloha(gymnasium.Env):
    """A task of the bimanual ViperX.

    Observation: `agent_pos` (14,) float64, joints and grippers as in `gencore_robot.envs.viperx`; `env_state`, the
    pose of each object (x y z in metres, quaternion w x y z), which a real robot does not know
    (``metadata["privileged"]``); with `cameras` also `pixels`, a (height, width, 3) uint8 frame each.
    Action (14,) float32: joint targets in radians and grippers from 0 to 1, in the order of `agent_pos`.

    Args:
        cameras: of `CAMERAS`, rendered at every step; that takes a working OpenGL and most of the time.
        size: (height, width) of frames in pixels.

    Raises:
        MissingDependency: gym-aloha or mujoco is not installed.
        InputError: an unknown camera.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": viperx.CONTROL_HZ, "privileged": ("env_state",)}  # noqa: RUF012
    scene: ClassVar[str]
    low: ClassVar[np.ndarray]
    """(objects, 3) lowest position of each object in metres; `high` the highest."""
    high: ClassVar[np.ndarray]

    def __init__(self, cameras: tuple[str, ...] = (), size: tuple[int, int] = (480, 640),
                 render_mode: str | None = None) -> None:  # fmt: skip
        for camera in cameras:
            if camera not in CAMERAS:
                raise unknown("camera", camera, CAMERAS)
        self.cameras, self.size, self.render_mode = tuple(cameras), tuple(size), render_mode
        self._model, self._data = viperx.load(self.scene)
        self._renderer: Any = None
        low, high = self._model.actuator_ctrlrange[:, 0].copy(), self._model.actuator_ctrlrange[:, 1].copy()
        arms = [*range(6), 6, *range(8, 14), 14]
        low, high = low[arms], high[arms]
        low[[6, 13]], high[[6, 13]] = 0.0, 1.0
        self.action_space = spaces.Box(low.astype(np.float32), high.astype(np.float32))
        parts: dict[str, spaces.Space[Any]] = {
            "agent_pos": spaces.Box(-np.inf, np.inf, (14,), np.float64),
            "env_state": spaces.Box(-np.inf, np.inf, (7 * len(self.low),), np.float64),
        }
        if self.cameras:
            frame = spaces.Box(0, 255, (*self.size, 3), np.uint8)
            parts["pixels"] = spaces.Dict(dict.fromkeys(self.cameras, frame))
        self.observation_space = spaces.Dict(parts)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: of the instance's generator, from which object poses come; None goes on with it.
            options: ``{"env_state": array}`` puts the objects there instead.

        Raises:
            InputError: a pose of another length, or not finite.
        """
        import mujoco  # pyright: ignore[reportMissingImports]

        super().reset(seed=seed)
        places = self.np_random.uniform(self.low, self.high)
        drawn = np.concatenate([np.concatenate((place, [1.0, 0.0, 0.0, 0.0])) for place in places])
        state = _checked("env_state", (options or {}).get("env_state", drawn), len(drawn))
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:16], self._data.ctrl[:], self._data.qpos[16:] = viperx.HOME, viperx.HOME, state
        mujoco.mj_forward(self._model, self._data)
        return self._obs(), {"is_success": False}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One control step of 20 ms; targets beyond the actuators' range are taken at its end.

        Raises:
            InputError: an action of another shape, or not finite.
        """
        target = _checked("action", action, 14)
        self._data.ctrl[:] = viperx.controls(target)
        viperx.advance(self._model, self._data)
        reward = self._reward(viperx.touching(self._model, self._data))
        return self._obs(), float(reward), reward == 4, False, {"is_success": reward == 4}

    def _reward(self, pairs: set[frozenset[str]]) -> int:
        raise NotImplementedError

    def _obs(self) -> dict[str, Any]:
        obs: dict[str, Any] = {"agent_pos": viperx.joints(self._data.qpos), "env_state": self._data.qpos[16:].copy()}
        if self.cameras:
            obs["pixels"] = {camera: self._frame(camera) for camera in self.cameras}
        return obs

    def _frame(self, camera: str) -> np.ndarray:
        if self._renderer is None:
            import mujoco  # pyright: ignore[reportMissingImports]

            self._model.vis.global_.offheight, self._model.vis.global_.offwidth = self.size
            try:
                # A window library warns of what the error then says.
                with warnings.catch_warnings(action="ignore"):
                    self._renderer = mujoco.Renderer(self._model, *self.size)
            except (mujoco.FatalError, RuntimeError, ImportError, AttributeError) as fault:
                raise InputError("cameras", f"no OpenGL ({fault})", "a working OpenGL",
                                 "set MUJOCO_GL=egl or osmesa before Python starts") from None  # fmt: skip
        self._renderer.update_scene(self._data, camera)
        return self._renderer.render()

    def render(self) -> Any:
        """(height, width, 3) uint8 from above."""
        return self._frame("top")

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _checked(what: str, values: Any, count: int) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (count,):
        raise InputError(what, f"shape {found.shape}", f"({count},) numbers")
    if bad := np.flatnonzero(~np.isfinite(found)).tolist():
        raise InputError(what, f"entry {bad[0]} that is {found[bad[0]]}", "finite numbers")
    return found


class AlohaTransferCube(Aloha):
    """The right arm picks a cube and hands it to the left.

    Reward 1 the right hand touches it, 2 lifts it, 3 the left touches it, 4 the left holds it off the table.
    """

    scene = "bimanual_viperx_transfer_cube"
    low, high = np.array([[0.0, 0.4, 0.05]]), np.array([[0.2, 0.6, 0.05]])

    def _reward(self, pairs: set[frozenset[str]]) -> int:
        on_table = frozenset(("red_box", "table")) in pairs
        if frozenset(("red_box", LEFT)) in pairs:
            return 3 if on_table else 4
        if frozenset(("red_box", RIGHT)) in pairs:
            return 1 if on_table else 2
        return 0


class AlohaInsertion(Aloha):
    """The right arm picks a peg, the left a socket, and they put one into the other.

    Reward 1 both are touched, 2 both lifted, 3 they touch in the air, 4 the peg touches the pin inside the socket.
    `env_state` is the peg, then the socket.
    """

    scene = "bimanual_viperx_insertion"
    low = np.array([[0.1, 0.4, 0.05], [-0.2, 0.4, 0.05]])
    high = np.array([[0.2, 0.6, 0.05], [-0.1, 0.6, 0.05]])

    def _reward(self, pairs: set[frozenset[str]]) -> int:
        walls = [f"socket-{i}" for i in range(1, 5)]

        def touched(name: str, others: list[str]) -> bool:
            return any(frozenset((name, other)) in pairs for other in others)

        if touched("pin", ["red_peg"]):
            return 4
        in_air = not touched("table", ["red_peg", *walls])
        if in_air and touched("red_peg", walls):
            return 3
        held = touched(LEFT, walls) and touched(RIGHT, ["red_peg"])
        return (2 if in_air else 1) if held else 0
