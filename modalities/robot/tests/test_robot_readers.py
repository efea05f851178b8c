"""Episodes of RDT, ACT and LeRobot: recorded numbers, closed forms, and damaged files."""

from __future__ import annotations

import io as bytes_io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch.utils.data import DataLoader

from gencore.errors import InputError
from gencore_robot.codec import ActionCodec
from gencore_robot.data import Episodes, open_episodes
from gencore_robot.embodiments.library import load
from gencore_robot.readers.chunks import ActionChunks, UnifiedChunks
from gencore_robot.readers.episode import Episode, chunk
from gencore_robot.readers.hdf5 import act_episode, frames, numbers
from gencore_robot.readers.lerobot import lerobot_episodes, rate
from gencore_robot.readers.rdt import INSTRUCTIONS, first_moving, rdt_episode, sample, trajectory
from gencore_robot.statistics import Statistics
from gencore_robot.tokenizer import Chunks

ROOT = Path(__file__).resolve().parents[3]
CASE = Path(os.environ.get("GENCORE_GOLDEN") or ROOT.parent / "shared" / "golden") / "rdt-1b" / "hdf5-episode"
needs_case = pytest.mark.skipif(not CASE.is_dir(), reason="needs the recorded episode: set GENCORE_GOLDEN")
AGILEX = ActionCodec("aloha-agilex")


def written(path: Path, steps: Any = 130, still: Any = 5, **change: Any) -> Path:
    """An episode that rests `still` steps and then moves 0.02 a step."""
    travel = 0.02 * np.maximum(np.arange(steps) - still + 1, 0)
    data = {"observations/qpos": np.repeat(travel[:, None], 14, 1), "action": np.repeat(travel[:, None], 14, 1) + 1}
    with h5py.File(path, "w") as file:
        for key, value in (data | change).items():
            if value is not None:
                file[key] = value
    return path


def jpeg(shade: tuple[int, int, int]) -> bytes:
    out = bytes_io.BytesIO()
    Image.new("RGB", (8, 6), shade).save(out, "JPEG", quality=95)
    return out.getvalue()


@needs_case
@pytest.mark.parametrize("which", ["first", "last", "40"])
def test_a_sample_is_as_recorded(which: str) -> None:
    io = load_file(CASE / "io.safetensors")
    got = sample(CASE / "episode_0.hdf5", int(io[f"{which}/step_id"]), AGILEX)
    wanted = {name.partition("/")[2]: value for name, value in io.items() if name.startswith(f"{which}/")}
    del wanted["step_id"]
    assert set(wanted) <= set(got)
    for name, value in wanted.items():
        limit = 2 if value.dtype == np.uint8 else 1e-9
        assert got[name].shape == value.shape and np.abs(got[name] - value.astype(np.float64)).max() <= limit, name


@needs_case
def test_the_trajectory_and_its_statistics_are_as_recorded() -> None:
    io = load_file(CASE / "io.safetensors")
    state, action = trajectory(CASE / "episode_0.hdf5", AGILEX)
    assert np.abs(state - io["traj/state"]).max() < 1e-9 and np.abs(action - io["traj/action"]).max() < 1e-9
    episode = rdt_episode(CASE / "episode_0.hdf5")
    assert [episode.start, episode.length] == io["step_draw_low_high"].tolist()
    moments = Statistics.of(AGILEX.encode_state(torch.from_numpy(episode.numbers()[0][episode.start :])).value.numpy())
    for key in ("mean", "std", "min", "max"):
        assert np.abs(getattr(moments, key) - io[f"stat/state_{key}"]).max() < 1e-9


def test_the_first_motion_is_any_joint_against_step_zero() -> None:
    qpos = np.zeros((6, 14))
    qpos[:, 3] = [0, 0.006, 0.009, 0.012, 0.0, 0.0]
    assert first_moving(qpos) == 3
    with pytest.raises(InputError, match="never moves"):
        first_moving(np.zeros((6, 14)))


def test_only_the_last_frame_is_valid_before_the_first_motion(tmp_path: Path) -> None:
    rows = np.zeros((130, 2000), np.uint8)
    for step in range(130):
        picture = jpeg((step, 0, 200))
        rows[step, : len(picture)] = np.frombuffer(picture, np.uint8)
    cameras = {f"observations/images/{name}": rows for name in ("cam_high", "cam_left_wrist", "cam_right_wrist")}
    path = written(tmp_path / "e.hdf5", **cameras)
    at = {step: sample(path, step, AGILEX) for step in (4, 5)}
    assert at[4]["cam_high_mask"].tolist() == [False, True] and at[5]["cam_high_mask"].tolist() == [True, True]
    assert np.abs(at[5]["cam_high"][:, 0, 0].astype(int) - [[200, 0, 4], [200, 0, 5]]).max() <= 2
    assert np.abs(frames(path, "cam_high", [7], "rgb")[0, 0, 0].astype(int) - [7, 0, 200]).max() <= 2
    with pytest.raises(InputError, match=r"4\.\.129"):
        sample(path, 3, AGILEX)


