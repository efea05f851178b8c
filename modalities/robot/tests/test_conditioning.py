"""From observations to conditions: what is read, what stands for what is absent, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gencore import components
from gencore.condition import Condition, Port, dropped
from gencore.errors import InputError, MissingDependency
from gencore.noise import Keyed, Recorded
from gencore_robot.conditioning.cache import EmbeddingCache
from gencore_robot.conditioning.dropout import dropped_views
from gencore_robot.conditioning.frames import CameraFrames
from gencore_robot.conditioning.lowdim import LowDim
from gencore_robot.conditioning.observation import Observation
from gencore_robot.conditioning.phrases import PhraseList
from gencore_robot.conditioning.precomputed import Precomputed
from gencore_robot.conditioning.proprioception import Proprioception
from gencore_robot.conditioning.siglip import SigLIPViews
from gencore_robot.conditioning.t5 import T5Text

PARTS = [
    Proprioception(3, mean=[0.5, 0.0, -1.0], indicator=[0, 2], frequency=50),
    LowDim("env_state", 2, mean=[1.0, 1.0], std=[2.0, 0.0]),
    PhraseList(["take the red one", "take the blue one"]),
    Precomputed("images", 4, 6),
]
WORDS: dict[str, Any] = {
    "state": [[1.0, 2.0, 3.0]] * 2, "env_state": [3.0, 1.0], "instruction": "Take the  blue one",
    "images": torch.ones(5, 4), "images_mask": [True, True, True, False, False],
}  # fmt: skip


@pytest.mark.parametrize("inside", [(), ("state",), tuple(WORDS)])
def test_words_are_said_one_by_one_or_as_an_observation(inside: tuple[str, ...]) -> None:
    words = {name: value for name, value in WORDS.items() if name not in inside}
    words["observation"] = {name: WORDS[name] for name in inside}
    count, c = Observation(PARTS)(words, None)
    assert count == 2 and {len(condition) for condition in c.values()} == {2}
    assert c["state"].value.tolist() == [[[1.0, 0.0, 3.0]]] * 2
    assert c["env_state"].value.tolist() == [[[1.0, 0.0]]] * 2
    assert c["language"].value.tolist() == [1, 1]
    assert c["images"].mask is not None and c["images"].mask.sum(1).tolist() == [3, 3]


def test_a_dataset_gives_the_same_conditions_as_words() -> None:
    observation = Observation(PARTS)
    fields = {
        "state": torch.tensor([[1.0, 2.0, 3.0]] * 2), "env_state": torch.tensor([[3.0, 1.0]] * 2),
        "instruction": ["take the blue one"] * 2, "images": torch.ones(2, 5, 4),
        "images_mask": torch.tensor([[True] * 3 + [False] * 2] * 2),
    }  # fmt: skip
    told, read = observation(WORDS, None)[1], observation.targets(fields)  # type: ignore[arg-type]
    assert told.keys() == read.keys()
    for name in told:
        assert torch.equal(told[name].value, read[name].value)


def test_conditioners_are_built_again_from_json() -> None:
    config = components.describe("conditioner", Observation([*PARTS, CameraFrames(2, name="raw")][:4]))
    again = components.build("conditioner", config)
    assert components.describe("conditioner", again) == config
    assert again(WORDS, None)[0] == 2


def test_what_is_absent_has_the_published_stand_in() -> None:
    count, c = PARTS[0]({}, 2)
    assert count == 2 and c["state"].value.tolist() == [[[0.5, 0.0, -1.0]]] * 2
    assert PARTS[2]({}, 1)[1]["language"].value.tolist() == [2]
    ports = {"state": Port("token_concat", 3), "indicator": Port("channel_concat", 3, torch.zeros(3)),
             "frequency": Port("token_concat", 1, torch.zeros(()))}  # fmt: skip
    gone = dropped(PARTS[0]({"state": [9.0, 9.0, 9.0]}, 1)[1], ports, 1.0, Keyed([0]))
    assert gone["state"].value.tolist() == [[[0.5, 0.0, -1.0]]]
    assert not gone["indicator"].value.any() and not gone["frequency"].value.any()


# ---- refusals


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"state": [1.0, float("nan"), 0.0]}, "state: got 1 of 3 values not finite"),
        ({"state": [1.0, 2.0]}, r"state: got shape \(2,\); accepted: \(B, 3\)"),
        ({"state": "left"}, "state: got str; accepted: numbers"),
        ({"env_state": None}, "env_state: got nothing"),
        ({"env_state": torch.zeros(3, 2)}, "state: got 2 samples; accepted: 3, as the rest"),
        ({"instruction": "take the green one"}, "did you mean"),
        ({"images": torch.zeros(7, 4), "images_mask": None}, "7 tokens; accepted: at most 6"),
        ({"images_mask": [True, False]}, "images_mask"),
        ({"indicator": [0.0, 0.5, 1.0]}, "indicator"),
        ({"frequency": -1.0}, "frequency: got -1"),
        ({"observation": {"stat": 1}}, "did you mean 'state'"),
        ({"observation": {"state": [0.0, 0.0, 0.0]}}, "'state' twice"),
        ({"observation": 3}, "a mapping"),
    ],
)
def test_observations_that_cannot_be_read_are_refused(words: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Observation(PARTS)({**WORDS, **words}, None)


def test_settings_that_do_not_fit_are_refused() -> None:
    for make, said in (
        (lambda: Observation([LowDim("a", 1), LowDim("a", 2)]), "two parts"),
        (lambda: Proprioception(3, mean=[0.0]), "one a slot"),
        (lambda: Proprioception(3, indicator=[3]), "slots 0..2"),
        (lambda: PhraseList(["go", "Go "]), "different"),
        (lambda: LowDim("a", 2, std=[1.0]), "std of a"),
        (lambda: Proprioception(3)({}, None), "no mean state"),
    ):
        with pytest.raises(InputError, match=said):
            make()


def test_pictures_are_bytes_or_fractions() -> None:
    frames = CameraFrames(2)
    whole = torch.full((1, 2, 3, 4, 5), 255, dtype=torch.uint8)
    assert torch.equal(frames({"images": whole}, None)[1]["images"].value, torch.ones(1, 2, 3, 4, 5))
    with pytest.raises(InputError, match="0 to 1"):
        frames({"images": whole.float()}, None)
    with pytest.raises(InputError, match="3, N, N"):
        frames({"images": whole[:, :1]}, None)


# ---- missing views


def test_every_view_is_dropped_on_its_own_and_as_a_whole() -> None:
    port, null = Port("cross_attention", 1), torch.full((6, 1), -1.0)
    tokens = Condition(torch.arange(6.0).reshape(1, 6, 1).expand(2, 6, 1), null=null)
    draws = Recorded([torch.tensor([[0.05, 0.5, 0.15], [0.2, 0.05, 0.01]])])
    shown = dropped_views(tokens, port, [0.1, 0.1, 0.2], draws).value[..., 0].tolist()
    assert shown == [[-1, -1, 2, 3, -1, -1], [0, 1, -1, -1, -1, -1]]
    keyed = Keyed(range(400))
    share = (dropped_views(Condition(torch.ones(400, 6, 1), null=null), port, [0.0, 0.3, 1.0], keyed).value < 0).float()
    one, two, three = share[:, ::2, 0].mean(0).tolist()
    assert one == 0 and three == 1 and two == pytest.approx(0.3, abs=0.08)
    with pytest.raises(InputError, match="multiple of the 4 views"):
        dropped_views(tokens, port, [0.1] * 4, keyed)


# ---- frozen encoders


def test_embeddings_are_made_once_and_damaged_ones_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def make() -> torch.Tensor:
        calls.append(1)
        return torch.full((2, 3), float(len(calls)))

    for _ in range(2):
        cache = EmbeddingCache(tmp_path / "a" / "b", "encoder 1")
        assert cache.get(b"x", make).eq(1).all()
    assert cache.get(b"y", make).eq(2).all() and EmbeddingCache(tmp_path, "encoder 2").get(b"x", make).eq(3).all()
    cache.path(b"x").write_bytes(b"cut off")
    assert cache.get(b"x", make).eq(4).all() and cache.get(b"x", make).eq(4).all()


def test_encoders_name_the_extra_that_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    picture = np.zeros((4, 4, 3), np.uint8)
    for part, words in ((T5Text(), {"instruction": "go"}), (SigLIPViews(1), {"images": [[picture]]})):
        with pytest.raises(MissingDependency, match=r"gencore-robot\[encoders\]"):
            part(words, None)


class Letters(T5Text):
    """Encodes a sentence by its length."""

    def _encode(self, sentence: str) -> torch.Tensor:
        return torch.arange(len(sentence) + 1.0)[:, None].expand(-1, 2)


def test_sentences_are_padded_and_masked_but_never_cut() -> None:
    c = Letters()({"instruction": ["ab", "a"]}, 2)[1]["language"]
    assert c.mask is not None and c.null is not None and c.value.shape == (2, 3, 2)
    assert c.mask.tolist() == [[True] * 3, [True, True, False]] and not c.value[1, 2].any()
    assert c.null.tolist() == [[0.0, 0.0]] * 3
    assert Letters()({}, 3)[1]["language"].value.shape == (3, 1, 2)


class Colours(SigLIPViews):
    """Encodes a picture by its colour."""

    def tokens(self, picture: Any) -> torch.Tensor:
        return torch.full((2, 1), -1.0 if picture is None else float(picture.mean()))


def test_a_missing_view_is_no_copy_of_another() -> None:
    red = np.full((2, 2, 3), 7, np.uint8)
    c = Colours(3)({"images": [[red, None, red], [None, None, red]]}, None)[1]["images"]
    assert c.value[..., 0].tolist() == [[7, 7, -1, -1, 7, 7], [-1, -1, -1, -1, 7, 7]]
    with pytest.raises(InputError, match="2 pictures; accepted: 3 a sample"):
        Colours(3)({"images": [[red, red]]}, None)


def test_pictures_come_as_a_mapping_gives_them_too() -> None:
    plain = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    seen: list[np.ndarray] = []

    class Kept(SigLIPViews):
        def _encode(self, picture: np.ndarray) -> torch.Tensor:
            seen.append(picture)
            return torch.zeros(1, 1)

    for picture in (plain, plain.transpose(2, 0, 1)):
        Kept(1).tokens(picture)
    assert (seen[0] == plain).all() and (seen[1] == plain).all()


@pytest.mark.slow
def test_small_encoders_of_transformers_give_their_last_hidden_states(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs gencore-robot[encoders]")
    config = transformers.SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4
    )
    transformers.SiglipVisionModel(config).save_pretrained(tmp_path / "siglip")
    transformers.SiglipImageProcessor(size={"height": 8, "width": 8}).save_pretrained(tmp_path / "siglip")
    views = SigLIPViews(2, model=str(tmp_path / "siglip"), cache=str(tmp_path / "cache"), dtype="float32")
    picture = np.random.default_rng(0).integers(0, 255, (10, 12, 3), np.uint8)
    c = views({"images": [[picture, None]]}, None)[1]["images"]
    assert c.value.shape == (1, 8, 16) and c.null is not None
    assert torch.equal(c.value[0, 4:], c.null[4:]) and not torch.equal(c.value[0, :4], c.null[:4])
    again = SigLIPViews(2, model="nowhere", cache=str(tmp_path / "cache"), dtype="float32")
    again.cache = views.cache
    assert torch.equal(again.tokens(picture), c.value[0, :4])
