"""What every user of a pipeline relies on, with a tiny random network."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import gencore
from gencore.errors import CheckpointError, InputError
from gencore.guidance import ClassifierFree
from gencore.loading import load_folder
from gencore.modality import Difference, Modality
from gencore.models import CONFIG, WEIGHTS
from gencore.noise import Keyed
from gencore.pipeline import Pipeline
from gencore.samplers.dpm_solver import DPMSolver
from gencore.testing.tiny import tiny_pipeline
from gencore.weights.files import read_tensors, write_tensors

SAMPLERS = ("ddim", "dpmpp", "dpmpp:variant=2S", "euler", "heun", "dopri5:rtol=1e-5,atol=1e-5", "sde")


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return tiny_pipeline()


@pytest.fixture
def folder(pipe: Pipeline, tmp_path: Path) -> Path:
    return pipe.save_pretrained(tmp_path / "model")


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a, b)


def near(a: torch.Tensor, b: torch.Tensor, gap: float = 1e-5) -> bool:
    return bool((a - b).abs().max() <= gap)


def test_the_same_call_gives_the_same_bytes_and_other_seeds_others(pipe: Pipeline) -> None:
    first, again, other = (pipe.generate(label=3, n=2, seed=seed).tensor for seed in (0, 0, 1))
    assert same(first, again)
    assert not near(first[0], first[1])
    assert near(first[1], other[0])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_is_the_same_alone_in_a_batch_and_in_chunks(pipe: Pipeline, sampler: str) -> None:
    labels = [1, 5, 7, 2, 3]
    whole = pipe.generate(label=labels, seed=7, steps=4, sampler=sampler)
    alone = pipe.generate(label=7, seed=9, steps=4, sampler=sampler)
    chunks = pipe.generate(label=labels, seed=7, steps=4, sampler=sampler, batch=2)
    # An adaptive solver may take other steps for another rounding, and is then equal to its tolerance.
    gap = 1e-4 if sampler.startswith("dopri5") else 1e-5
    assert near(whole.tensor[2], alone.tensor[0], gap)
    assert near(whole.tensor, chunks.tensor, gap)
    assert chunks.recipe["batch"] == 2 and "batch" not in whole.recipe
    assert whole.seeds == chunks.seeds == (7, 8, 9, 10, 11)


def test_the_noise_of_a_sample_depends_on_its_seed_alone() -> None:
    alone, batch = Keyed([9]), Keyed([7, 8, 9])
    for key in (("init",), ("step", 3)):
        assert same(alone.draw("normal", key, (1, 8, 8))[0], batch.draw("normal", key, (1, 8, 8))[2])


def test_words_times_and_guidance_act(pipe: Pipeline) -> None:
    base = pipe.generate(label=3, seed=0).tensor
    assert not near(base, pipe.generate(label=4, seed=0).tensor)
    assert not near(base, pipe.generate(label=3, seed=0, guidance=3.0).tensor)
    assert not near(base, pipe.generate(label=3, seed=0, steps=9).tensor)
    assert near(pipe.generate(seed=0).tensor, pipe.generate(label=3, seed=0, guidance=0.0).tensor)


def test_guidance_one_is_a_single_conditional_call(pipe: Pipeline) -> None:
    plain, one = pipe.generate(label=3, seed=0), pipe.generate(label=3, seed=0, guidance=1.0)
    assert same(plain.tensor, one.tensor) and plain.timing["calls"] == one.timing["calls"] == 4
    assert pipe.generate(label=3, seed=0, guidance=2.0).timing["calls"] == 8


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("mode", ["replace_state", "compose_input"])
def test_known_cells_come_back_bit_exact(pipe: Pipeline, sampler: str, mode: str) -> None:
    given = Keyed([77]).draw("uniform", ("given",), (1, 8, 8)) * 2 - 1
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., 2:6, 1:7] = True
    out = pipe.generate(label=3, n=2, seed=0, sampler=sampler, known=given, mask=mask, known_mode=mode).tensor
    kept = ~mask.expand_as(out)
    assert same(out[kept], given.expand_as(out)[kept])
    assert not near(out[0], out[1])


def test_threads_give_their_single_thread_bytes(pipe: Pipeline) -> None:
    calls = [{"label": k % 10, "seed": k, "guidance": 1.5, "sampler": SAMPLERS[k % 2]} for k in range(8)]
    expected = [pipe.generate(**call).tensor for call in calls]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda call: pipe.generate(**call).tensor, calls * 3))
    assert all(same(a, b) for a, b in zip(found, expected * 3, strict=True))


def test_a_stream_shows_each_step_and_may_be_left(pipe: Pipeline) -> None:
    expected = pipe.generate(label=3, seed=0, steps=6).tensor
    for step in pipe.stream(label=3, seed=0, steps=6):
        if step.index == 2:
            break
    seen = list(pipe.stream(label=3, seed=0, steps=6))
    assert [(step.index, step.total) for step in seen] == [(i, 6) for i in range(1, 7)]
    assert [step.output is None for step in seen] == [True] * 5 + [False]
    assert seen[-1].output is not None and same(seen[-1].output.tensor, expected)
    assert seen[0].preview[0].size == (8, 8)


def test_two_streams_may_be_interleaved(pipe: Pipeline) -> None:
    a, b = (list(pipe.stream(label=k, seed=k, steps=5))[-1].output for k in (1, 2))
    *_, (c, d) = zip(pipe.stream(label=1, seed=1, steps=5), pipe.stream(label=2, seed=2, steps=5), strict=True)
    assert a and b and c.output and d.output
    assert same(a.tensor, c.output.tensor) and same(b.tensor, d.output.tensor)


def test_callbacks_see_every_step_and_their_exception_ends_the_run(pipe: Pipeline) -> None:
    seen: list[int] = []
    pipe.generate(label=[1, 2, 3], seed=0, batch=2, callback=lambda p: seen.append(p.index))
    assert seen == [1, 2, 3, 4, 1, 2, 3, 4]

    def stop(progress: object) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        pipe.generate(label=3, seed=0, callback=stop)


def test_generating_is_silent_and_leaves_global_randomness_alone(pipe: Pipeline, capfd) -> None:
    before = torch.random.get_rng_state()
    pipe.generate(label=3, seed=0, sampler="sde")
    load_before = tuple(capfd.readouterr())
    assert load_before == ("", "") and torch.equal(torch.random.get_rng_state(), before)


def test_seeds_are_drawn_and_recorded_when_none_is_given(pipe: Pipeline) -> None:
    drawn = pipe.generate(label=3, n=2)
    assert drawn.seeds == tuple(drawn.recipe["seeds"]) and drawn.seeds[1] == drawn.seeds[0] + 1 < 1_000_001
    assert same(drawn.tensor, pipe.generate(label=3, seed=list(drawn.seeds)).tensor)


def test_a_recipe_is_plain_data_without_paths_or_clock(pipe: Pipeline, tmp_path: Path) -> None:
    picture = tmp_path / "given.png"
    pipe.generate(label=1, seed=1).save(picture)
    mask = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    first, again = (pipe.generate(label=3, seed=0, known=picture, mask=mask).recipe for _ in range(2))
    text = json.dumps(first)
    assert first == again and str(tmp_path) not in text
    assert first["known"]["files"] == ["given.png", ""] and first["words"] == {"label": 3}


def test_a_sampler_that_is_no_plugin_says_so_in_the_recipe(pipe: Pipeline) -> None:
    class Mine(DPMSolver):
        pass

    out = pipe.generate(label=3, seed=0, sampler=Mine())
    assert same(out.tensor, pipe.generate(label=3, seed=0, sampler="dpmpp").tensor)
    assert "Mine (not installed: reproduce needs this class)" in out.recipe["sampler"]["type"]


def test_saving_and_loading_changes_nothing(pipe: Pipeline, folder: Path, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    loaded = load_folder(folder)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert loaded.hash() == pipe.hash() and loaded.config() == pipe.config()
    assert same(loaded.generate(label=3, seed=0).tensor, pipe.generate(label=3, seed=0).tensor)
    again = loaded.save_pretrained(tmp_path / "again")
    assert all((folder / f).read_bytes() == (again / f).read_bytes() for f in (CONFIG, WEIGHTS))


def test_half_precision_on_disk_is_read_into_float32(pipe: Pipeline, tmp_path: Path) -> None:
    folder = pipe.save_pretrained(tmp_path / "half", dtype=torch.float16)
    assert {t.dtype for t in read_tensors(folder / WEIGHTS)[0].values()} == {torch.float16}
    loaded = load_folder(folder)
    assert loaded.dtype == torch.float32
    gap = (loaded.generate(label=3, seed=0).tensor - pipe.generate(label=3, seed=0).tensor).abs().max()
    assert 0 < gap < 0.02


def test_a_changed_weight_changes_the_hash(pipe: Pipeline, folder: Path) -> None:
    loaded = load_folder(folder)
    before = loaded.hash()
    with torch.no_grad():
        next(iter(loaded.backbone.parameters())).mul_(1.5)
    assert loaded.hash() != before


def test_a_folder_with_a_model_is_not_overwritten_unasked(pipe: Pipeline, folder: Path) -> None:
    before = (folder / WEIGHTS).read_bytes()
    with pytest.raises(InputError, match=r"holds a model.*--force"):
        pipe.save_pretrained(folder)
    with pytest.raises(InputError, match="mkdir -p"):
        pipe.save_pretrained(folder / "no" / "deeper")
    assert (folder / WEIGHTS).read_bytes() == before
    assert pipe.save_pretrained(folder, force=True) == folder


def damage(folder: Path, how: str) -> None:
    weights, config = folder / WEIGHTS, folder / CONFIG
    match how:
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "missing":
            weights.unlink()
        case "nan":
            tensors = read_tensors(weights)[0]
            name = next(iter(tensors))
            tensors[name].view(-1)[0] = float("nan")
            write_tensors(weights, tensors, force=True)
        case "other":
            tiny_pipeline(width=64).save_pretrained(folder.parent / "wide")
            weights.write_bytes((folder.parent / "wide" / WEIGHTS).read_bytes())
        case "deeper":
            tensors = read_tensors(weights)[0] | {"blocks.2.attn.qkv.weight": torch.zeros(1)}
            write_tensors(weights, tensors, force=True)
        case "no json":
            config.write_text("{")
        case "unknown key":
            config.write_text(json.dumps({**json.loads(config.read_text()), "colour": 1}))
        case "unknown part":
            content = json.loads(config.read_text())
            content["backbone"]["depht"] = 3
            config.write_text(json.dumps(content))
        case "no part":
            content = json.loads(config.read_text())
            content["backbone"]["type"] = "dits"
            config.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("truncated", "complete .safetensors"),
        ("missing", "no such file"),
        ("nan", "1 of .* values not finite"),
        ("other", "wrong shape"),
        ("deeper", "unexpected blocks.2.attn.qkv.weight"),
        ("no json", "no JSON"),
        ("unknown key", "colour"),
        ("unknown part", "depht"),
        ("no part", "did you mean 'dit'"),
    ],
)
def test_a_damaged_folder_is_refused_by_name(folder: Path, how: str, told: str) -> None:
    damage(folder, how)
    with pytest.raises(InputError, match=told) as caught:
        load_folder(folder)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, CheckpointError) or how in ("unknown part", "no part")


@pytest.mark.parametrize(
    ("options", "field", "told"),
    [
        ({"colour": "red"}, "option", "label.*sampler"),
        ({"lable": 3}, "option", "did you mean 'label'"),
        ({"label": 10}, "label", "0..9"),
        ({"label": -1}, "label", "0..9"),
        ({"label": "cat"}, "label", "0..9"),
        ({"label": [1, 2], "n": 3}, "label", "one a sample"),
        ({"steps": 0}, "steps", "1 or more"),
        ({"steps": -5}, "steps", "1 or more"),
        ({"n": 0}, "n", "1 or more"),
        ({"batch": 0}, "batch", "1 or more"),
        ({"seed": [1, 2], "n": 3}, "seed", "2 seeds for 3 samples"),
        ({"sampler": "dpmp"}, "sampler", "did you mean 'dpmpp'"),
        ({"sampler": "dpmpp:colour=1"}, "sampler", "colour"),
        ({"guidance": "cfgg:scale=2"}, "guidance", "did you mean 'cfg'"),
        ({"known": torch.zeros(1, 8, 8)}, "mask", "known and mask together"),
        ({"known": torch.zeros(1, 8, 8), "mask": torch.ones(1, 1, 8, 7, dtype=torch.bool)}, "mask", "7x8.*8x8"),
        ({"known": torch.zeros(1, 9, 8), "mask": torch.ones(1, 1, 8, 8, dtype=torch.bool)}, "known", "8x9.*8x8"),
        ({"size": (9, 8)}, "size", "8 or 10"),
        ({"times": torch.linspace(1, 0, 5).double(), "steps": 4}, "steps", "one of them"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_can(pipe: Pipeline, options: dict, field: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        pipe.generate(**{"seed": 0, **options})
    assert caught.value.field == field and "\n" not in str(caught.value)


def test_a_network_that_runs_away_is_named_with_its_step(folder: Path) -> None:
    broken = load_folder(folder)
    with torch.no_grad():
        for parameter in broken.backbone.parameters():
            parameter.mul_(1e30)
    with pytest.raises(gencore.GencoreError, match="not finite at step 0"):
        broken.generate(label=3, seed=0)


def test_another_size_runs_and_differs(pipe: Pipeline) -> None:
    out = pipe.generate(label=3, seed=0, size=(12, 16))
    assert tuple(out.tensor.shape) == (1, 1, 12, 16) and out.recipe["size"] == [12, 16]
    assert out.images[0].size == (16, 12)


def test_a_guidance_object_and_its_text_agree(pipe: Pipeline) -> None:
    value = pipe.generate(label=3, seed=0, guidance=ClassifierFree(2.0, interval=(0.2, 0.8)))
    text = pipe.generate(label=3, seed=0, guidance="cfg:scale=2.0,interval=0.2/0.8")
    assert same(value.tensor, text.tensor) and value.recipe["guidance"] == text.recipe["guidance"]
    assert 4 < value.timing["calls"] < 8


def test_unknown_modalities_and_models_name_what_there_is() -> None:
    with pytest.raises(InputError, match="did you mean"):
        gencore.load("imagse")
    with pytest.raises(InputError, match="a folder, or a hub id"):
        gencore.load("images", model="./nowhere")


def test_a_modality_that_says_nothing_still_compares_with_the_file_and_not_with_its_recipe(tmp_path: Path) -> None:
    pipe, compare = tiny_pipeline(), Modality.difference
    out = pipe.generate(label=[1, 2, 3], seed=0, steps=2)
    (file, *_) = out.save(tmp_path / "a.png")
    assert compare(pipe.modality, out, file, out.recipe) == Difference(3, 3)
    other = pipe.generate(label=[1, 5, 3], seed=0, steps=2)
    swapped = replace(other, recipe=out.recipe)
    (file, *_) = swapped.save(tmp_path / "b.png")
    told = compare(pipe.modality, out, file, out.recipe)
    assert (told.equal, told.total) == (2, 3) and told.largest