def test_pictures_raw_or_of_their_own_lengths_are_read(tmp_path: Path) -> None:
    raw = np.arange(130 * 2 * 3 * 3, dtype=np.uint32).reshape(130, 2, 3, 3).astype(np.uint8)
    path = written(tmp_path / "e.hdf5", **{"observations/images/raw": raw})
    with h5py.File(path, "a") as file:
        data = file.create_dataset("observations/images/own", (130,), h5py.vlen_dtype(np.uint8))
        data[9] = np.frombuffer(jpeg((0, 0, 90)), np.uint8)
    assert (frames(path, "raw", [4, 3]) == raw[[4, 3]]).all()
    assert np.abs(frames(path, "own", [9])[0, 0, 0].astype(int) - [90, 0, 0]).max() <= 2
    for camera, step, said in (
        ("own", 3, "no picture"),
        ("none", 0, "no 'observations/images/none'"),
        ("raw", 130, "130"),
    ):
        with pytest.raises(InputError, match=said):
            frames(path, camera, [step])


def test_a_chunk_repeats_the_last_action() -> None:
    actions = np.arange(5.0)[:, None]
    assert chunk(actions, 3, 4)[:, 0].tolist() == [3, 4, 4, 4]
    with pytest.raises(InputError, match="step"):
        chunk(actions, 5, 4)


@pytest.mark.parametrize(("change", "said"), [
    ({"action": np.zeros((129, 14))}, "observations/qpos 130, action 129"),
    ({"action": None}, "no 'action'"),
    ({"observations/qpos": None}, "no 'observations/qpos'"),
    ({"action": np.full((130, 14), np.nan)}, "NaN or infinity at step 0"),
    ({"action": np.zeros(130)}, r"shape \(130,\)"),
    ({"steps": 127}, "at least 128"),
])  # fmt: skip
def test_an_episode_that_cannot_be_used_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        rdt_episode(written(tmp_path / "e.hdf5", **change))


def test_ragged_rows_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "e.hdf5", action=None)
    with h5py.File(path, "a") as file:
        data = file.create_dataset("action", (130,), h5py.vlen_dtype(np.float64))
        for step in range(130):
            data[step] = np.zeros(14 - step % 2)
    with pytest.raises(InputError, match="action: got rows that differ in length"):
        numbers(path)


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(kept: float, tmp_path: Path) -> None:
    path = written(tmp_path / "e.hdf5")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(InputError, match="complete HDF5 file"):
        numbers(path)


def test_an_episode_of_another_robot_is_refused_with_its_name(tmp_path: Path) -> None:
    data = ActionChunks(Episodes([rdt_episode(written(tmp_path / "e.hdf5"))]), ActionCodec("franka"))
    with pytest.raises(InputError, match=r"e.hdf5: state: .*14.*8"):
        data[0]


def test_each_way_to_say_a_task_is_equally_likely(tmp_path: Path) -> None:
    said = {"instruction": "a", "simplified_instruction": ["b", "c"], "expanded_instruction": ["d"]}
    (tmp_path / INSTRUCTIONS).write_text(json.dumps(said))
    episode, rng = rdt_episode(written(tmp_path / "e.hdf5")), np.random.default_rng(0)
    drawn = [episode.instruction(rng) for _ in range(1800)]
    counts = {text: drawn.count(text) for text in "abcd"}
    assert all(abs(counts[t] - n) < 5 * n**0.5 for t, n in {"a": 600, "b": 300, "c": 300, "d": 600}.items())
    (tmp_path / INSTRUCTIONS).write_text('{"instruction": "a"}')
    with pytest.raises(InputError, match="instructions"):
        rdt_episode(tmp_path / "e.hdf5")


def test_every_step_from_the_first_motion_on_is_one_item(tmp_path: Path) -> None:
    episodes = Episodes([rdt_episode(written(tmp_path / f"{n}.hdf5", steps=n)) for n in (130, 140)])
    data = ActionChunks(episodes, ActionCodec("aloha-agilex", horizon=4))
    assert len(data) == 126 + 136 and "2 episodes" in data.describe()
    assert data[0]["state"][0] == 0 and data[1]["state"][0] == pytest.approx(0.02)
    assert data[125]["data"][:, 0].unique().numel() == 1 and data[126]["state"][0] == 0
    # The action before the first step of an episode is not that of the episode before it.
    assert data.before(126)[0] == 1 and data.before(128)[0] == pytest.approx(1.02)
    with pytest.raises(IndexError):
        data[len(data)]


