"""Rollouts: every seed once, figures that agree with what was played, errors in one line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gencore.cli import main
from gencore.errors import InputError
from gencore.nn.init import seeded
from gencore.pipeline import Pipeline
from gencore_robot import film as film_module
from gencore_robot import plot
from gencore_robot.data import Episodes
from gencore_robot.embodiments.library import load
from gencore_robot.envs.reach import TwoWayReach
from gencore_robot.experts.reach import reach
from gencore_robot.film import film
from gencore_robot.interval import wilson
from gencore_robot.packaged import fitting
from gencore_robot.policy import Policy
from gencore_robot.presets import tiny
from gencore_robot.readers.episode import Episode
from gencore_robot.rollout import rollout
from gencore_robot.wrappers import EnvMapping, for_environment
from gencore_robot.wrappers.source import Source

REACH = "gencore/TwoWayReach-v0"


class Scripted:
    """The scripted expert as a policy of chunks; it fails where the right target is the nearer one."""

    def __init__(self, fails: bool = False) -> None:
        self.fails, self.rows = fails, 0

    def predict_chunk(self, obs: Any) -> np.ndarray:
        self.rows += len(obs["state"])
        out = []
        for state, targets in zip(obs["state"], obs["env_state"], strict=True):
            if self.fails and targets[2] < -targets[0]:
                out.append(np.array([0.0, -0.3]))
            else:
                out.append(reach(state, targets, 1))
        return np.repeat(np.array(out)[:, None], 4, axis=1)


class Counting(gymnasium.Env):
    """Ends after 1 + seed % 4 steps, with success where the seed is even; keeps the seeds of all resets."""

    seeds: list[int] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        assert seed is not None
        self.seed, self.left = seed, 1 + seed % 4
        Counting.seeds.append(seed)
        return np.full(3, float(seed)), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        obs = np.full(3, float(self.seed))
        return obs, float(self.seed), self.left == 0, False, {"is_success": self.left == 0 and self.seed % 2 == 0}


if "gencore-tests/Counting-v0" not in gymnasium.registry:
    gymnasium.register("gencore-tests/Counting-v0", entry_point=lambda **how: Counting(**how))

WHOLE = EnvMapping(observation={"state": (Source(),)})


class Still:
    def predict_chunk(self, obs: Any) -> np.ndarray:
        return np.full((len(obs["state"]), 2, 2), 3.0)


@pytest.mark.parametrize("count", [1, 3, 4, 7, 20])
def test_every_seed_is_played_once_whatever_the_number_of_environments(count: int) -> None:
    found = rollout(Still(), "gencore-tests/Counting-v0", episodes=7, num_envs=count, seed=10, mapping=WHOLE)
    assert [one.seed for one in found.outcomes] == list(range(10, 17))
    assert [one.success for one in found.outcomes] == [seed % 2 == 0 for seed in range(10, 17)]
    assert [one.steps for one in found.outcomes] == [1 + seed % 4 for seed in range(10, 17)]
    assert [one.total for one in found.outcomes] == [seed * (1.0 + seed % 4) for seed in range(10, 17)]
    told = found.as_data()
    assert told["success_rate"] == 4 / 7 and told["interval"] == list(wilson(4, 7))
    assert told["clamped"]["largest_excess"] == 2.0 and told["clamped"]["share"] == 1.0
    json.dumps(told)


def test_an_environment_without_a_seed_left_costs_no_prediction() -> None:
    policy = Scripted()
    rollout(policy, REACH, episodes=3, num_envs=2, execute=4)
    alone = Scripted()
    rollout(alone, REACH, episodes=3, num_envs=1, execute=4)
    assert policy.rows == alone.rows


def test_outcomes_do_not_depend_on_the_number_of_environments() -> None:
    one = rollout(Scripted(fails=True), REACH, episodes=12, num_envs=1, execute=2)
    many = rollout(Scripted(fails=True), REACH, episodes=12, num_envs=5, execute=2)
    assert one.outcomes == many.outcomes and 0 < one.success_rate < 1
    assert one.trace["action"].shape == (one.outcomes[0].steps, 2) == one.trace["state"].shape
    np.testing.assert_array_equal(one.trace["action"], many.trace["action"])


def test_a_policys_draws_follow_the_seed_of_the_episode() -> None:
    asked: list[list[int]] = []

    def generate(*, n: int, seed: list[int], **_: Any) -> Any:
        asked.append(seed)
        return SimpleNamespace(tensor=np.zeros((n, 2, 2)))

    pipe = SimpleNamespace(generate=generate)
    row = {"state": np.zeros((3, 2))}
    policy = Policy(pipe, 3)  # type: ignore[arg-type]
    policy.reset(seed=[5, 6, 7])
    policy.predict_chunk(row)
    policy.reset(np.array([True, False, False]), seed=[7, 9, 9])
    policy.predict_chunk(row)
    assert asked[1][0] == asked[0][2] and asked[1][1] not in asked[0]
    with pytest.raises(InputError, match="seed: got 2 seeds"):
        policy.reset(seed=[1, 2])


def trained(robot: str) -> Pipeline:
    """A network of random weights, none of them zero, for the reach of a robot."""
    numbers = np.random.default_rng(0).uniform(-0.5, 0.5, (30, 2))
    seen = np.random.default_rng(1).uniform(-0.5, 0.5, (30, 4))
    data = Episodes([Episode("made up", 30, lambda: (numbers, numbers), environment=lambda: seen,
                             embodiment=load(robot))])  # fmt: skip
    pipe = tiny(data).pipeline
    with torch.no_grad(), seeded(0):
        for tensor in pipe.backbone.parameters():
            if not bool(tensor.any()):
                torch.nn.init.normal_(tensor, std=0.2)
    pipe.backbone.eval()
    return pipe


def test_a_pipeline_plays_an_episode_the_same_alone_and_among_others() -> None:
    pipe, how = trained("reach"), {"episodes": 3, "seed": 4, "max_steps": 5, "execute": 3, "options": {"steps": 2}}
    one, many = rollout(pipe, REACH, num_envs=1, **how), rollout(pipe, REACH, num_envs=3, **how)
    assert [(o.seed, o.steps) for o in one.outcomes] == [(o.seed, o.steps) for o in many.outcomes]
    np.testing.assert_allclose(one.trace["action"], many.trace["action"], atol=1e-4)
    assert np.ptp(one.trace["action"], axis=0).min() > 1e-3
    assert one.report["predictions"] == 6 and many.report["predictions"] == 2
    moved = rollout(pipe, REACH, num_envs=1, **{**how, "seed": 5})
    assert not np.allclose(moved.trace["action"][:3], one.trace["action"][:3], atol=1e-3)


def test_a_policy_of_another_robot_is_refused() -> None:
    with pytest.raises(InputError, match="a policy of the robot 'reach'; accepted: one of 'reach-velocity'"):
        rollout(trained("reach"), "gencore/TwoWayReachVelocity-v0", episodes=1)


def test_a_sensor_that_fails_is_named() -> None:
    class Blind(TwoWayReach):
        def step(self, action: Any) -> Any:
            obs, *rest = super().step(action)
            return {**obs, "agent_pos": np.full(2, np.nan, np.float32)}, *rest

    if "gencore-tests/Blind-v0" not in gymnasium.registry:
        gymnasium.register("gencore-tests/Blind-v0", entry_point=lambda **how: Blind(**how))
    with pytest.raises(InputError, match="state: got a value that is not finite"):
        rollout(trained("reach"), "gencore-tests/Blind-v0", episodes=1, execute=1, mapping=for_environment(REACH))


def test_wilson_against_published_ends() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    for successes, trials, ends in ((81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)),
                                    (1, 29, (0.0061, 0.1718))):  # fmt: skip
        assert [round(end, 4) for end in wilson(successes, trials)] == list(ends)
    assert all(wilson(0, n)[0] == 0.0 and wilson(n, n)[1] == 1.0 for n in range(1, 60))
    with pytest.raises(InputError):
        wilson(3, 2)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"episodes": 0}, "--episodes: got 0"),
        ({"num_envs": 0}, "--num-envs: got 0"),
        ({"seed": None}, "--seed: got None"),
        ({"execute": 9}, "execute: got 9; accepted: 1..4, the horizon of the policy"),
        ({"mapping": EnvMapping(observation={"state": (Source(key="wrist"),)})}, "no 'wrist'; accepted: what the env"),
        ({"mapping": EnvMapping(observation={"state": (Source(key="agent_pos"),), "env_state":
          (Source(key="env_state"),)}, success="done")}, "no 'done' in info"),
        ({"arguments": {"colour": 3}}, "--env: got gencore/TwoWayReach-v0 with colour=3"),
        ({"words": {"instruction": "left"}}, "words: got"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told(how: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        rollout(Scripted(), REACH, **{"episodes": 2, **how})
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--env", "gencore/TwoWayRaech-v0"], "did you mean 'gencore/TwoWayReach-v0'?"),
        (["--env", "no_such_package:Arm-v0"], "--env: got no_such_package:Arm-v0"),
        (["--env", "CartPole-v1"], "mapping: got none for 'CartPole-v1'"),
        (["--env", REACH, "--seed", "-1"], "--seed: got -1"),
        (["--env", REACH, "--video", "film.avi"], "--video: got film.avi"),
    ],
)
def test_the_command_line_says_in_one_line_what_is_wrong(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollout", "robot", *words]) == 2
    out, err = capsys.readouterr()
    assert told in err and err.count("\n") == 1 and out == ""


def test_the_packaged_policy_that_fits_is_found(tmp_path: Path) -> None:
    part = {"type": "x"}
    for name, fits in (("a", ["Left-v0"]), ("b", ["Right-v0", "Wrong-v0"])):
        (tmp_path / name).mkdir()
        config = {"format": 1, "modality": "robot", "defaults": {}, "card": {"environments": fits},
                  **dict.fromkeys(("tokenizer", "conditioner", "backbone", "process"), part)}  # fmt: skip
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    assert fitting("lab:Wrong-v0", tmp_path) == tmp_path / "b"
    with pytest.raises(InputError, match="fit Left-v0, Right-v0, Wrong-v0"):
        fitting("Other-v0", tmp_path)


def test_a_film_shows_every_step_and_plays_in_browsers(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="films need av")
    found = film(Scripted(), REACH, tmp_path / "film.mp4", seed=3)
    with av.open(str(tmp_path / "film.mp4")) as file:
        stream = file.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert len(frames) == found.outcomes[0].steps + 1
    env = gymnasium.make(REACH, render_mode="rgb_array")
    env.reset(seed=3)
    first: Any = env.render()
    assert np.abs(frames[0].astype(int) - first[: frames[0].shape[0]].astype(int)).mean() < 12


def test_without_a_display_a_film_asks_for_egl_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                     ) -> None:  # fmt: skip
    pytest.importorskip("av", reason="films need av")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(film_module, "find_library", lambda name: "libEGL.so.1")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    film(Scripted(), REACH, tmp_path / "told.mp4", max_steps=1)
    assert os.environ["MUJOCO_GL"] == "osmesa"
    monkeypatch.setenv("MUJOCO_GL", "")
    film(Scripted(), REACH, tmp_path / "asked.mp4", max_steps=1)
    assert os.environ["MUJOCO_GL"] == "egl"


class Turning(Counting):
    """A wrist, three angles, and a gripper; its state has them the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.action_space = spaces.Box(-1, 1, (4,), np.float32)

    def step(self, action: Any) -> Any:
        return np.array([5.0, 0.1, 0.2, 0.3]), *super().step(action)[1:]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.array([5.0, 0.1, 0.2, 0.3]), super().reset(seed=seed, options=options)[1]


