"""From options and words to a request: words of a modality, defaults, transforms, recipes, and kinds that fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gencore.backbone import Backbone, Output
from gencore.condition import Conditions
from gencore.context import Context, Interceptor, StepInfo
from gencore.denoised import Denoised
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.known import Known
from gencore.noise import Keyed, Noise, Recorded, exponentials, uniforms
from gencore.pipeline import Pipeline
from gencore.process import AbsorbingProcess
from gencore.recipe import content_hash
from gencore.request import request
from gencore.run import stream
from gencore.sampler import Query, Sampler, State, Steps
from gencore.spec import LatentSpec
from gencore.testing.tiny import tiny_pipeline


class HalfAbsorbing(AbsorbingProcess):
    """Masked with probability t; the network sees no time."""

    mask_id = 3

    def move_chance(self, t: Tensor) -> Tensor:
        return t.to(torch.float64)

    def model_time(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t, dtype=torch.float64)

    def config(self) -> dict[str, Any]:
        return {}


class Logits:
    """Raw logits as they are."""

    kind = "logits"

    def split(self, output: Tensor) -> tuple[Tensor, None]:
        return output, None

    def read(self, output: Tensor, x_t: Tensor, process: Any, t: Tensor) -> Any:
        return _Tokens(output.argmax(-1), x_t)


class _Tokens:
    def __init__(self, x0: Tensor, x_t: Tensor) -> None:
        self.x0, self.x_t = x0, x_t


class Constant(Backbone):
    """Says token 1 everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.prediction, self.ports = Logits(), {}
        self.shown: list[Tensor] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
        self.shown.append(x_t)
        return Output(torch.nn.functional.one_hot(torch.ones_like(x_t), 4).double())

    def config(self) -> dict[str, Any]:
        return {}