def test_chunks_of_several_robots_share_the_slots_and_nan_marks_those_a_robot_lacks(tmp_path: Path) -> None:
    robots = [ActionCodec(name, horizon=4) for name in ("aloha-gym", "reach-velocity")]
    widths = {"observations/qpos": np.zeros((5, 2)), "action": np.full((5, 2), 0.5)}
    episodes = [act_episode(written(tmp_path / "a.hdf5", steps=9)), act_episode(written(tmp_path / "b.hdf5", **widths))]
    data = UnifiedChunks([ActionChunks(Episodes([one]), codec) for one, codec in zip(episodes, robots, strict=True)])
    assert len(data) == 14 and float(data[8]["frequency"]) == 50 and float(data[9]["frequency"]) == 10
    item = data[9]
    assert item["data"].shape == (4, 128) and (~item["data"].isnan()).any(0).nonzero().flatten().tolist() == [39, 40]
    # State and action of this robot fill different slots: its indicator has both.
    assert item["indicator"].nonzero().flatten().tolist() == [30, 31, 39, 40] and item["state"].shape == (128,)
    latent = Chunks(4).encode(torch.stack([data[0]["data"], item["data"]]))
    assert latent.valid is not None and latent.valid[:, 0].sum(1).tolist() == [14, 2]
    assert not latent.value[~latent.valid].any() and (latent.value[1, :, 39] == 0.5).all()


def test_workers_read_what_one_process_reads(tmp_path: Path) -> None:
    episodes = Episodes([act_episode(written(tmp_path / "e.hdf5", steps=20))])
    data = ActionChunks(episodes, ActionCodec("aloha-gym", horizon=4))
    data[3]
    again = pickle.loads(pickle.dumps(data))
    assert len(data) == 20 and (again[7]["data"] == data[7]["data"]).all()
    loaded = torch.cat([batch["data"] for batch in DataLoader(data, batch_size=5, num_workers=1)])
    assert (loaded == torch.stack([data[i]["data"] for i in range(20)])).all()


def test_damaged_episodes_are_left_out_and_named(tmp_path: Path) -> None:
    good, bad = (rdt_episode(written(tmp_path / f"{name}.hdf5")) for name in ("good", "bad"))
    (tmp_path / "bad.hdf5").write_bytes(b"")
    data = ActionChunks(Episodes([bad, good]), AGILEX)
    faults = data.verify()
    assert list(faults) == [bad.name] and "complete HDF5" in faults[bad.name] and data.episodes.episodes == [good]
    assert len(data) == good.length - good.start
    with pytest.raises(InputError, match="at least one"):
        Episodes([])


def test_a_recording_brings_the_state_of_the_environment_its_instruction_and_its_robot(tmp_path: Path) -> None:
    path = written(tmp_path / "e.hdf5", steps=9, **{"observations/env_state": np.arange(27.0).reshape(9, 3)})
    plain = Episodes([act_episode(path)])
    assert plain.sees and plain.phrases == [] and plain[0]["env_state"].shape == (9, 3)
    with pytest.raises(InputError, match="without the robot it was recorded on"):
        plain.robots()
    with h5py.File(path, "a") as file:
        file.attrs.update({"instruction": "go left", "embodiment": json.dumps(load("aloha-gym").config())})
    data = Episodes([act_episode(path)])
    assert data.phrases == ["go left"] and data.robots() == [load("aloha-gym")]
    item = ActionChunks(data, ActionCodec("aloha-gym", horizon=2))[4]
    assert item["env_state"].tolist() == [12, 13, 14] and item["instruction"] == "go left"
    with h5py.File(path, "a") as file:
        del file["observations/env_state"]
        file["observations/env_state"] = np.zeros((8, 3))
    with pytest.raises(InputError, match="env_state: got 8 steps; accepted: 9"):
        Episodes([act_episode(path)]).numbers(0)


