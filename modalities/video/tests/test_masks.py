"""Tasks as masks: every kind, its settings, and the faults of the published masks that must not come back."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gencore import components
from gencore.errors import InputError
from gencore.manifest import Manifest
from gencore.mask import draw_masks
from gencore.masks.mixture import Mixture
from gencore.noise import Keyed
from gencore.plugins import registered
from gencore.settings import parse
from gencore_video.masks.complete import Complete, blocks
from gencore_video.masks.frames import Backward, ImageToVideo, Interpolate, Predict, RandomFrames, Unconditional
from gencore_video.masks.tasks import video_tasks

SIZE = (16, 4, 6)
KINDS = {
    "unconditional": Unconditional(), "predict": Predict(), "backward": Backward(), "interpolate": Interpolate(),
    "image-to-video": ImageToVideo(), "random-frames": RandomFrames(), "complete": Complete(),
}  # fmt: skip


def given_frames(mask: Tensor) -> list[int]:
    """The frames of one clip (1, T, H, W) or (T, 1, 1) that are given whole."""
    return (~mask.reshape(-1, *mask.shape[-2:]).flatten(1).any(1)).nonzero().flatten().tolist()


def alone(kind: Any, size: tuple[int, int, int] = SIZE, seed: int = 0) -> Tensor:
    return draw_masks(kind, size, Keyed([seed]))[0]


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("unconditional", []),
        ("predict", list(range(8))),
        ("predict:given=3", [0, 1, 2]),
        ("predict:given=-1", list(range(15))),
        ("backward", list(range(8, 16))),
        ("backward:given=2", [14, 15]),
        ("interpolate", [0, 4, 8, 12]),
        ("interpolate:stride=7", [0, 7, 14]),
        ("image-to-video", [0]),
        ("image-to-video:index=-1", [15]),
    ],
)
def test_text_names_the_task_and_true_is_generated(text: str, frames: list[int]) -> None:
    mask = alone(components.build("mask", parse(text, "mask")))
    assert given_frames(mask) == frames
    assert mask.sum() == (16 - len(frames)) * 24


def test_every_kind_is_declared_and_written_down_as_json() -> None:
    for name, kind in KINDS.items():
        config = components.describe("mask", kind)
        assert config["type"] == name
        assert components.build("mask", json.loads(json.dumps(config))) == kind
    ranged = components.describe("mask", video_tasks())
    again = components.build("mask", json.loads(json.dumps(ranged)))
    assert components.describe("mask", again) == ranged
    noise = Keyed(range(64))
    assert torch.equal(draw_masks(again, SIZE, noise), draw_masks(video_tasks(), SIZE, noise))


# ---- faults of the published masks


@pytest.mark.parametrize("kind", [Predict(), Backward()])
@pytest.mark.parametrize("frames", [2, 5, 8, 12])
def test_short_clips_are_not_given_whole(kind: Predict | Backward, frames: int) -> None:
    # Published: always 8 given frames, so that 8 frames leave nothing to generate.
    assert len(given_frames(alone(kind, (frames, 2, 2)))) == frames // 2


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 9), height=st.integers(1, 9), width=st.integers(1, 9))
def test_completion_always_generates_a_run_of_equal_frames(seed: int, frames: int, height: int, width: int) -> None:
    # Published: a slice that ends at -0 selects no frame in 1 of 4 draws.
    mask = Complete()((frames, height, width), Random(seed))
    used = mask.flatten(1).any(1).nonzero().flatten().tolist()
    assert used and used == list(range(used[0], used[-1] + 1))
    assert used[0] <= 3 and frames - 1 - used[-1] <= 3
    assert all(torch.equal(mask[i], mask[used[0]]) for i in used)
    assert mask[used[0]].sum() <= max(1, height * width // 2)


def test_completion_draws_that_end_with_the_clip_generate() -> None:
    for seed in range(64):
        rng = Random(seed)
        _, last = rng.randint(0, 3), rng.randint(0, 3)
        if last == 0:
            assert Complete()((16, 8, 8), Random(seed))[-1].any()


def test_random_frames_always_generate_one() -> None:
    # Published: each frame on its own, so that small p or short clips leave nothing to do.
    masks = draw_masks(RandomFrames(0.01), (3, 1, 1), Keyed(range(200)))
    assert masks.flatten(1).any(1).all()
    assert masks.flatten(1).sum(1).float().mean() < 1.1


def test_each_sample_has_a_task_of_its_own() -> None:
    # Published: one mask, repeated over the batch.
    masks = draw_masks(video_tasks(), SIZE, Keyed(range(32)))
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) > 20


# ---- samples are keyed


def test_a_samples_mask_depends_on_its_seed_alone() -> None:
    kind, noise = video_tasks(), Keyed(range(5, 25))
    together = draw_masks(kind, SIZE, noise)
    assert torch.equal(together, draw_masks(kind, SIZE, noise))
    for i, seed in enumerate(noise.seeds):
        assert torch.equal(together[i], alone(kind, seed=seed))
    assert not torch.equal(together, draw_masks(kind, SIZE, Keyed(range(5, 25), prefix=("train", 0, 1))))


def test_given_lengths_vary_over_the_whole_range_and_evenly() -> None:
    counts = torch.tensor([len(given_frames(m)) for m in draw_masks(Predict((1, -1)), (6, 1, 1), Keyed(range(800)))])
    share = torch.bincount(counts, minlength=6)[1:].float() / 800
    assert counts.min() == 1 and counts.max() == 5
    assert (share - 0.2).abs().max() < 4 * (0.2 * 0.8 / 800) ** 0.5


@pytest.mark.parametrize(("p", "frames"), [(0.8, 16), (0.5, 4)])
def test_random_frames_follow_their_probability(p: float, frames: int) -> None:
    n = 600
    masks = draw_masks(RandomFrames(p), (frames, 1, 1), Keyed(range(n)))
    # One frame is generated in any case, which adds (1 - p)^T / T to each frame's chance.
    expected = p + (1 - p) ** frames / frames
    assert abs(masks.float().mean().item() - expected) < 4 * (p * (1 - p) / (n * frames)) ** 0.5
    assert masks.float().std((0, 1, 3, 4)).min() > 0


def test_any_frame_may_be_the_given_one() -> None:
    firsts = [given_frames(m) for m in draw_masks(ImageToVideo(None), (5, 1, 1), Keyed(range(100)))]
    assert all(len(f) == 1 for f in firsts) and {f[0] for f in firsts} == set(range(5))


def test_the_mixture_follows_its_weights() -> None:
    masks = draw_masks(video_tasks(), SIZE, Keyed(range(800)))
    by_cells = masks.flatten(2).reshape(800, 16, 24)
    mixed = (by_cells.any(2) & ~by_cells.all(2)).any(1)
    # Completion is the only kind that generates parts of frames.
    assert abs(mixed.float().mean().item() - 0.2) < 4 * (0.2 * 0.8 / 800) ** 0.5
    whole = by_cells.all(2).all(1).float().mean().item()
    expected = 0.8 / 6 * (1 + 0.8**16)
    assert abs(whole - expected) < 4 * (expected / 800) ** 0.5


def test_blocks_cover_half_of_a_frame() -> None:
    covered = [blocks(16, 16, 128, Random(i)).sum().item() for i in range(50)]
    assert max(covered) <= 128 and sum(covered) / 50 > 120


# ---- other people's kinds


def checkerboard(size: tuple[int, ...], rng: Random) -> Tensor:
    t, h, w = (torch.arange(n) for n in size)
    return (t[:, None, None] + h[:, None] + w) % 2 == 0


class Stripes:
    def __init__(self, every: int) -> None:
        self.every = every

    def __call__(self, size: tuple[int, ...], rng: Random) -> Tensor:
        return (torch.arange(size[2]) % self.every == 0).reshape(1, 1, -1)

    def config(self) -> dict[str, Any]:
        return {"every": self.every}


def test_a_function_is_a_kind_and_mixes_with_others() -> None:
    assert alone(checkerboard).float().mean() == 0.5
    masks = draw_masks(Mixture([(1, checkerboard), (1, Unconditional())]), SIZE, Keyed(range(40)))
    assert {round(share, 2) for share in masks.float().mean((1, 2, 3, 4)).tolist()} == {0.5, 1.0}


def test_a_plug_in_declares_a_kind_that_text_can_name() -> None:
    where = {"stripes": f"{__name__}:Stripes"}
    with registered(Manifest(name="stripes", summary="stripes", provides={"mask": where})):
        kind = components.build("mask", parse("stripes:every=3", "mask"))
        assert alone(kind).sum() == 16 * 4 * 2
        mix = Mixture([(1, kind), (2, Predict())])
        again = components.build("mask", components.describe("mask", mix))
        assert again.kinds[0][1].every == 3 and again.kinds[1] == (2.0, Predict())


# ---- refusals


@pytest.mark.parametrize(
    ("kind", "size", "said"),
    [
        (Predict(16), SIZE, "given frames: got 16 in a clip of 16 frames"),
        (Predict(0), SIZE, "given frames: got 0"),
        (Backward(17), SIZE, "given frames: got 17"),
        (Predict((1, 16)), SIZE, "given frames"),
        (Predict((5, 2)), SIZE, "given frames"),
        (Predict((1, 2, 3)), SIZE, "given frames"),
        (Predict(), (1, 4, 6), "a longer clip"),
        (Interpolate(1), SIZE, "stride: got 1"),
        (Interpolate(), (1, 4, 6), "frames: got 1"),
        (ImageToVideo(16), SIZE, "index: got 16"),
        (ImageToVideo(-17), SIZE, "index: got -17"),
        (ImageToVideo(), (1, 4, 6), "frames: got 1"),
        (lambda size, rng: torch.zeros(size, dtype=torch.bool), SIZE, "nothing to generate"),
        (lambda size, rng: torch.ones(size), SIZE, "torch.float32"),
        (lambda size, rng: torch.ones(3, 4, 6, dtype=torch.bool), SIZE, r"broadcasts to \(16, 4, 6\)"),
        (lambda size, rng: torch.ones(6, dtype=torch.bool), SIZE, r"shape \(6,\)"),
    ],
)
def test_a_task_that_cannot_be_is_refused(kind: Any, size: tuple[int, int, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        alone(kind, size)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RandomFrames(0), "p: got 0"),
        (lambda: RandomFrames(1.5), "p: got 1.5"),
        (lambda: Complete(share=0), "share: got 0"),
        (lambda: Complete(margin=-1), "margin: got -1"),
        (lambda: Mixture([]), "mixture"),
        (lambda: Mixture([(0, Predict())]), "positive weight"),
        (lambda: components.build("mask", parse("predikt", "mask")), "predict"),
        (lambda: components.build("mask", parse("predict:frames=3", "mask")), "frames"),
        (lambda: components.describe("mask", checkerboard), "some installed plug-in provides"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