if "gencore-tests/Turning-v0" not in gymnasium.registry:
    gymnasium.register("gencore-tests/Turning-v0", entry_point=lambda **how: Turning(**how))

TURN = {"name": "turn", "slot": "right_eef_angle", "rotation": "euler_xyz"}
GRIP = {"name": "grip", "slot": "gripper_open", "unit": "rad", "scale": 10.0}
TURNER = {"name": "turner", "control_hz": 10, "state": [GRIP, TURN], "action": [TURN, {**GRIP, "scale": 20.0}]}


class Turned:
    def predict_chunk(self, obs: Any) -> np.ndarray:
        return np.full((len(obs["state"]), 1, 4), [0.0, 1.25, -3.0, 2.0])


def test_plots_and_clamped_entries_have_the_names_of_their_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: dict[str, Any] = {}

    def draw(path: Path, trace: Any, **how: Any) -> Path:
        drawn.update(how, **trace)
        return path

    monkeypatch.setattr("gencore.loading.load", lambda *args, **how: Turned())
    monkeypatch.setattr(plot, "available", lambda: None)
    monkeypatch.setattr(plot, "write_plot", draw)
    mapping = tmp_path / "turning.json"
    mapping.write_text(json.dumps({"observation": {"state": ""}, "embodiment": TURNER}))
    words = ["--env", "gencore-tests/Turning-v0", "--mapping", str(mapping), "--model", "any", "--episodes", "1"]
    assert main(["rollout", "robot", *words, "--seed", "3", "--plot", str(tmp_path / "a.png"), "--quiet"]) == 0
    assert drawn["names"] == ["turn", "turn", "turn", "grip"] and drawn["action"].shape == (4, 4)
    # Beside an action lies what the state says of the same slot, in the action's units.
    np.testing.assert_allclose(drawn["state"], [[0.1, 0.2, 0.3, 10.0]] * 4)
    told = "4 of 4 actions: turn 100 %, by at most 0.25; turn 100 %, by at most 2; grip 100 %, by at most 1\n"
    assert told in capsys.readouterr().out


