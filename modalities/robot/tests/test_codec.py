"""The action codec: recorded numbers, there and back, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gencore import components
from gencore.errors import InputError
from gencore.testing.cases import read_io
from gencore.tokenizer import Latent
from gencore_robot import rotations
from gencore_robot.codec import ActionCodec
from gencore_robot.embodiments.library import names
from gencore_robot.statistics import Statistics
from gencore_robot.stretch import stretch

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("GENCORE_GOLDEN") or ROOT.parent / "shared" / "golden") / "rdt-1b" / "unified-vector"
SMALL = ROOT / "tests" / "golden_small" / "rdt-1b" / "unified-vector"
CODECS = {name: ActionCodec(name, horizon=3) for name in names()}
HAND = {"name": "hand", "control_hz": 10, "state": [{"name": "speed", "slot": "eef_vel_x", "unit": "cm/s"}],
        "action": [{"name": "x", "slot": "eef_pos_x", "unit": "mm"}]}  # fmt: skip


@pytest.fixture(scope="module")
def io() -> dict[str, Tensor]:
    for folder in (SMALL, SHARED):
        if (folder / "io.safetensors").is_file():
            return read_io(folder)
    pytest.skip("needs the recorded numbers: set GENCORE_GOLDEN")


def close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() < 1e-9)


def test_agilex_is_as_recorded_with_other_grippers_for_state_and_action(io: dict[str, Tensor]) -> None:
    codec = ActionCodec("aloha-agilex")
    state = codec.encode_state(io["agilex/qpos"])
    assert close(state.value, io["agilex/state128"])
    assert state.valid is not None and (state.valid == io["agilex/mask"].bool()).all()
    assert close(codec.action.decode(io["action128"]), io["agilex/action14"])
    assert not close(codec.state.decode(io["action128"]), io["agilex/action14"])


def test_maniskill_is_as_recorded(io: dict[str, Tensor]) -> None:
    codec = ActionCodec("franka-maniskill")
    assert close(codec.encode_state(io["maniskill/qpos"]).value, io["maniskill/state128"])
    assert close(codec.action.decode(io["action128"]), io["maniskill/action8"])


def test_rotations_are_as_recorded(io: dict[str, Tensor]) -> None:
    assert close(rotations.matrix_from_euler(io["rot6d/euler_xyz_extrinsic"]), io["rot6d/matrix"])
    assert close(rotations.matrix_to_6d(io["rot6d/matrix"]), io["rot6d/ortho6d"])
    assert close(rotations.matrix_from_6d(io["rot6d/noisy6d"]), io["rot6d/recovered_matrix"])


def test_a_stretched_chunk_is_as_recorded_and_comes_back(io: dict[str, Tensor]) -> None:
    short, long = io["chunk_interp/in16"].numpy(), io["chunk_interp/out64"].numpy()
    assert np.abs(stretch(short, 64) - long).max() < 1e-9
    assert np.abs(stretch(stretch(short, 61), 16) - short).max() < 1e-9
    with pytest.raises(InputError, match="at least 2"):
        stretch(short[:1], 4)


@pytest.mark.parametrize("name", CODECS)
@given(st.data())
@settings(max_examples=15, deadline=None)
def test_what_is_encoded_comes_back(name: str, data: st.DataObject) -> None:
    codec = CODECS[name]
    layout = codec.action
    part = torch.tensor(data.draw(st.lists(st.floats(0, 1), min_size=layout.width, max_size=layout.width))).double()
    low, high = layout.low.clamp(min=-50), layout.high.clamp(max=50)
    actions = (low + part * (high - low)).expand(2, 3, -1)
    latent = codec.encode(actions)
    assert latent.valid is not None and latent.value.shape == (2, 3, 128) and latent.valid.shape == (2, 1, 128)
    assert not latent.value[~latent.valid.expand_as(latent.value)].any()
    assert (codec.decode(latent) - actions).abs().max() < 1e-9 * 600
    noisy = torch.where(latent.valid, latent.value, 7.0)
    assert (codec.decode(Latent(noisy)) == codec.decode(latent)).all()


@pytest.mark.parametrize("kind", ["euler_xyz", "quaternion_wxyz", "quaternion_xyzw", "matrix", "rot6d"])
def test_every_way_to_say_a_rotation_fills_the_same_six_slots(kind: str) -> None:
    entry = {"name": "hand", "slot": "left_eef_angle", "rotation": kind}
    codec = ActionCodec(HAND | {"action": [entry, {"name": "x", "slot": "left_eef_pos_x", "unit": "m"}]}, horizon=1)
    turn = rotations.matrix_from_euler(torch.tensor([0.5, -1.0, 2.0]).double())
    q = rotations.quaternion_from_matrix(turn)
    said = {"euler_xyz": torch.tensor([0.5, -1.0, 2.0]).double(), "quaternion_wxyz": q,
            "quaternion_xyzw": torch.stack([q[1], q[2], q[3], q[0]]), "matrix": turn.flatten(),
            "rot6d": rotations.matrix_to_6d(turn)}[kind]  # fmt: skip
    actions = torch.cat([said, torch.tensor([0.25]).double()])[None, None]
    value = codec.encode(actions).value[0, 0]
    assert close(value[83:89], rotations.matrix_to_6d(turn)) and float(value[80]) == 0.25
    assert close(codec.action.decode(value), actions[0, 0])


def test_units_become_those_of_the_slot_and_velocities_are_known() -> None:
    codec = ActionCodec(HAND, horizon=1)
    assert float(codec.encode_state(torch.tensor([50.0]).double()).value[39]) == pytest.approx(0.5)
    assert float(codec.encode(torch.tensor([[[250.0]]])).value[0, 0, 30]) == pytest.approx(0.25)
    assert codec.state.velocity.tolist() == [True] and codec.action.velocity.tolist() == [False]


def test_nan_in_proprioception_names_its_entry() -> None:
    state = torch.zeros(2, 14)
    state[1, 6] = float("nan")
    with pytest.raises(InputError, match="state 'left gripper': got NaN"):
        ActionCodec("aloha-agilex").encode_state(state)


def test_an_action_outside_the_limits_names_its_entry_and_rounding_does_not() -> None:
    codec = ActionCodec("pusht", horizon=1)
    with pytest.raises(InputError, match=r"action 'y': got 513.0; accepted: 0.0..512.0"):
        codec.encode(torch.tensor([[[5.0, 513.0]]]))
    codec.encode(torch.tensor([[[5.0, 512.0001]]]))
    codec.encode_state(torch.tensor([5.0, 513.0]))


@pytest.mark.parametrize("data", [torch.zeros(1, 3, 13), torch.zeros(1, 2, 14), torch.zeros(3, 14),
                                  torch.zeros(1, 3, 14, dtype=torch.int64)])  # fmt: skip
def test_another_shape_or_integers_are_refused(data: Tensor) -> None:
    with pytest.raises(InputError, match="action"):
        CODECS["aloha-agilex"].encode(data)


def test_a_scale_that_loses_digits_is_refused_when_it_is_loaded() -> None:
    lossy = {"name": "x", "slot": "eef_pos_x", "unit": "m", "scale": 1e20, "offset": 1e20}
    with pytest.raises(InputError, match="state 'x': got values that come back changed"):
        ActionCodec(HAND | {"state": [lossy]})


def test_the_statistics_and_the_robot_travel_with_it() -> None:
    moments = Statistics.of(np.random.default_rng(0).normal(size=(5, 128)))
    codec = ActionCodec(HAND, 4, moments)
    again = ActionCodec(**json.loads(json.dumps(codec.config())))
    assert again.config() == codec.config() and again.statistics is not None
    assert (again.statistics.std == moments.std).all() and again.embodiment == codec.embodiment
    assert components.build("tokenizer", components.describe("tokenizer", codec)).config() == codec.config()


@pytest.mark.parametrize("change", [{"mean": [1.0]}, {"std": [float("nan")] * 2}, {"rms": None}])
def test_statistics_that_cannot_be_used_are_refused(change: dict[str, object]) -> None:
    config = {key: value for key, value in (Statistics.of(np.ones((2, 2))).config() | change).items() if value}
    with pytest.raises(InputError, match="statistics"):
        Statistics.from_config(config)
