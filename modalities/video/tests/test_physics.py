"""Simulated clips: the laws of motion hold, seeds decide everything, and a tracker reads positions back."""

from __future__ import annotations

import builtins
from itertools import pairwise

import numpy as np
import pytest
import torch

from gencore.errors import InputError, MissingDependency
from gencore_video.physics.clips import TRAINING_SEEDS, Simulated, packaged_motions, physics_clips, store_motions
from gencore_video.physics.motion import RADII, SPEEDS, Motion, simulate
from gencore_video.physics.render import render, track

pymunk = pytest.importorskip("pymunk", reason="the physics extra is not installed")


def velocities(motion: Motion) -> np.ndarray:
    return np.diff(motion.positions, axis=0)


def test_a_disc_alone_keeps_its_velocity_and_is_mirrored_by_walls():
    # Free flight: second differences vanish except where something was hit, and no hit changes the speed of one disc.
    second = np.abs(np.diff(velocities(simulate(3, 40)), axis=0)).max(-1)
    assert np.median(second) < 1e-12
    assert second.max() > 1e-3


@pytest.mark.parametrize("seed", range(20))
def test_collisions_keep_energy(seed: int):
    motion = simulate(seed, 80)
    energy = (motion.radii**2 * (velocities(motion) ** 2).sum(-1)).sum(1)
    flying = np.abs(np.diff(velocities(motion), axis=0)).max((1, 2)) < 1e-9
    calm = energy[:-1][flying]
    assert len(calm) > 5
    assert np.ptp(calm) < 1e-6 * calm.mean()


def test_two_disc_collisions_keep_momentum():
    kept = 0
    for seed in range(60):
        motion = simulate(seed, 40)
        v, mass = velocities(motion), motion.radii**2
        margin = motion.radii[:, None] + 0.08
        far = ((motion.positions > margin) & (motion.positions < 1 - margin)).all((1, 2))
        for t in range(1, len(v) - 2):
            hit = np.abs(v[t + 1] - v[t - 1]).max(-1) > 1e-4
            if far[t - 1 : t + 3].all() and hit.sum() == 2:
                before, after = ((mass[:, None] * v[i]).sum(0) for i in (t - 1, t + 1))
                np.testing.assert_allclose(after, before, atol=1e-9)
                kept += 1
    assert kept > 5


def test_gravity_accelerates_downwards():
    second = [np.diff(velocities(simulate(seed, 4, gravity=0.004)), axis=0) for seed in range(10)]
    free = np.median(second, axis=(0, 1, 2))
    np.testing.assert_allclose(free, [0, 0.004], atol=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_discs_stay_in_the_box_and_apart(seed: int):
    motion = simulate(seed, 80, box=(1.0, 1.5))
    r = motion.radii
    assert (motion.positions - r[:, None]).min() > -0.02
    assert (motion.positions + r[:, None] - [1.5, 1.0]).max() < 0.02
    gaps = np.linalg.norm(motion.positions[:, :, None] - motion.positions[:, None], axis=-1) - r - r[:, None]
    assert gaps[:, *np.triu_indices(3, 1)].min() > -0.03


def test_a_seed_decides_and_a_longer_motion_starts_with_the_shorter():
    a, b, other = simulate(5, 16), simulate(5, 80), simulate(6, 16)
    assert np.array_equal(a.positions, b.positions[:16])
    assert not np.array_equal(a.positions, other.positions)
    speed = np.linalg.norm(velocities(a)[0], axis=-1)
    assert ((RADII[0] < a.radii) & (a.radii < RADII[1])).all()
    assert (speed < SPEEDS[1] * 1.5).all()


def test_tracking_rendered_frames_gives_positions_back_below_a_pixel():
    motions = [simulate(seed, 16) for seed in range(30)]
    for side in (32, 64):
        clips = torch.from_numpy(np.stack([render(m, (side, side)) for m in motions])) / 127.5 - 1
        found = track(clips)
        true = torch.from_numpy(np.stack([m.positions for m in motions])) * side
        assert found.seen.all()
        assert (found.positions - true).norm(dim=-1).max() < 0.1


def test_a_disc_that_is_gone_is_not_seen_and_stands_in_the_middle():
    clip = torch.from_numpy(render(simulate(0, 4), (32, 40)))[None] / 127.5 - 1
    clip[:, 1, 2] = -1
    found = track(clip)
    assert found.seen.sum() == 11 and not found.seen[0, 2, 1]
    assert found.positions[0, 2, 1].tolist() == [20, 16]


def test_the_rendered_area_is_the_discs():
    motion = Motion(np.array([[[0.43, 0.52]]]), np.array([0.2]))
    assert render(motion, (64, 64)).sum() / 255 == pytest.approx(np.pi * 12.8**2, rel=2e-3)


def test_each_disc_has_its_own_channel_and_frames_may_be_oblong():
    clip = physics_clips(held_out=True, size=(16, 24), count=2)[1]["data"]
    assert clip.shape == (3, 16, 16, 24)
    assert ((clip > -1).sum(0) <= 1).float().mean() > 0.9
    assert clip.min() == -1 and clip.max() == 1


def test_packaged_motions_are_those_of_seeds_from_zero():
    # Another build of the engine may differ after a collision: early frames must agree, whatever follows.
    stored = packaged_motions()
    assert len(stored) == 256 and stored[0].positions.shape == (80, 3, 2)
    for seed in (0, 1, 100, 255):
        np.testing.assert_allclose(stored[seed].positions[:2], simulate(seed, 2).positions, atol=2**-16)


def test_stored_motions_come_back_to_within_the_grid(tmp_path, monkeypatch: pytest.MonkeyPatch):
    store_motions(Simulated(range(3), 5), tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        assert file["positions"].dtype == np.uint16
        np.testing.assert_allclose(file["positions"][2] / 2**16, simulate(2, 5).positions, atol=2**-17)


def test_held_out_clips_need_no_engine(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pymunk":
            raise ModuleNotFoundError("No module named 'pymunk'", name="pymunk")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert len(physics_clips(held_out=True)) == 256
    with pytest.raises(MissingDependency, match="gencore-video\\[physics\\]"):
        physics_clips()


def test_training_and_held_out_clips_have_different_seeds():
    train, test = physics_clips(count=4), physics_clips(held_out=True, count=300)
    assert isinstance(train.motions, Simulated) and isinstance(test.motions, Simulated)
    assert train.motions.seeds == range(TRAINING_SEEDS, TRAINING_SEEDS + 4)
    assert test.motions.seeds == range(300)
    assert all(not torch.equal(train[i]["data"], train[j]["data"]) for i, j in pairwise(range(4)))
    assert "4 training clips" in train.describe()


def test_longer_clips_continue_the_shorter():
    clips = physics_clips(held_out=True, count=2)
    assert torch.equal(clips.longer(80)[1]["data"][:, :16], clips[1]["data"])
    with pytest.raises(InputError, match="at most 80"):
        clips.longer(81)


@pytest.mark.parametrize(("options", "field"), [({"frames": 0}, "frames"), ({"size": (4, 32)}, "size"),
                                                ({"count": 0}, "count"), ({"gravity": -1.0}, "gravity"),
                                                ({"size": (32,)}, "size")])  # fmt: skip
def test_impossible_clips_are_refused(options: dict, field: str):
    with pytest.raises(InputError) as fault:
        physics_clips(held_out=True, **options)[0]
    assert fault.value.field == field
