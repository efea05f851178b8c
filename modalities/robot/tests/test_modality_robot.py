"""The robot modality from demonstrations to files, in one small model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from gencore import components
from gencore.cli import main
from gencore.errors import InputError
from gencore.nn.init import seeded
from gencore.noise import Keyed
from gencore.pipeline import Pipeline
from gencore.plugins import resolve
from gencore.processes.tables import TableProcess
from gencore.recipe import dumps, read_recipe
from gencore.training.module import batch_loss
from gencore.training.preset import Training
from gencore.training.run import fit
from gencore_robot import io, presets
from gencore_robot.backbones.rdt import RDT
from gencore_robot.codec import ActionCodec
from gencore_robot.conditioning.observation import Observation
from gencore_robot.conditioning.phrases import PhraseList
from gencore_robot.conditioning.precomputed import Precomputed
from gencore_robot.conditioning.robot_state import RobotState
from gencore_robot.data import Episodes, open_episodes
from gencore_robot.demonstrations import reach_episodes
from gencore_robot.embodiments.library import load
from gencore_robot.given import filled, prefixed
from gencore_robot.importers.rdt import assemble
from gencore_robot.modality import Robot
from gencore_robot.objective import ActionDenoising
from gencore_robot.policy import Policy
from gencore_robot.readers.chunks import chunks_of
from gencore_robot.readers.episode import Episode
from gencore_robot.readers.tokens import tokens
from gencore_robot.robots import bound, executed
from gencore_robot.statistics import Statistics

OBSERVATION = {"state": [0.1, -0.8], "env_state": [-0.5, 0.5, 0.5, 0.5]}


@pytest.fixture(scope="module")
def episodes() -> Episodes:
    return reach_episodes(4)


@pytest.fixture(scope="module")
def pipe(episodes: Episodes) -> Pipeline:
    made = presets.tiny(episodes).pipeline
    awaken(made)
    return made


def awaken(pipe: Pipeline) -> None:
    with seeded(0), torch.no_grad():
        for tensor in pipe.backbone.parameters():
            if not bool(tensor.any()):
                torch.nn.init.normal_(tensor, std=0.1)


def test_an_observation_gives_one_chunk_in_the_units_of_the_robot(pipe: Pipeline) -> None:
    out = pipe.generate(observation=OBSERVATION, seed=0)
    assert out.tensor.shape == (1, 16, 2) and out.chunks[0].dtype == np.float32
    # Arrays, tensors and lists say the same, and words may stand alone.
    said = {key: np.asarray(value, np.float32) for key, value in OBSERVATION.items()}
    assert torch.equal(pipe.generate(observation=said, seed=0).tensor, out.tensor)
    alone = pipe.generate(state=torch.tensor(said["state"]), env_state=said["env_state"], seed=0)
    assert torch.equal(alone.tensor, out.tensor)
    many = pipe.generate(observation={key: np.stack([value] * 3) for key, value in said.items()}, seed=0)
    assert many.tensor.shape == (3, 16, 2)
    assert json.loads(dumps(many.recipe))["words"]["observation"]["state"][2] == pytest.approx([0.1, -0.8])


@pytest.mark.parametrize(("observation", "said"), [
    ({"state": [0.1, -0.8]}, "env_state: got nothing"),
    ({"env_state": [0.0] * 4}, "state: got nothing; accepted: 2 numbers: x, y"),
    ({**OBSERVATION, "state": [0.1, float("nan")]}, "state: got 1 of 2 values not finite"),
    ({**OBSERVATION, "state": [0.1]}, r"state: got shape \(1,\)"),
    ({**OBSERVATION, "stat": [0.1, 0.2]}, "state"),
    ({**OBSERVATION, "env_state": np.zeros((2, 4)), "state": np.zeros((3, 2))}, "3, as the rest|2 samples|3 samples"),
    ("no-such-file.json", "observation: got no-such-file.json"),
])  # fmt: skip
def test_an_observation_that_cannot_be_used_is_refused(pipe: Pipeline, observation: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        pipe.generate(observation=observation, seed=0)


def test_a_prefix_begins_the_chunk(pipe: Pipeline) -> None:
    prefix = torch.tensor([[[0.25, -0.5], [0.125, 0.5]]])
    out = pipe.generate(observation=OBSERVATION, prefix=prefix, seed=0).tensor
    torch.testing.assert_close(out[:, :2], prefix, atol=1e-6, rtol=0)
    assert not torch.isclose(out[:, 2:], prefix[:, -1:]).all()
    known = torch.full((1, 16, 2), 7.0)
    known[:, :2] = prefix
    mask = (torch.arange(16) >= 2)[None, None]
    # Rows that are made may hold anything, also what the robot's limits forbid.
    assert torch.equal(pipe.generate(observation=OBSERVATION, known=known, mask=mask, seed=0).tensor, out)
    for options, said in (
        ({"prefix": torch.zeros(1, 17, 2)}, "at most 16"), ({"prefix": torch.zeros(1, 2, 3)}, "prefix: got 3 numbers"),
        ({"prefix": torch.full((1, 2, 2), 1.5)}, r"action 'x': got 1.5; accepted: -1.0..1.0"),
        ({"prefix": prefix, "known": known, "mask": mask}, "one way to give actions"),
        ({"prefix": prefix * float("nan")}, "prefix: got a value that is not finite"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            pipe.generate(observation=OBSERVATION, seed=0, **options)  # pyright: ignore[reportArgumentType]


def test_rows_that_are_made_repeat_given_ones_before_they_are_encoded() -> None:
    known, mask = prefixed(torch.tensor([[[1.0], [2.0]]]), 4, 1)
    assert known[0, :, 0].tolist() == [1, 2, 2, 2] and mask[0, 0].tolist() == [False, False, True, True]
    whole = torch.arange(5.0)[None, :, None]
    area = torch.tensor([[[True, False, True, False, True]]])
    assert filled(whole, area)[0, :, 0].tolist() == [1, 1, 1, 3, 3]
    assert filled(whole, torch.ones_like(area))[0, :, 0].tolist() == [0] * 5


def test_a_robot_whose_limits_exclude_zero_takes_a_prefix() -> None:
    # The fourth joint of the arm is always bent.
    rng = np.random.default_rng(0)
    low, high = (end.numpy() for end in (ActionCodec("franka").action.low, ActionCodec("franka").action.high))
    rows = np.clip(low + (high - low) * rng.uniform(0.3, 0.7, (30, 8)), low, high)
    one = Episode("e", 30, lambda: (rows, rows), environment=lambda: rng.normal(size=(30, 3)))
    data = Episodes([Episode("e", 30, one.numbers, environment=one.environment, embodiment=load("franka"))])
    franka = presets.tiny(data).pipeline
    prefix = rows[None, :3].astype(np.float32)
    out = franka.generate(state=rows[0], env_state=[0.0, 0.0, 0.0], prefix=prefix, seed=0).tensor
    assert np.abs(out[:, :3].numpy() - prefix).max() < 1e-5


def test_actions_and_state_are_standardised_and_come_back(episodes: Episodes, pipe: Pipeline) -> None:
    codec = pipe.tokenizer
    assert isinstance(codec, ActionCodec)
    whole = torch.cat([torch.from_numpy(episodes.numbers(i).action) for i in range(4)])
    latent = codec.encode(whole[: len(whole) // 16 * 16].reshape(-1, 16, 2).float())
    assert latent.value[..., 30:32].mean().abs() < 0.1 and 0.8 < latent.value[..., 30:32].std() < 1.2
    assert (codec.decode(latent) - whole[: len(whole) // 16 * 16].reshape(-1, 16, 2)).abs().max() < 1e-5
    state = RobotState("reach", Statistics.of(np.tile([0.0, 1.0], (4, 64)) * np.arange(4)[:, None]))
    _, conditions = state({"state": [0.0, 1.5]}, None)
    # Slot 31 moves by 0, 1, 2, 3: mean 1.5; slot 30 stands still and is moved by its mean, 0.
    assert conditions["state"].value[0, 0, 30:32].tolist() == [0, 0] and not conditions["state"].null.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("suffix", io.SUFFIXES)
def test_a_chunk_is_written_read_and_made_again(pipe: Pipeline, suffix: str, tmp_path: Path) -> None:
    out = pipe.generate(observation={key: [value] * 2 for key, value in OBSERVATION.items()}, seed=3)
    path = tmp_path / f"chunk{suffix}"
    assert path in out.save(path)
    assert torch.equal(pipe.modality.load(path, pipe), out.tensor)
    assert read_recipe(path)["words"]["observation"] == {key: [value] * 2 for key, value in OBSERVATION.items()}
    with pytest.raises(InputError, match="exists"):
        out.save(path)
    # What was made is a prefix of what comes next.
    again = pipe.generate(observation=OBSERVATION, prefix=path, seed=[1, 2])
    torch.testing.assert_close(again.tensor, out.tensor, atol=1e-5, rtol=0)
    assert again.recipe["words"]["prefix"] == out.tensor.tolist()
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=path.name):
        pipe.modality.load(path, pipe)


def test_the_command_line_reads_an_observation_from_a_file(pipe: Pipeline, tmp_path: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    model = pipe.save_pretrained(tmp_path / "model")
    (tmp_path / "obs.json").write_text(json.dumps(OBSERVATION))
    np.savez(tmp_path / "obs.npz", **{key: np.array(value) for key, value in OBSERVATION.items()})  # type: ignore[arg-type]
    for name in ("obs.json", "obs.npz"):
        asked = ["--observation", str(tmp_path / name), "--seed", "1", "--quiet", "--device", "cpu"]
        assert not main(["generate", "robot", "--model", str(model), "-o", str(tmp_path / f"{name}.csv"), *asked])
    assert (tmp_path / "obs.json.csv").read_text() == (tmp_path / "obs.npz.csv").read_text()
    # The recipe holds the observation itself: nothing but the model is needed to make the chunk again.
    (tmp_path / "obs.json").unlink()
    assert not main(["reproduce", str(tmp_path / "obs.json.csv"), "--model", str(model), "--quiet", "--device", "cpu"])
    assert "bit-equal" in capsys.readouterr().out


def test_a_saved_model_knows_its_robot_and_its_statistics(pipe: Pipeline, tmp_path: Path) -> None:
    again = Pipeline.from_pretrained(pipe.save_pretrained(tmp_path / "model"))
    assert again.config() == pipe.config()
    assert torch.equal(again.generate(observation=OBSERVATION, seed=0).tensor,
                       pipe.generate(observation=OBSERVATION, seed=0).tensor)  # fmt: skip


def test_a_policy_acts_on_observations_in_robot_units(pipe: Pipeline) -> None:
    policy = Policy(pipe, 2, execute=4, seed=0)
    seen = {key: np.array([value] * 2) for key, value in OBSERVATION.items()}
    first = policy.act(seen)
    assert first.shape == (2, 2) and not np.array_equal(first[0], first[1])
    decided = np.full((2, 3, 2), 0.5)
    assert np.abs(policy.predict_chunk(seen, prefix=decided)[:, :3].numpy() - decided).max() < 1e-6
    assert policy.predict_chunk(seen, prefix=decided[:, :0]).shape == (2, 16, 2)


@pytest.mark.parametrize("preset", ["two-way-reach", "two-way-reach-regression", "reach-tiny"])
def test_presets_train_and_evaluate(preset: str, episodes: Episodes, tmp_path: Path) -> None:
    training = resolve("preset", f"robot/{preset}")(episodes, steps=2, batch=4)  # type: ignore[operator]
    data = Robot().dataset(None, training.pipeline, held_out=True)
    assert fit(training, data, tmp_path, device="cpu").step == 2
    found = Robot().evaluate(training.pipeline, data, n=5)
    assert found["items"] == 5 and set(found["model"]["mae"]) == {"x", "y"}
    assert found["hold"]["mse_executed"] < found["mean"]["mse_executed"] * 2
    json.dumps(found)


def test_phrases_become_the_instructions_of_a_policy(episodes: Episodes) -> None:
    with pytest.raises(InputError, match="without instructions"):
        presets.reach_named(episodes)
    sides = [f"go {'left' if i % 2 else 'right'}" for i in range(4)]
    said = [replace(e, instructions=((side,),)) for e, side in zip(episodes.episodes, sides, strict=True)]
    training = presets.reach_named(Episodes(said), steps=2, batch=4)
    pipe = training.pipeline
    awaken(pipe)
    left, right = (pipe.generate(observation={**OBSERVATION, "instruction": f"go {side}"}, seed=0).tensor
                   for side in ("left", "right"))  # fmt: skip
    assert not torch.equal(left, right)
    with pytest.raises(InputError, match="instruction: got 'go up'"):
        pipe.generate(observation={**OBSERVATION, "instruction": "go up"})


def test_spellings_of_an_instruction_are_one_phrase(episodes: Episodes) -> None:
    spelt = ["Go left", "go left", "go  LEFT ", "go right"]
    said = [replace(e, instructions=((text,),)) for e, text in zip(episodes.episodes, spelt, strict=True)]
    data = Episodes(said)
    assert data.phrases == ["Go left", "go right"]
    pipe = presets.reach_named(data, steps=2, batch=4).pipeline
    phrases = next(part for part in pipe.conditioner.parts if isinstance(part, PhraseList))  # type: ignore[attr-defined]
    chunks = chunks_of(data, pipe)
    assert [phrases.row(chunks[i]["instruction"]) for i in (0, len(chunks) - 1)] == [0, 1]
    # Before training, not at the first batch that holds it.
    for instructions, told in (((), "without an instruction"), (((" ",),), "instruction: got ' '"),
                               ((("go up",),), "instruction: got 'go up'; accepted: Go left; go right")):  # fmt: skip
        with pytest.raises(InputError, match=told):
            chunks_of(Episodes([*said, replace(said[0], instructions=instructions)]), pipe)


def test_two_robots_share_a_network(episodes: Episodes) -> None:
    fast = [replace(e, name=f"{e.name} fast", embodiment=load("reach-velocity")) for e in episodes.episodes]
    fast = [replace(e, numbers=lambda e=e: (e.numbers()[0], e.numbers()[1] * 0.5)) for e in fast]
    both = Episodes([*episodes.episodes, *fast])
    with pytest.raises(InputError, match="episodes of one robot"):
        presets.reach(both)
    training = presets.reach_two(both, steps=2, batch=4)
    data = chunks_of(both, training.pipeline)
    assert len(data) == 2 * sum(e.length for e in episodes.episodes)
    items = [data[i] for i in (0, len(data) - 1)]
    loss = batch_loss(training, default_collate(items), Keyed([1_000_000, 1_000_001]))
    # Two of 128 slots count for each robot.
    assert loss.parts["masked"] > 10 * loss.parts["diluted"] / 2 > 0
    awaken(training.pipeline)
    figures = Robot().evaluate(training.pipeline, data, n=3)
    assert figures["reach"]["items"] == 3 and figures["reach-velocity"]["model"]["mse"] > 0
    for name in ("reach", "reach-velocity"):
        one = bound(training.pipeline, name)
        assert one.generate(observation=OBSERVATION, seed=0).tensor.shape == (1, 16, 2)
        with pytest.raises(InputError, match="single robot"):
            bound(one, name)


def recorded(path: Path, **more: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        rows = np.linspace(0.0, 0.5, 20)[:, None].repeat(2, 1)
        for key, value in ({"observations/qpos": rows, "action": rows + 0.1} | more).items():
            file[key] = value
    return path


def test_a_folder_says_the_robot_of_episodes_that_do_not(tmp_path: Path) -> None:
    recorded(tmp_path / "a.hdf5")
    (tmp_path / "test").mkdir()
    recorded(tmp_path / "test" / "b.hdf5")
    (tmp_path / "embodiment.json").write_text(json.dumps({**load("reach").config(), "name": "mine"}))
    (tmp_path / ".b.part.hdf5").write_bytes(b"left behind by a writer that was killed")
    for held_out in (False, True):
        data = Robot().dataset(tmp_path, held_out=held_out)
        assert isinstance(data, Episodes) and [one.name for one in data.robots()] == ["mine"]
    # A policy of such a robot, without a state of the environment, is bound to it.
    made = presets.tiny(open_episodes(tmp_path)).pipeline
    assert isinstance(made.tokenizer, ActionCodec) and made.tokenizer.embodiment.name == "mine"
    assert made.generate(state=[0.0, 0.0], seed=0).tensor.shape == (1, 16, 2)
    with pytest.raises(InputError, match="of mine, the model's robot"):
        chunks_of(reach_episodes(1), made)
    with pytest.raises(InputError, match="without env_state"):
        chunks_of(open_episodes(tmp_path), presets.tiny(reach_episodes(1)).pipeline)


def test_networks_of_encoded_tokens_train_on_tokens_beside_the_episodes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "embodiment.json").write_text(json.dumps(load("reach").config()))
    pictures, words = rng.normal(size=(20, 4, 6)), rng.normal(size=(3, 5))
    recorded(tmp_path / "a.hdf5", **{"tokens/images": pictures, "tokens/language": words})
    streams = {"language": {"dims": 5, "length": 8}, "images": {"dims": 6, "length": 4, "grid": [2, 2]}}
    process = TableProcess.named("squaredcos_cap_v2", 1000, single=True)
    made = assemble(RDT(width=16, depth=2, heads=2, horizon=4, streams=streams), process, card={})
    data = chunks_of(open_episodes(tmp_path), made)
    item = data[7]
    assert item["images"].shape == (4, 6) and np.allclose(item["images"], pictures[7])
    assert item["language_mask"].tolist() == [True] * 3 + [False] * 5 and np.allclose(item["language"][:3], words)
    training = Training(pipeline=made, objective=ActionDenoising(process), steps=1, batch=2, drop=0.0)
    loss = batch_loss(training, default_collate([item, data[3]]), Keyed([1_000_000, 1_000_001]))
    assert torch.isfinite(loss.total) and loss.total > 0
    with pytest.raises(InputError, match=r"a.hdf5: tokens/language.*at most 8 of 4 numbers"):
        tokens(open_episodes(tmp_path).episodes[0], 0, Precomputed("language", 4, 8))
    recorded(tmp_path / "a.hdf5", **{"tokens/images": pictures, "tokens/images_null": pictures[0, :1],
                                     "tokens/language": words, "tokens/language_null": words[:1]})  # fmt: skip
    recorded(tmp_path / "b.hdf5", **{"tokens/images": pictures})
    for call in (lambda: chunks_of(open_episodes(tmp_path), made), lambda: presets.rdt_170m(open_episodes(tmp_path))):
        with pytest.raises(InputError, match=r"b\.hdf5 without tokens/language"):
            call()


def test_a_fine_tuned_model_executes_as_many_actions_as_the_one_it_came_from(pipe: Pipeline) -> None:
    assert executed(pipe) == 8
    card = {"fine-tuned from": "a", "its card": pipe.card}
    tuned = Pipeline(modality=pipe.modality, tokenizer=pipe.tokenizer, conditioner=pipe.conditioner,
                     backbone=pipe.backbone, process=pipe.process, card=card)  # fmt: skip
    assert executed(tuned) == 8
    tuned.card = {}
    assert executed(tuned) is None


def test_the_conditioner_is_built_again_from_its_settings(pipe: Pipeline) -> None:
    told = components.describe("conditioner", pipe.conditioner)
    again = components.build("conditioner", json.loads(json.dumps(told)))
    assert isinstance(again, Observation) and components.describe("conditioner", again) == told
    with pytest.raises(InputError, match="stray"):
        components.build("conditioner", {**told, "stray": 1})
