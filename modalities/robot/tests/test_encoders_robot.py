"""A checkpoint of the published layout, with encoders, as a policy of an environment with three cameras."""

from __future__ import annotations

import json
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from gencore.cli import main
from gencore.errors import CheckpointError, InputError
from gencore.loading import load
from gencore.nn.init import seeded
from gencore.pipeline import Pipeline
from gencore.weights.files import write_tensors
from gencore_robot.backbones.rdt import RDT
from gencore_robot.conditioning.instructions import EncodedInstructions
from gencore_robot.conditioning.siglip import SigLIPViews
from gencore_robot.conditioning.t5 import T5Text
from gencore_robot.embodiments.embodiment import Embodiment
from gencore_robot.encoders import encoded
from gencore_robot.importers.layout import KEYS
from gencore_robot.importers.rdt import import_rdt
from gencore_robot.policy import Policy
from gencore_robot.robots import bound
from gencore_robot.runner import runner
from gencore_robot.wrappers.mapped import MappedVector
from gencore_robot.wrappers.mapping import EnvMapping

WIDTH, TOKENS, SAID = 3, 2, "touch the cup"
JOINTS = [{"name": f"j{i}", "slot": f"right_arm_joint_{i}_pos", "unit": "rad", "low": -3, "high": 3} for i in range(2)]
CAMERAS = {"external": "top", "right_wrist": "right", "left_wrist": "left"}
ROBOT = {"name": "toy", "control_hz": 20, "state": JOINTS, "action": JOINTS, "cameras": CAMERAS}
CONFIG: dict[str, Any] = {
    "action_dim": 128, "pred_horizon": 4, "rdt": {"hidden_size": 24, "depth": 2, "num_heads": 2},
    "lang_pos_embed_config": [["lang", -8]],
}  # fmt: skip


