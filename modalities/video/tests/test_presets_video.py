"""Presets: sizes that were promised, comparable short runs, and what each variant leaves out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import default_collate

from gencore import plugins
from gencore.context import Context
from gencore.errors import InputError
from gencore.noise import Keyed
from gencore.training.module import batch_loss
from gencore.training.preset import Training
from gencore.training.setup import Setup, prepare
from gencore_video import presets
from gencore_video.masks.tasks import video_tasks
from gencore_video.physics.clips import HELD_OUT, physics_clips

TASKS = tuple(presets.SPECIALTIES)


@pytest.fixture(scope="module")
def clips():
    return physics_clips(held_out=True)


def awake(training: Training) -> torch.nn.Module:
    """Its network with every weight random, so that no branch is silent."""
    net, g = training.pipeline.backbone, torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.05 * torch.randn(p.shape, generator=g))
    return net


def test_the_default_and_its_clips_fit_into_eight_megabytes(clips):
    net = presets.discs(clips).pipeline.backbone
    assert 2 * sum(p.numel() for p in net.parameters()) + HELD_OUT.stat().st_size < 8e6


def test_specialists_cover_the_mixture_one_by_one(clips):
    parts = {type(kind): kind for _, kind in video_tasks().kinds}
    assert parts == {type(kind): kind for kind in presets.SPECIALTIES.values()}
    for name, kind in presets.SPECIALTIES.items():
        training = plugins.resolve("preset", f"discs-{name}")(clips, steps=10)
        assert training.objective.config()["mask"]["type"] == name
        assert training.objective.mask == kind


@pytest.mark.parametrize("steps", [20, 300, 5000])
def test_short_runs_have_the_same_shape(clips, steps: int):
    training = presets.discs(clips, steps=steps)
    assert training.warmup == max(1, round(0.05 * steps))
    assert (1 - training.ema) * 0.05 * steps == pytest.approx(1)


def test_equal_seeds_start_equal_networks(clips):
    a, b, c = (presets.discs(clips, seed=s).pipeline.backbone.state_dict() for s in (0, 0, 1))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


@pytest.mark.parametrize(("make", "sees"), [(presets.discs, True), (presets.discs_framewise, False)])
def test_only_temporal_attention_lets_frames_see_each_other(clips, make, sees: bool):
    net = awake(make(clips))
    x = torch.stack([clips[0]["data"], clips[0]["data"]])
    x[1, :, 0] = 0.3
    with torch.no_grad():
        out = net(x, torch.full((2,), 500.0), {}, Context()).pred
    assert (not torch.equal(out[0, :, 1:], out[1, :, 1:])) == sees


@pytest.mark.parametrize("name", ["discs", *(f"discs-{task}" for task in TASKS), "discs-framewise"])
def test_every_variant_takes_a_step(clips, name: str):
    training = plugins.resolve("preset", name)(clips, steps=3)
    awake(training)
    batch = default_collate([clips[i] for i in range(2)])
    loss = batch_loss(training, batch, Keyed([1_000_000, 1_000_001]))
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in training.pipeline.backbone.parameters())


def test_blocks_are_recomputed_on_request():
    pytest.importorskip("pymunk", reason="the physics extra is not installed")
    for asked in (False, True):
        training = prepare(Setup(modality="video", preset="discs", gradient_checkpointing=asked)).training
        assert training.pipeline.backbone.checkpointing == asked


def test_published_networks_take_the_size_of_the_data():
    data = SimpleNamespace(size=(64, 96), channels=1, frames=8)
    training = presets.vdt_s(data)
    assert training.pipeline.tokenizer.spec().sizes == (1, 8, 64, 96)
    assert training.pipeline.backbone.patch == (1, 8, 8)
    with pytest.raises(InputError, match="multiples of 8"):
        presets.vdt_s(SimpleNamespace(size=(68, 96), channels=1, frames=8))