def test_a_velocity_is_not_drawn_over_a_position() -> None:
    state = np.ones((3, 2))
    assert np.isnan(plot.beside(state, load("reach-velocity"))).all()
    np.testing.assert_array_equal(plot.beside(state, load("reach")), state)
    assert np.isnan(plot.beside(np.ones((3, 5)), load("reach"))).all()


def test_a_plot_draws_the_state_where_it_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = pytest.importorskip("matplotlib.figure", reason="plots need matplotlib")
    saved: list[Any] = []
    write = figures.Figure.savefig
    monkeypatch.setattr(figures.Figure, "savefig", lambda self, *a, **how: saved.append(self) or write(self, *a, **how))
    trace = {"action": np.zeros((3, 2)), "state": np.array([[1.0, np.nan]] * 3)}
    plot.write_plot(tmp_path / "a.png", trace, names=["x", "y"])
    assert [len(axes.lines) for axes in saved[0].axes[:2]] == [2, 1]


def test_a_plot_that_cannot_be_drawn_is_told_before_an_episode_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("gencore.loading.load", lambda *args, **how: pytest.fail("a model was loaded"))
    assert main(["rollout", "robot", "--env", REACH, "--plot", str(tmp_path / "a.png")]) == 2
    assert "matplotlib: not installed, needed for --plot" in capsys.readouterr().err


def test_an_environment_that_cannot_render_leaves_no_file(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="films need av")

    class Dark(Counting):
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

        def __init__(self, render_mode: str | None = None) -> None:
            super().__init__()
            self.render_mode = render_mode

        def render(self) -> Any:
            raise RuntimeError("gladLoadGL error")

    if "gencore-tests/Dark-v0" not in gymnasium.registry:
        gymnasium.register("gencore-tests/Dark-v0", entry_point=lambda **how: Dark(**how))
    with pytest.raises(InputError, match=r"--video: got no OpenGL \(gladLoadGL error\).*MUJOCO_GL=egl"):
        film(Still(), "gencore-tests/Dark-v0", tmp_path / "film.mp4", mapping=WHOLE)
    assert list(tmp_path.iterdir()) == []
