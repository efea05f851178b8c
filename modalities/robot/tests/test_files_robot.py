"""Files and environments that cannot be used, or not wholly: what is told, and what is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gencore.errors import InputError
from gencore_robot.data import open_episodes
from gencore_robot.environments import make, registered
from gencore_robot.envs.reach import TwoWayReach
from gencore_robot.io import read, read_observation
from gencore_robot.readers.hdf5 import act_episode, frames
from gencore_robot.readers.rdt import INSTRUCTIONS
from gencore_robot.wrappers import EnvMapping
from gencore_robot.wrappers.source import Source


def test_an_array_that_is_called_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "obs.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    for reader in (read, read_observation):
        with pytest.raises(InputError, match=r"obs\.npz"):
            reader(path)


def test_a_compressed_file_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "obs.npz"
    np.savez_compressed(path, state=np.arange(4096) % 7)
    whole = bytearray(path.read_bytes())
    for at in range(90, 120):
        whole[at] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"no complete \.npz file"):
        read_observation(path)


def test_an_environment_that_the_mapping_does_not_fit_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[TwoWayReach] = []
    monkeypatch.setattr(TwoWayReach, "close", lambda self: closed.append(self))
    with pytest.raises(InputError, match="no 'camera'"):
        make("gencore/TwoWayReach-v0", EnvMapping(observation={"state": (Source(key="camera"),)}))
    assert len(closed) == 1


@pytest.mark.parametrize("env_id", [".here:Arm-v0", "no_such_package:Arm-v0"])
def test_a_module_that_cannot_be_imported_is_told(env_id: str) -> None:
    with pytest.raises(InputError, match="an importable module"):
        registered(env_id)


def episode(path: Path, steps: int = 130, **change: Any) -> Path:
    """An episode that begins to move at its second step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.repeat(np.arange(float(steps))[:, None], 2, 1)
    with h5py.File(path, "w") as file:
        for key, value in ({"observations/qpos": rows, "action": rows} | change).items():
            file[key] = value
    return path


def test_attributes_that_are_bytes_are_texts(tmp_path: Path) -> None:
    path = episode(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file.attrs["instruction"] = np.bytes_(b"go left")
    assert act_episode(path).instructions == (("go left",),)


def test_a_number_in_place_of_steps_is_told(tmp_path: Path) -> None:
    one: dict[str, Any] = {"observations/qpos": 3.0}
    with pytest.raises(InputError, match="observations/qpos: got one value"):
        act_episode(episode(tmp_path / "a.hdf5", **one))


def test_pictures_that_are_damaged_are_told(tmp_path: Path) -> None:
    path = episode(tmp_path / "a.hdf5")
    shown = np.random.default_rng(0).integers(0, 255, (1, 16, 16, 3), np.uint8)
    with h5py.File(path, "a") as file:
        data = file.create_dataset("observations/images/top", data=shown, chunks=shown.shape, compression="gzip")
        place = data.id.get_chunk_info(0)
    whole = bytearray(path.read_bytes())
    for at in range(place.byte_offset, place.byte_offset + place.size):
        whole[at] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(InputError, match="a complete HDF5 file"):
        frames(path, "top", [0])


def test_short_episodes_of_rdt_are_left_out(tmp_path: Path) -> None:
    said = '{"instruction": "a", "simplified_instruction": "b", "expanded_instruction": "c"}'
    for name, steps in (("one", 130), ("two", 127)):
        (episode(tmp_path / name / "e.hdf5", steps).parent / INSTRUCTIONS).write_text(said)
    assert [Path(one.name).parent.name for one in open_episodes(tmp_path).episodes] == ["one"]
    with pytest.raises(InputError, match="1 episodes of RDT below 128 steps"):
        open_episodes(tmp_path / "two")
