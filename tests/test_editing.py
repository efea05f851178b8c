"""RF-Edit: values recorded on the way back are the ones replayed, and the more are, the nearer the source."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

import gencore
from gencore.context import Context, Interceptor
from gencore.editing import edit
from gencore.errors import InputError
from gencore.interceptors.rf_edit import RFEdit
from gencore.pipeline import Pipeline
from gencore.testing.commands import Run
from gencore.testing.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return tiny_pipeline()


def picture() -> Tensor:
    return torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_nothing_shared_is_plain_inversion_and_sampling(pipe: Pipeline) -> None:
    start = pipe.invert(picture(), label=3, steps=6, sampler="rf-solver", guidance=1.0)
    plain = pipe.generate(start=start, label=5, guidance=2.0)
    for inject, blocks in ((0, 0.5), (4, 0.0)):
        out = edit(pipe, picture(), {"label": 3}, {"label": 5}, steps=6, guidance=2.0, inject=inject, blocks=blocks)
        assert torch.equal(out.tensor, plain.tensor)


def test_steps_pair_by_their_noisier_end_and_evaluations_by_stage(pipe: Pipeline) -> None:
    shared, seen = RFEdit(2, 0.5), []

    class Spy(Interceptor):
        def kv(self, kind, kv, ctx: Context):  # type: ignore[no-untyped-def]
            seen.append((ctx.info.i, ctx.info.stage, ctx.path, kv.v))
            return kv

    start = pipe.invert(picture(), label=3, steps=5, sampler="rf-solver", guidance=1.0, interceptors=[shared.recording])
    # Two steps, two evaluations each, the later one of two blocks.
    assert sorted(shared.values) == [(k, s, "blocks.1.attn") for k in (0, 1) for s in ("", "k2")]
    pipe.generate(start=start, label=5, guidance=2.0, interceptors=[shared.replaying, Spy()])
    replayed = {(i, stage): v for i, stage, path, v in seen if path == "blocks.1."}
    for (step, stage, _), value in shared.values.items():
        # Both guidance branches take the values of the data.
        assert torch.equal(replayed[step, stage], value.repeat(2, 1, 1, 1))
    assert not any(torch.equal(replayed[2, s][:1], v) for s in ("", "k2") for v in shared.values.values())
    assert shared.bytes == sum(v.nbytes for v in shared.values.values())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"inject": -1}, "inject"),
        ({"inject": 7}, "at most the 6 steps"),
        ({"blocks": 2}, "blocks"),
        ({"sampler": "dpmpp"}, "one that inverts"),
        ({"strength": 0}, "strength"),
    ],
)
def test_edits_that_cannot_be_are_refused(pipe: Pipeline, options: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        edit(pipe, picture(), {"label": 3}, {"label": 5}, **{"steps": 6, **options})


def test_a_guided_inversion_does_not_say_whose_values_are_shared(pipe: Pipeline) -> None:
    with pytest.raises(InputError, match="guidance"):
        pipe.invert(picture(), label=3, steps=3, sampler="euler", guidance=2.0, interceptors=[RFEdit(1).recording])


def test_the_more_is_shared_the_nearer_the_source_on_the_packaged_digits() -> None:
    pipe = gencore.load("images")
    source = pipe.generate(label=[3, 9, 7, 0], seed=0, steps=12).tensor
    after = {"label": [8, 4, 1, 6]}
    gaps = [(edit(pipe, source, {"label": [3, 9, 7, 0]}, after, steps=12, inject=k, blocks=1.0).tensor - source)
            .square().mean().item() for k in (0, 4, 12)]  # fmt: skip
    assert gaps[0] > 1.2 * gaps[1] > 1.2 * 1.2 * gaps[2]


def test_the_command_line_edits_and_reproduces(run: Run, generate: Run) -> None:
    generate("-o", "a.png", "--steps", 8, "--quiet")
    words = ("--before", "label=3", "--label", 8, "--steps", 6, "--inject", 1, "--quiet")
    done = run("edit", "images", "a.png", *words, "-o", "b.png")
    assert done.code == 0, done.err
    assert Image.open("b.png").size == Image.open("a.png").size
    assert run("edit", "images", "a.png", *words, "-o", "b.png").code == 2
    assert "--source a.png" in run("reproduce", "b.png", "--quiet").err
    assert run("reproduce", "b.png", "--source", "b.png", "--quiet").code == 2
    assert run("reproduce", "b.png", "--source", "a.png", "--quiet").code == 0
    assert run("edit", "images", "a.png", "--before", "colour=3", "--quiet", "-o", "c.png").code == 2
    assert not Path("c.png").exists()