class OpenFromTheLeft(Sampler):
    """Opens one token in every second step."""

    kind = "discrete"

    def step(self, state: State, noise: Noise) -> Steps:
        d = yield Query(state.x, state.time(state.i))
        x = state.x
        if state.i % 2 == 0:
            x = x.clone()
            x[:, state.i // 2] = torch.where(x[:, state.i // 2] == 3, d.x0[:, state.i // 2], x[:, state.i // 2])
        return state.advance(x, d)

    def config(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def pipe() -> Pipeline:
    return tiny_pipeline()


def test_exponentials_are_float64_and_come_from_the_uniforms_of_the_same_key() -> None:
    drawn = Keyed([4, 5], dtype=torch.float16).draw("exponential", ("step", 0), (7,))
    assert drawn.dtype == torch.float64 and bool((drawn > 0).all())
    np.testing.assert_array_equal(drawn[1].numpy(), exponentials(5, ("step", 0), 7))
    np.testing.assert_allclose(np.exp(-drawn[0].numpy()), uniforms(4, ("step", 0), 7), rtol=1e-12)
    assert Keyed([4, 5]).count == 2 and Recorded(torch.zeros(3, 5, 2)).count == 5


def test_an_absorbing_process_masks_by_chance_starts_masked_and_shows_given_tokens() -> None:
    process, noise = HalfAbsorbing(), Keyed([0, 1])
    spec = LatentSpec("b n", (1000,), kind="discrete", vocab=4)
    assert torch.equal(process.prior(spec, noise), torch.full((2, 1000), 3))
    x0 = torch.ones(2, 1000, dtype=torch.int64)
    x = process.corrupt(x0, torch.tensor([0.1, 0.7]), noise.draw("uniform", ("eps",), (1000,)))
    share = (x == 3).double().mean(1)
    assert abs(share[0] - 0.1) < 0.04 and abs(share[1] - 0.7) < 0.06
    assert torch.equal(process.given(x0, torch.ones(2), noise), x0)


def test_tokens_that_stand_still_cost_no_network_call() -> None:
    net, process = Constant(), HalfAbsorbing()
    denoise = Denoiser(net, process, {})
    spec = LatentSpec("b n", (4,), kind="discrete", vocab=4)
    known = Known(torch.tensor([[9, 2, 9, 9]]), torch.tensor([[True, False, True, True]]))
    times = torch.linspace(1, 0, 9, dtype=torch.float64)
    *_, last = stream(denoise, OpenFromTheLeft(), spec, times, Keyed([0]), known=known)
    assert last.x.tolist() == [[1, 2, 1, 1]]
    # Eight steps; the tokens change in steps 0, 4 and 6 (token 1 is given), each of which is seen once, and the start.
    assert denoise.calls == len(net.shown) == 4
    assert all(not torch.equal(a, b) for a, b in zip(net.shown, net.shown[1:], strict=False))


def test_given_cells_of_one_sample_each_are_cut_with_the_batch() -> None:
    value, mask = torch.arange(12.0).reshape(3, 1, 4), torch.zeros(3, 1, 4, dtype=torch.bool)
    mask[:, :, 0] = True
    part = Known(value, mask).rows(slice(1, 2))
    assert torch.equal(part.value, value[1:2]) and torch.equal(part.mask, mask[1:2])
    shared = Known(value[:1], mask[:1, :1]).rows(slice(1, 3))
    assert torch.equal(shared.value, value[:1])


def test_a_sampler_of_the_other_kind_is_refused_with_those_that_fit(pipe: Pipeline) -> None:
    with pytest.raises(InputError, match=r"OpenFromTheLeft, for discrete latents.*continuous latents: .*ddim"):
        request(pipe, label=1, sampler=OpenFromTheLeft())


def test_words_of_the_modality_become_options_and_stay_words_in_the_recipe(
    pipe: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Mapping[str, Any]] = []
    known, mask = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    mask[..., :4] = False

    def asked(words: Mapping[str, Any], options: Mapping[str, Any], pipe: Pipeline) -> Mapping[str, Any]:
        seen.append({**words, **options})
        return {"known": known, "mask": mask, "known_mode": "compose_input"} if words else {}

    monkeypatch.setattr(type(pipe.modality), "words", ("half",))
    monkeypatch.setattr(pipe.modality, "asked", asked)
    made = request(pipe, label=1, half="left", seed=3)
    assert seen == [{"half": "left", "seed": 3}]
    assert made.known is not None and made.known.mode == "compose_input" and made.known.share == 0.5
    assert made.recipe["words"] == {"label": 1, "half": "left"} and made.recipe["known"]["files"] == [None, None]
    assert request(pipe, label=1).known is None
    with pytest.raises(InputError, match="half"):
        request(pipe, label=1, hlaf="left")


def test_arrays_and_files_among_the_words_reach_the_recipe_as_json(
    pipe: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(pipe.modality), "words", ("seen",))
    many = np.zeros((300, 300), np.uint8)
    seen = {"few": np.arange(3, dtype=np.float32), "one": np.float64(0.5), "many": many, "file": Path("a/b.txt"),
            "rows": [np.array([True]), torch.tensor([2])]}  # fmt: skip
    told = request(pipe, label=1, seen=seen).recipe["words"]["seen"]
    assert told == {"few": [0.0, 1.0, 2.0], "one": 0.5, "file": "b.txt", "rows": [[True], [2]],
                    "many": {"hash": content_hash(many), "shape": [300, 300]}}  # fmt: skip
    json.dumps(told)
    with pytest.raises(InputError, match="word: got object"):
        request(pipe, label=1, seen=object())


def test_files_among_the_words_are_read_before_anything_else(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(words: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**words, "label": 3} if words["label"] == "three.txt" else words

    monkeypatch.setattr(pipe.modality, "opened", opened)
    made = request(pipe, label="three.txt")
    assert made.recipe["words"] == {"label": 3} and made.conditions["label"].value.tolist() == [3]


def test_the_pipeline_says_how_its_network_sees_given_cells(pipe: Pipeline) -> None:
    pipe.defaults = replace(pipe.defaults, known_mode="compose_input")
    given = {"known": torch.zeros(1, 1, 8, 8), "mask": torch.ones(1, 1, 8, 8, dtype=torch.bool)}
    chosen = [request(pipe, label=1, **given, **extra).known for extra in ({}, {"known_mode": "replace_state"})]
    assert [k.mode for k in chosen if k] == ["compose_input", "replace_state"]


def test_transforms_see_predictions_and_the_run_s_noise_and_are_named_in_the_recipe(pipe: Pipeline) -> None:
    class Halve:
        def __call__(self, d: Denoised, info: StepInfo, noise: Noise) -> Denoised:
            assert isinstance(noise, Keyed) and noise.seeds == (3,)
            return Denoised("x0", d.x0 / 2, d.x_t, d.coeffs)

    plain = pipe.generate(label=1, seed=3, steps=1, sampler="ddim").tensor
    out = pipe.generate(label=1, seed=3, steps=1, sampler="ddim", transforms=[Halve()])
    torch.testing.assert_close(out.tensor, plain / 2)
    assert out.recipe["transforms"] == ["Halve"]


def test_interceptors_are_described_in_the_recipe(pipe: Pipeline) -> None:
    class Listener(Interceptor):
        def config(self) -> dict[str, Any]:
            return {"interval": 3}

    (entry,) = request(pipe, label=1, interceptors=[Listener()]).recipe["interceptors"]
    assert entry["interval"] == 3 and "Listener (not installed" in entry["type"]
    with pytest.raises(InputError, match="interceptor"):
        request(pipe, label=1, interceptors=["no-such-cache:interval=2"])
