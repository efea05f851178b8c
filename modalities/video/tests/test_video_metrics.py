"""PSNR and SSIM against independent implementations, baselines against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from gencore.errors import InputError
from gencore_video.baselines import linear_in_time, nearest_given, straight_lines
from gencore_video.metrics import psnr, ssim


def noisy(seed: int = 0, shape: tuple[int, ...] = (2, 3, 4, 20, 24)) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    true = torch.rand(shape, generator=g) * 2 - 1
    return (true + 0.3 * torch.randn(shape, generator=g)).clamp(-1, 1), true


def test_psnr_is_its_definition():
    made, true = noisy()
    mse = (((made - true) / 2) ** 2).flatten(1).mean(1)
    torch.testing.assert_close(psnr(made, true).float(), -10 * torch.log10(mse))
    assert psnr(true, true).tolist() == [100, 100]


def test_psnr_of_cells_looks_at_them_alone():
    made, true = noisy()
    cells = torch.zeros(2, 1, 4, 20, 24, dtype=torch.bool)
    cells[0, :, 2:], cells[1, :, :, :5] = True, True
    want = [psnr(made[:1, :, 2:], true[:1, :, 2:]), psnr(made[1:, :, :, :5], true[1:, :, :, :5])]
    torch.testing.assert_close(psnr(made, true, cells), torch.cat(want))


def test_ssim_agrees_with_scipy_windows():
    made, true = noisy(1)
    x, y = ((v.double().numpy() + 1) / 2 for v in (made, true))

    def local(v: np.ndarray) -> np.ndarray:
        return np.stack([gaussian_filter(f, 1.5, mode="mirror", truncate=5 / 1.5) for f in v.reshape(-1, 20, 24)])

    mx, my = local(x), local(y)
    sxx, syy, sxy = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    want = (2 * mx * my + 1e-4) * (2 * sxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (sxx + syy + 9e-4))
    want = want.reshape(2, -1).mean(1)
    np.testing.assert_allclose(ssim(made, true).numpy(), want, rtol=1e-9)


def test_ssim_agrees_with_torchmetrics():
    metrics = pytest.importorskip("torchmetrics.functional.image", reason="torchmetrics is not installed")
    made, true = noisy(2, (1, 1, 1, 32, 32))
    want = metrics.structural_similarity_index_measure((made[:, 0] + 1) / 2, (true[:, 0] + 1) / 2, data_range=1.0)
    assert ssim(made, true).item() == pytest.approx(want.item(), abs=2e-5)


def test_ssim_knows_equal_and_opposite():
    _, true = noisy()
    torch.testing.assert_close(ssim(true, true), torch.ones(2, dtype=torch.float64))
    assert (ssim(-true, true) < 0).all()
    with pytest.raises(InputError, match="6 or more"):
        ssim(true[..., :5], true[..., :5])


def frames_mask(pattern: str) -> torch.Tensor:
    return torch.tensor([c == "g" for c in pattern]).reshape(1, 1, -1, 1, 1)


def ramp(frames: int) -> torch.Tensor:
    return torch.arange(frames, dtype=torch.float64).reshape(1, 1, -1, 1, 1) * 2 + 1


@given(st.integers(2, 9).flatmap(lambda n: st.lists(st.booleans(), min_size=n, max_size=n)))
@settings(max_examples=60, deadline=None)
def test_lines_are_exact_on_lines_between_given_frames(generated: list[bool]):
    generated = list(generated)
    generated[0] = generated[-1] = False
    mask = torch.tensor(generated).reshape(1, 1, -1, 1, 1)
    true = ramp(len(generated))
    torch.testing.assert_close(linear_in_time(true.masked_fill(mask, 99), mask), true)


def test_baselines_copy_where_one_side_is_missing():
    true, mask = ramp(6), frames_mask("gkkggg")
    for guess in (nearest_given, linear_in_time):
        assert guess(true, mask).flatten().tolist() == [3, 3, 5, 5, 5, 5]


def test_each_cell_looks_at_its_own_place():
    clip = torch.arange(8.0).reshape(1, 1, 4, 1, 2)
    mask = torch.zeros(1, 1, 4, 1, 2, dtype=torch.bool)
    mask[:, :, 1:3, :, 0] = True
    made = linear_in_time(clip.masked_fill(mask, -5), mask)
    assert torch.equal(made[..., 1], clip[..., 1])
    assert made[..., 0].flatten().tolist() == pytest.approx([0, 2, 4, 6])


def test_a_place_never_shown_has_no_baseline():
    mask = torch.ones(1, 1, 4, 1, 1, dtype=torch.bool)
    for guess in (nearest_given, linear_in_time):
        with pytest.raises(InputError, match="a given frame for every place"):
            guess(ramp(4), mask)


def test_straight_lines_unfold_reflections_in_both_directions():
    low, high = torch.full((1, 1, 2), 2.0), torch.full((1, 1, 2), 10.0)
    speed = torch.tensor([1.3, -0.7])
    time = torch.arange(20.0)[:, None]
    path = 5 + speed * time
    phase = torch.remainder(path - 2, 16)
    true = (2 + torch.where(phase > 8, 16 - phase, phase))[None, :, None]
    for shown in (slice(0, 2), slice(9, 11)):
        given_frames = torch.zeros(1, 20, dtype=torch.bool)
        given_frames[:, shown] = True
        if (true[0, shown].diff(dim=0)[0, 0].abs() - speed.abs()).abs().max() < 1e-5:
            hidden = true.clone()
            hidden[:, ~given_frames[0]] = math.nan
            torch.testing.assert_close(straight_lines(hidden, given_frames, low, high), true, atol=1e-4, rtol=0)
        else:
            pytest.fail("the shown frames must lie between reflections")


def test_one_given_frame_has_no_velocity():
    given_frames = torch.tensor([[True, False]])
    with pytest.raises(InputError, match="two or more"):
        straight_lines(torch.zeros(1, 2, 1, 2), given_frames, torch.zeros(1, 1, 2), torch.ones(1, 1, 2))