def test_episodes_kept_apart_are_those_of_the_folder_test(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    for name in ("a", "b", "test/c"):
        written(tmp_path / f"{name}.hdf5", steps=9)
    names = [[Path(e.name).stem for e in open_episodes(tmp_path, held_out=held).episodes] for held in (False, True)]
    assert names == [["a", "b"], ["c"]]
    # Where nothing is kept apart, figures say what they are of.
    whole = open_episodes(tmp_path / "test", held_out=True)
    told = "; all of it: no folder 'test' keeps any apart"
    assert whole.describe() == "1 episodes, 9 steps" + told == whole.without(["none"]).describe()
    assert ActionChunks(whole, ActionCodec("aloha-gym", horizon=2)).describe().endswith(told)
    assert not any(told in open_episodes(tmp_path, held_out=held).describe() for held in (False, True))
    for source, said in ((tmp_path / "none", "existing folder"), (tmp_path / "test" / "empty", "without episodes")):
        if source.name == "empty":
            source.mkdir()
        with pytest.raises(InputError, match=said):
            open_episodes(source)


def test_moments_are_those_of_the_population() -> None:
    moments = Statistics.of(np.array([[0.0, 3.0], [2.0, 4.0]]))
    assert moments.std.tolist() == [1.0, 0.5] and moments.rms.tolist() == [2**0.5, 12.5**0.5] and moments.count == 2


def lerobot(root: Path, lengths: tuple[int, ...] = (3, 4), version: str = "v3.0", drop: str = "") -> Path:
    """Two episodes in one data file, the second one's frames in disorder."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for folder in ("meta/episodes/chunk-000", "data/chunk-000"):
        (root / folder).mkdir(parents=True)
    info = {"codebase_version": version, "fps": 10, "features": {"observation.state": {}, "action": {}},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"}  # fmt: skip
    (root / "meta/info.json").write_text(json.dumps(info))
    rows = [{"episode_index": i, "length": n, "tasks": [f"task {i}"], "data/chunk_index": 0, "data/file_index": 0}
            for i, n in enumerate(lengths)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    steps = [{"episode_index": i, "frame_index": f, "observation.state": [100.0 * i + f, 1.0], "action": [f + 0.5, 2.0]}
             for i, n in enumerate((3, 4)) for f in (range(n) if i == 0 else reversed(range(n)))]  # fmt: skip
    columns = {key: [step[key] for step in steps] for key in steps[0] if key != drop}
    pq.write_table(pa.table(columns), root / "data/chunk-000/file-000.parquet")
    return root


def test_a_lerobot_dataset_is_read_by_episode_and_frame(tmp_path: Path) -> None:
    episodes = lerobot_episodes(lerobot(tmp_path / "set"))
    assert [episode.length for episode in episodes] == [3, 4] and rate(tmp_path / "set") == 10
    state, action = episodes[1].numbers()
    assert state[:, 0].tolist() == [100, 101, 102, 103] and action[:, 0].tolist() == [0.5, 1.5, 2.5, 3.5]
    data = ActionChunks(open_episodes(tmp_path / "set"), ActionCodec("pusht", horizon=2))
    assert len(data) == 7 and data[3]["instruction"] == "task 1" and "env_state" not in data[3]
    assert data[3]["state"][0] == 100 and data[6]["data"][0, 0] == data[6]["data"][1, 0]


@pytest.mark.parametrize(("change", "said"), [
    ({"version": "v2.1"}, "v2.1"), ({"lengths": (3, 5)}, "as meta/episodes says"), ({"drop": "action"}, "no 'action'"),
])  # fmt: skip
def test_a_lerobot_dataset_at_odds_with_itself_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    root = lerobot(tmp_path / "set", **change)
    with pytest.raises(InputError, match=said):
        for episode in lerobot_episodes(root):
            episode.numbers()


def test_a_damaged_or_absent_lerobot_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"info\.json"):
        lerobot_episodes(tmp_path)
    root = lerobot(tmp_path / "set")
    with pytest.raises(InputError, match="no 'velocity'"):
        lerobot_episodes(root, state="velocity")
    info = root / "meta/info.json"
    whole = info.read_text()
    for text, said in (("[]", "a JSON object"), (whole.replace("chunk_index", "episode_chunk"), "data_path: got")):
        info.write_text(text)
        with pytest.raises(InputError, match=said):
            lerobot_episodes(root)
    info.write_text(whole)
    file = root / "data/chunk-000/file-000.parquet"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="complete parquet file"):
        lerobot_episodes(root)[0].numbers()


def test_an_episode_without_instructions_says_nothing() -> None:
    episode = Episode("e", 1, lambda: (np.zeros((1, 1)), np.zeros((1, 1))))
    assert episode.instruction(np.random.default_rng(0)) == ""


def test_a_dataset_of_another_rate_than_its_robot_is_refused(tmp_path: Path) -> None:
    root = lerobot(tmp_path / "set")
    (root / "embodiment.json").write_text(json.dumps(load("pusht").config()))
    assert [robot.name for robot in open_episodes(root).robots()] == ["pusht"]
    (root / "embodiment.json").write_text(json.dumps(load("pusht").config() | {"control_hz": 50}))
    with pytest.raises(InputError, match="control_hz: got 50; accepted: 10, the fps"):
        open_episodes(root)
