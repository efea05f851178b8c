"""A robot that sees: pictures from a file to the network and from an environment to the network, bit by bit."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor
from torch.utils.data import default_collate

from gencore import components
from gencore.errors import InputError
from gencore.pipeline import Pipeline
from gencore.training.preset import Training
from gencore.training.run import fit
from gencore_robot import presets
from gencore_robot.codec import ActionCodec
from gencore_robot.conditioning.frames import CameraFrames
from gencore_robot.data import open_episodes
from gencore_robot.embodiments.embodiment import Embodiment
from gencore_robot.embodiments.library import load
from gencore_robot.modality import Robot
from gencore_robot.readers.chunks import ActionChunks, chunks_of
from gencore_robot.recording_files import write
from gencore_robot.rollout import rollout
from gencore_robot.wrappers import EnvMapping
from gencore_robot.wrappers.source import Source

ROBOT = {**load("reach").config(), "name": "seeing", "cameras": {"right_wrist": "hand", "external": "top"}}
"""The wrist is named first here, and seen second: views lie in the order of roles."""
TOP, HAND = (np.random.default_rng(i).integers(0, 256, (12, 8, 10, 3), np.uint8) for i in range(2))


def recorded(folder: Path, name: str = "a", change: dict[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "embodiment.json").write_text(json.dumps(ROBOT))
    rows = np.linspace(0.0, 0.5, 12)[:, None].repeat(2, 1)
    arrays = {"observations/qpos": rows, "action": rows + 0.1, "observations/images/top": TOP,
              "observations/images/hand": HAND, "observations/env_state": rows}  # fmt: skip
    with h5py.File(folder / f"{name}.hdf5", "w") as file:
        for key, value in (arrays | (change or {})).items():
            if value is not None:
                file[key] = value
    return folder


class Seeing(gymnasium.Env):
    """Shows the pictures of the recording, step by step."""

    def __init__(self) -> None:
        picture = spaces.Box(0, 255, (8, 10, 3), np.uint8)
        self.observation_space = spaces.Dict({"agent_pos": spaces.Box(-1, 1, (2,), np.float32),
                                              "pixels": spaces.Dict({"top": picture, "hand": picture})})  # fmt: skip
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)

    def _seen(self) -> dict[str, Any]:
        pixels = {"top": TOP[self.now], "hand": HAND[self.now]}
        return {"agent_pos": np.zeros(2, np.float32), "pixels": pixels}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.now = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.now += 1
        return self._seen(), 0.0, self.now == 4, False, {"is_success": True}


if "gencore-tests/Seeing-v0" not in gymnasium.registry:
    gymnasium.register("gencore-tests/Seeing-v0", entry_point=lambda **_: Seeing())


def small(folder: Path) -> Training:
    return presets.pixels(open_episodes(folder), steps=2, batch=2, width=24, depth=2)


def watched(pipe: Pipeline) -> list[Tensor]:
    """What the stream of pictures is given from now on."""
    seen: list[Tensor] = []
    (stream,) = [part for part in pipe.backbone.modules() if type(part).__name__ == "Pictures"]
    stream.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    return seen


def views(step: int) -> Tensor:
    return torch.from_numpy(np.stack([TOP[step], HAND[step]])).permute(0, 3, 1, 2)


def test_pictures_reach_the_network_bit_by_bit_from_a_file_and_from_an_environment(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "data")
    training = small(folder)
    pipe = training.pipeline
    data = chunks_of(open_episodes(folder), pipe)
    assert data[5]["images"].dtype == torch.uint8 and torch.equal(data[5]["images"], views(5))
    seen = watched(pipe)
    conditions = pipe.conditioner.targets(default_collate([data[5], data[7]]))
    assert torch.equal(conditions["images"].value, torch.stack([views(5), views(7)]).float() / 255)
    # What lets the trained policy look at the state of a simulation is not read: the robot has eyes alone.
    assert "env_state" not in conditions
    (tmp_path / "run").mkdir()
    assert fit(training, data, tmp_path / "run", device="cpu").step == 2 and seen
    assert Robot().evaluate(pipe, data, n=3)["items"] == 3
    tuned = Pipeline.from_pretrained(tmp_path / "run" / "model")
    seen = watched(tuned)
    mapping = EnvMapping(observation={"state": (Source(key="agent_pos"),),
                                      "images": (Source(views=("pixels/top", "pixels/hand")),)})  # fmt: skip
    found = rollout(tuned, "gencore-tests/Seeing-v0", episodes=2, num_envs=2, mapping=mapping, execute=2)
    assert [one.steps for one in found.outcomes] == [4, 4]
    first = views(0).float() / 255
    assert all(torch.equal(row, first) for row in seen[0])
    assert any(torch.equal(row, views(2).float() / 255) for batch in seen for row in batch)


def test_pictures_of_another_size_are_averaged_down(tmp_path: Path) -> None:
    frames = CameraFrames(1, size=(2, 2))
    picture = torch.zeros(1, 1, 3, 4, 4)
    picture[..., :2, :2] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    value = frames({"images": picture}, None)[1]["images"].value
    assert value.shape == (1, 1, 3, 2, 2) and value[0, 0, 0].tolist() == [[0.5, 0.0], [0.0, 0.0]]
    folder = recorded(tmp_path / "data", change={f"observations/images/{camera}": np.zeros((12, 300, 400, 3), np.uint8)
                                                 for camera in ("top", "hand")})  # fmt: skip
    (part,) = [one for one in small(folder).pipeline.conditioner.parts if isinstance(one, CameraFrames)]  # type: ignore[attr-defined]
    assert part.size == [75, 100] and part.roles == ["external", "right_wrist"]
    again = components.build("conditioner", json.loads(json.dumps(components.describe("conditioner", part))))
    assert again.config() == part.config()


def test_encoded_pictures_keep_their_colours_and_are_not_read_before_they_are_asked_for(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    image.fromarray(TOP[3]).save(out, "PNG")
    row = np.frombuffer(out.getvalue(), np.uint8)
    rows = np.zeros((12, len(row) + 5), np.uint8)
    rows[3, : len(row)] = row
    folder = recorded(tmp_path / "data", change={"observations/images/top": rows})
    episodes = open_episodes(folder)
    # All other rows are no pictures: reading them would fail.
    part = CameraFrames(2, roles=("external", "right_wrist"))
    data = ActionChunks(episodes, ActionCodec(ROBOT, 4), cameras=part)
    assert torch.equal(data[3]["images"], views(3))
    with pytest.raises(InputError, match="bytes that are no picture"):
        data[4]


@pytest.mark.parametrize(("change", "said"), [
    ({"observations/images/top": None, "observations/images/hand": None}, "pictures of no camera.*of hand, top"),
    ({"observations/images/hand": HAND[:, :4]}, "pictures: got 4x10 and 8x10; accepted: one size"),
    ({"observations/images/hand": HAND[:5]}, "step: got 7; accepted: 0..4"),
])  # fmt: skip
def test_pictures_that_cannot_be_used_are_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = recorded(tmp_path / "data", change=change)
    with pytest.raises(InputError, match=said):
        chunks_of(open_episodes(folder), small(folder).pipeline)[7]


def test_an_episode_without_a_camera_of_the_model_is_named(tmp_path: Path) -> None:
    pipe = small(recorded(tmp_path / "data")).pipeline
    folder = recorded(tmp_path / "data", "b", {"observations/images/hand": None})
    with pytest.raises(InputError, match=r"b\.hdf5 without pictures of 'hand'"):
        chunks_of(open_episodes(folder), pipe)


def test_a_recording_names_pictures_as_the_robot_names_its_cameras(tmp_path: Path) -> None:
    images = np.moveaxis(np.stack([TOP, HAND], 1), -1, -3)
    arrays = {"state": np.zeros((12, 2)), "action": np.zeros((12, 2)), "images": images}
    write(tmp_path / "a.hdf5", arrays, "", True, 0, Embodiment.from_config(ROBOT))
    (episode,) = open_episodes(tmp_path / "a.hdf5").episodes
    assert (episode.pictures["top"](2) == TOP[2]).all() and (episode.pictures["hand"](2) == HAND[2]).all()