def publish(path: Path, language: int = 7, images: int = WIDTH, tokens: int = TOKENS) -> Path:
    """A small RDT as it is published, for encoders of these widths, and `tokens` a picture."""
    streams = {
        "language": {"dims": language, "length": 8, "grid": [-8]},
        "images": {"dims": images, "length": 6 * tokens, "grid": [2, 3, -tokens]},
    }
    with seeded(0):
        net = RDT(width=24, depth=2, heads=2, horizon=4, streams=streams)
        for p in net.parameters():
            p.data += 0.2 * torch.randn(p.shape)
    write_tensors(path / "model.safetensors", KEYS.invert().rename(net.state_dict()))
    config = CONFIG | {"img_pos_embed_config": [["image", [2, 3, -tokens]]]}
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With two sentences encoded beside it."""
    path = publish(tmp_path_factory.mktemp("rdt"))
    (path / "said").mkdir()
    sentences = {SAID: torch.randn(5, 7), "": torch.zeros(1, 7)}
    EncodedInstructions.write(path / "said" / "sentences.safetensors", sentences)
    return path


class Colours(SigLIPViews):
    """Encodes a picture by its first pixel, a missing one as -1."""

    def tokens(self, picture: Any) -> Tensor:
        if picture is None:
            return torch.full((TOKENS, WIDTH), -1.0)
        return torch.as_tensor(np.asarray(picture)).reshape(3, -1)[:, 0].float().expand(TOKENS, WIDTH)


def attached(folder: Path, vision: Any = None) -> Pipeline:
    pipe = import_rdt(folder, language=f"file:{folder / 'said' / 'sentences.safetensors'}")
    return encoded(pipe, vision=vision or Colours(6, frames=2))


class ThreeCameras(gymnasium.Env):
    """Every picture shows which camera it is of, which environment, and which step; an episode has 5 steps."""

    def __init__(self, number: int) -> None:
        picture = gymnasium.spaces.Box(0, 255, (4, 6, 3), np.uint8)
        self.number, self.clock, self.views = number, 0, {name: picture for name in CAMERAS.values()}
        self.observation_space = gymnasium.spaces.Dict(
            {"q": gymnasium.spaces.Box(-20, 20, (2,), np.float64), **self.views}
        )
        self.action_space = gymnasium.spaces.Box(-3, 3, (2,), np.float64)

    def _seen(self) -> dict[str, Any]:
        pictures = {name: np.full((4, 6, 3), [10 * (1 + i), self.number, self.clock], np.uint8)
                    for i, name in enumerate(self.views)}  # fmt: skip
        return {"q": np.array([0.1 * self.clock, 0.1 * self.number]), **pictures}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.clock = 100
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self.clock += 1
        return self._seen(), 0.0, self.clock == 105, False, {"is_success": False}


MAPPING = EnvMapping.from_config(
    {"observation": {"state": "q", "images": {"views": ["top", "right", "left"]}, "instruction": {"text": SAID}},
     "embodiment": ROBOT}
)  # fmt: skip


class Now(Executor):
    """Runs at once what it is given."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future: Any = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Watched:
    """What the network was shown, call by call."""

    def __init__(self, pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        self.conditions: list[dict[str, Tensor]] = []
        forward = type(pipe.backbone).forward

        def shown(net: Any, x: Tensor, t: Tensor, cond: Any, ctx: Any) -> Any:
            self.conditions.append({name: c.value.clone() for name, c in cond.items()})
            return forward(net, x, t, cond, ctx)

        monkeypatch.setattr(type(pipe.backbone), "forward", shown)

    def views(self) -> list[list[list[int]]]:
        """Of the last call: for each environment, [camera, environment, step] of each view; [-1, -1, -1] is missing."""
        tokens = self.conditions[-1]["images"]
        return tokens[:, ::TOKENS].int().tolist()


def expected(number: int, clock: int | None) -> list[list[int]]:
    return [[-1] * 3] * 3 if clock is None else [[10 * (1 + i), number, clock] for i in range(3)]


def vector(mode: AutoresetMode = AutoresetMode.DISABLED) -> MappedVector:
    made = [lambda i=i: ThreeCameras(i) for i in range(2)]
    return MappedVector(SyncVectorEnv(made, autoreset_mode=mode), MAPPING)


def test_an_imported_network_acts_on_pictures_and_sentences(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    envs = vector()
    pipe = attached(folder)
    watched = Watched(pipe, monkeypatch)
    played = runner(pipe, envs, seed=0, execute=2, words=None, options={"steps": 2})
    obs, _ = envs.reset(seed=[3, 4])
    played.begin(np.array([True, True]), np.array([3, 4]))
    played.executor.act(obs)
    # Nothing was before the first frame: it is the background, not a copy of the first.
    assert watched.views() == [expected(i, None) + expected(i, 100) for i in range(2)]
    first = watched.conditions[-1]
    assert first["frequency"].tolist() == [20.0, 20.0]
    assert np.allclose(first["state"][:, 0, :2], [[10.0, 0.0], [10.0, 0.1]]) and not first["state"][:, 0, 2:].any()
    assert first["indicator"][:, 0].sum(1).tolist() == [2, 2] and first["language"].shape == (2, 5, 7)

    def step(action: Any) -> Any:
        seen, _, terminated, truncated, _ = envs.step(action)
        played.executor.stepped(terminated, truncated)
        return seen

    obs = step(np.zeros((2, 2)))
    played.executor.act(obs)
    obs = step(np.zeros((2, 2)))
    # The frame before is that of the step before, although nothing was predicted from it.
    action = played.executor.act(obs)
    assert action.shape == (2, 2) and np.isfinite(action).all()
    assert watched.views() == [expected(i, 101) + expected(i, 102) for i in range(2)]
    # One environment begins anew in the middle: it forgets, the other does not, and each is predicted when it is due.
    obs, _ = envs.reset(seed=[3, 5], options={"reset_mask": np.array([False, True])})
    played.begin(np.array([False, True]), np.array([3, 5]))
    played.executor.act(obs)
    assert watched.views() == [expected(1, None) + expected(1, 100)]
    obs = step(np.zeros((2, 2)))
    played.executor.act(obs)
    assert watched.views() == [expected(0, 102) + expected(0, 103)]
    envs.close()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_no_frame_of_an_episode_reaches_the_next(
    mode: AutoresetMode, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    envs = vector(mode)
    pipe = bound(attached(folder), Embodiment.from_config(ROBOT))
    watched = Watched(pipe, monkeypatch)
    policy = Policy(pipe, 2, execute=1, options={"steps": 1}, autoreset=mode)
    obs, _ = envs.reset(seed=0)
    began = 0
    for _ in range(9):
        before = len(watched.conditions)
        obs, _, terminated, truncated, _ = envs.step(policy.act(obs))
        if len(watched.conditions) > before:
            for number, views in enumerate(watched.views()):
                now = views[3][2]
                assert views == expected(number, None if now == 100 else now - 1) + expected(number, now)
                began += now == 100
        policy.stepped(terminated, truncated)
    assert began == 4
    envs.close()


def test_a_plain_environment_and_chunks_alone_need_no_batch_of_frames(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = bound(attached(folder), Embodiment.from_config(ROBOT))
    watched = Watched(pipe, monkeypatch)
    env = ThreeCameras(7)
    policy = Policy(pipe, execute=1, options={"steps": 1})
    obs, _ = env.reset()
    assert policy.act(MAPPING.words(obs)).shape == (2,)
    obs, *_ = env.step(np.zeros(2))
    policy.act(MAPPING.words(obs))
    assert watched.views() == [expected(7, 100) + expected(7, 101)]
    alone = {key: [value] if isinstance(value, str) else value[None] for key, value in MAPPING.words(obs).items()}
    assert policy.predict_chunk(alone).shape == (1, 4, 2)
    assert watched.views() == [expected(7, None) + expected(7, 101)]


def test_beside_control_the_frames_are_those_of_two_ticks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = bound(attached(folder), Embodiment.from_config(ROBOT))
    watched = Watched(pipe, monkeypatch)
    env, clock = ThreeCameras(7), [0.0]
    policy = Policy(pipe, realtime=True, hz=20, execute=2, options={"steps": 1}, clock=lambda: clock[0],
                    sleep=lambda seconds: None, pool=Now())  # fmt: skip
    for _ in range(2):
        obs, _ = env.reset()
        policy.reset()
        for _ in range(3):
            policy.act(MAPPING.words(obs))
            obs, *_ = env.step(np.zeros(2))
            clock[0] += 0.05
        seen = [one["images"][0, :: 3 * TOKENS, 2].int().tolist() for one in watched.conditions]
        assert [-1, 100] in seen and seen[-1] in ([100, 101], [101, 102])
        assert all(now == 100 if before == -1 else now == before + 1 for before, now in seen)
        watched.conditions.clear()
    policy.executor.close()  # type: ignore[union-attr]


def test_cameras_a_robot_lacks_are_missing_at_their_own_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    robot = Embodiment.from_config(ROBOT | {"cameras": {"left_wrist": "left", "external": "top"}})
    pipe = bound(attached(folder), robot)
    watched = Watched(pipe, monkeypatch)
    policy = Policy(pipe, 1, execute=1, options={"steps": 1})
    pictures = np.stack([np.full((3, 4, 6), shade, np.uint8) for shade in (1, 2)])[None]
    for _ in range(2):
        policy.act({"state": np.zeros((1, 2)), "images": pictures, "instruction": [SAID]})
    (views,) = watched.views()
    assert [view[0] for view in views] == [1, -1, 2, 1, -1, 2]
    with pytest.raises(InputError, match="1 pictures; accepted: 6 a sample"):
        policy.predict_chunk({"state": np.zeros((1, 2)), "images": pictures[:, :1], "instruction": [SAID]})


def test_encoders_travel_with_the_model_folder(folder: Path, tmp_path: Path) -> None:
    vision = "siglip:somewhere/siglip"
    pipe = import_rdt(folder, language=f"file:{folder / 'said' / 'sentences.safetensors'}", vision=vision)
    pipe.save_pretrained(tmp_path / "model")
    again = load("robot", tmp_path / "model")
    assert again.conditioner.config() == pipe.conditioner.config()
    views = again.conditioner.parts[2]  # type: ignore[attr-defined]
    assert isinstance(views, SigLIPViews)
    assert (views.views, views.frames, views.model) == (6, 2, "somewhere/siglip")
    text = encoded(again, language="t5:small").conditioner.parts[1]  # type: ignore[attr-defined]
    assert isinstance(text, T5Text) and (text.model, text.length) == ("small", 8)


def test_the_command_attaches_them(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--language", f"file:{folder / 'said' / 'sentences.safetensors'}", "--vision", "siglip:some/where"]
    assert main(["convert", "rdt", str(folder), "-o", str(tmp_path / "rdt"), *asked]) == 0
    words = load("robot", tmp_path / "rdt").conditioner.words
    assert {"instruction", "images", "state"} < set(words) and "language" not in words
    assert main(["convert", "rdt", str(folder), "-o", str(tmp_path / "other"), "--vision", "clip:x"]) == 2
    assert "vision: got clip:x; accepted: siglip:MODEL" in capsys.readouterr().err


@pytest.mark.slow
def test_a_vector_environment_is_seen_by_siglip_and_read_by_t5(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs gencore-robot[encoders]")
    tokenizers = pytest.importorskip("tokenizers", reason="needs gencore-robot[encoders]")
    small = transformers.SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4
    )
    transformers.SiglipVisionModel(small).save_pretrained(tmp_path / "siglip")
    transformers.SiglipImageProcessor(size={"height": 8, "width": 8}).save_pretrained(tmp_path / "siglip")
    text = transformers.T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    transformers.T5EncoderModel(text).save_pretrained(tmp_path / "t5")
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel({"touch": 2, "the": 3, "cup": 4, "?": 5, "</s>": 1}, "?"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    plain.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    transformers.PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="?").save_pretrained(tmp_path / "t5")
    (tmp_path / "rdt").mkdir()
    publish(tmp_path / "rdt", language=8, images=16, tokens=4)
    pipe = import_rdt(tmp_path / "rdt", language=f"t5:{tmp_path / 't5'}", vision=f"siglip:{tmp_path / 'siglip'}")
    envs = vector()
    played = runner(pipe, envs, seed=0, execute=1, words=None, options={"steps": 2})
    obs, _ = envs.reset(seed=0)
    for _ in range(3):
        action = played.executor.act(obs)
        assert action.shape == (2, 2) and np.isfinite(action).all() and not np.allclose(action[0], action[1])
        obs, *_ = envs.step(action)
    envs.close()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"language": "bert:x"}, "language: got bert:x; accepted: t5:MODEL or file:PATH"),
        ({"language": "t5"}, "accepted: t5:MODEL"),
        ({"vision": "t5:x"}, "vision: got t5:x; accepted: siglip:MODEL"),
    ],
)
def test_other_encoders_are_refused(asked: dict[str, str], said: str, folder: Path) -> None:
    with pytest.raises(InputError, match=said):
        import_rdt(folder, language=asked.get("language"), vision=asked.get("vision"))


def test_sentences_of_a_file_are_held_against_the_network(folder: Path, tmp_path: Path) -> None:
    wide, broken = tmp_path / "wide.safetensors", tmp_path / "broken.safetensors"
    EncodedInstructions.write(wide, {SAID: torch.zeros(9, 4)})
    with pytest.raises(InputError, match="up to 9 tokens of 4 numbers; accepted: up to 8 of 7"):
        import_rdt(folder, language=f"file:{wide}")
    broken.write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="broken"):
        import_rdt(folder, language=f"file:{broken}")
    write_tensors(broken, {"a": torch.zeros(2, 3), "b": torch.zeros(2)}, force=True)
    with pytest.raises(InputError, match="one width"):
        EncodedInstructions(broken)
    part = EncodedInstructions(folder / "said" / "sentences.safetensors")
    with pytest.raises(InputError, match="did you mean"):
        part({"instruction": "touch the cap"}, None)
    c = part({"instruction": [SAID, ""]}, None)[1]["language"]
    assert c.mask is not None and c.mask.sum(1).tolist() == [5, 1] and c.null is not None and not c.null.any()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"frames": 4}, "frames: got 4; accepted: a divisor of the 6 views"),
        ({"frames": 2, "roles": ["external", "external"]}, "different ones"),
        ({"roles": ["front"]}, "front"),
        ({"frames": 6, "roles": ["left_wrist"]}, "different ones of external"),
    ],
)
def test_views_that_do_not_fit_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        SigLIPViews(6, **settings)
