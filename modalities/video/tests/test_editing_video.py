"""RF-Edit on clips: a frame is changed by hand, the others follow from the clip's own noise and spatial attention."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import gencore
from gencore.conditioner import Unconditional
from gencore.context import Context, Interceptor
from gencore.denoised import Prediction, PredictionKind
from gencore.editing import edit
from gencore.interceptors.rf_edit import RFEdit
from gencore.nn.init import seeded
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.flows import LinearFlow
from gencore.recipe import read_recipe
from gencore.testing.commands import runner
from gencore.testing.conformance.subject import awaken
from gencore_video.backbone import VDT
from gencore_video.io.writing import write_clip
from gencore_video.physics.clips import physics_clips
from gencore_video.pixels import to_frames
from gencore_video.tokenizers.frames import Frames

T, SIDE, STEPS = 4, 16, 4
FIRST: dict[str, Any] = {"task": "image-to-video"}


def tiny(kind: PredictionKind = "velocity") -> Pipeline:
    with seeded(0):
        net = VDT(3, 8, width=32, depth=2, heads=2, prediction=Prediction(kind))
    awaken(net)
    return Pipeline(modality="video", tokenizer=Frames(3, (T, SIDE, SIDE), multiple=8, fps="10"),
                    conditioner=Unconditional(), backbone=net, process=LinearFlow(),
                    defaults=Defaults("ddim", STEPS, known_mode="compose_input"))  # fmt: skip


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return tiny()


@pytest.fixture(scope="module")
def clips() -> Tensor:
    """(2, 3, T, H, W): held-out clips of the model's size."""
    data = physics_clips(held_out=True, frames=T, size=(SIDE, SIDE))
    return torch.stack([data[i]["data"] for i in (5, 6)])


def repainted(clips: Tensor) -> Tensor:
    """(B, C, T, H, W): the first frames without their first disc, and nothing of the others."""
    frames = torch.zeros_like(clips)
    frames[:, :, 0] = clips[:, :, 0]
    frames[:, 0, 0] = -1
    return frames


@pytest.mark.parametrize("before", [{}, FIRST], ids=["without given frames", "with its own first frame"])
def test_nothing_shared_is_inversion_and_sampling_with_the_new_frame(pipe: Pipeline, clips: Tensor,
                                                                     before: dict[str, Any]) -> None:  # fmt: skip
    after = {**FIRST, "known": repainted(clips)}
    out = edit(pipe, clips, before, after, steps=STEPS, inject=0)
    own = {"known": clips} if before else {}
    start = pipe.invert(clips, steps=STEPS, sampler="rf-solver", **own, **before)
    plain = pipe.generate(start=start, seed=0, **after)
    assert torch.equal(out.tensor, plain.tensor)
    assert torch.equal(out.tensor[:, :, 0], after["known"][:, :, 0])
    shared = edit(pipe, clips, before, after, steps=STEPS, inject=2)
    assert torch.equal(shared.tensor[:, :, 0], after["known"][:, :, 0])
    assert not torch.equal(shared.tensor, out.tensor)


def test_the_values_of_each_frame_are_shared_and_those_along_time_are_not(pipe: Pipeline, clips: Tensor) -> None:
    shared, seen = RFEdit(2, 0.5), dict[tuple[int, str, str], Tensor]()

    class Spy(Interceptor):
        def kv(self, kind, kv, ctx: Context):  # type: ignore[no-untyped-def]
            seen[ctx.info.i, ctx.info.stage, ctx.path + kind] = kv.v
            return kv

    start = pipe.invert(clips, steps=STEPS, sampler="rf-solver", interceptors=[shared.recording])
    assert sorted(shared.values) == [(k, stage, "blocks.1.attn") for k in (0, 1) for stage in ("", "k2")]
    pipe.generate(start=start, seed=0, interceptors=[shared.replaying, Spy()], **FIRST, known=repainted(clips))
    for key, value in shared.values.items():
        # Two heads over the 2 x 2 patches of each frame of both clips.
        assert value.shape == (2 * T, 2, 4, 16) and torch.equal(seen[key], value)
    assert {path for _, _, path in seen} == {f"blocks.{i}.{kind}" for i in (0, 1) for kind in ("attn", "temporal")}


def test_a_network_that_predicts_the_clip_is_inverted_too(clips: Tensor) -> None:
    """At time 0 the noise it means, (x - x0) / 0, is none: a walk from there went to 10^10."""
    pipe = tiny("x0")
    for sampler in ("ddim", "rf-solver", "bdia"):
        start = pipe.invert(clips, steps=STEPS, sampler=sampler)
        assert start.x.abs().max() < 100
        first = pipe.invert(clips, steps=STEPS, sampler=sampler, strength=1 / STEPS)
        x = first.memory[0] if first.memory else first.x
        assert torch.allclose(x, clips.double()) and start.times.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    back = pipe.generate(start=start, seed=0).tensor
    torch.testing.assert_close(back, clips, atol=1e-4, rtol=0)


def test_the_more_is_shared_the_nearer_the_source_on_the_packaged_discs() -> None:
    pipe = gencore.load("video")
    data = physics_clips(held_out=True, frames=16)
    clip = data[5]["data"][None]
    after = {**FIRST, "known": repainted(clip)}
    outs = [edit(pipe, clip, {}, after, steps=8, sampler="ddim", inject=k, blocks=1.0).tensor for k in (0, 8)]
    gaps = [(out - clip)[:, :, 1:].square().mean().item() for out in outs]
    fresh = pipe.generate(seed=0, steps=8, **after).tensor
    assert (fresh - clip)[:, :, 1:].square().mean() > 4 * gaps[0] > 4 * gaps[1]


def test_the_command_line_edits_a_clip_by_a_frame_and_reproduces(
    pipe: Pipeline, clips: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = runner(capsys)
    pipe.save_pretrained("tiny")
    frames, new = to_frames(clips[:1])[0], to_frames(repainted(clips[:1]))[0][0]
    write_clip(frames, Path("a.mkv"), Fraction(10))
    Image.fromarray(new).save("new.png")
    model = ("--model", "tiny", "--quiet")
    words = ("--before", "task=image-to-video", "--inject", 1, "--task", "image-to-video", "--known", "new.png")
    done = run("edit", "video", "a.mkv", *words, *model, "-o", "b.mkv")
    assert done.code == 0, done.err
    assert read_recipe("b.mkv")["known"]["files"][0] == "new.png"
    again = ("reproduce", "b.mkv", *model)
    told = run(*again).err
    assert "--source a.mkv" in told and "--known new.png" in told
    assert run(*again, "--source", "a.mkv", "--known", "new.png").code == 0
    Image.fromarray(np.zeros_like(new)).save("other.png")
    assert "--known: got other.png" in run(*again, "--source", "a.mkv", "--known", "other.png").err
