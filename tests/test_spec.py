"""Named axes: shapes, and times that land on the axes they are named for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gencore.errors import InputError
from gencore.spec import LatentSpec, broadcast_time

VIDEO = LatentSpec("b c t h w", (3, 3, 4, 5), time_axes=("t", "h", "w"))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("c b", (1,)), "axes"),
        (("b c c", (1, 2)), "axes"),
        (("b c h", (1,)), "axes"),
        (("b c h", (1, 2), ("w",)), "time_axes"),
        (("b n", (4,), (), "discrete"), "vocab"),
        (("b n", (4,), (), "continuous", 9), "vocab"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(arguments: tuple, field: str) -> None:
    with pytest.raises(InputError) as caught:
        LatentSpec(*arguments)
    assert caught.value.field == field


def test_sizes_by_name() -> None:
    assert VIDEO.shape(2) == (2, 3, 3, 4, 5)
    assert [VIDEO.size(a) for a in "cthw"] == [3, 3, 4, 5]
    assert LatentSpec(**{**VIDEO.config(), "sizes": (3, 3, 4, 5), "time_axes": ("t", "h", "w")}) == VIDEO
    x = torch.zeros(7, 3, 3, 4, 5)
    assert VIDEO.check(x) is x
    with pytest.raises(InputError, match=r"shape \(7, 3, 3, 4\); accepted: \(B, 3, 3, 4, 5\) = 'b c t h w'"):
        VIDEO.check(x[..., 0])


@settings(deadline=None, max_examples=40)
@given(st.permutations(["b", "t", "h", "w"]), st.integers(1, 4), st.integers(2, 3))
def test_a_time_lands_on_its_axes_in_any_order(names: list[str], count: int, batch: int) -> None:
    names = names[:count]
    if "b" not in names:
        names = [*names, "b"]
    sizes = {"b": batch, "t": 3, "h": 4, "w": 5}
    t = torch.rand(*(sizes[a] for a in names))
    placed = VIDEO.time(t, axes=" ".join(names))
    x = torch.zeros(VIDEO.shape(batch))
    full = placed.expand_as(x) if placed.ndim > 1 else broadcast_time(placed, x).expand_as(x)
    for b in range(batch):
        for i, j, k in [(0, 0, 0), (2, 3, 4), (1, 2, 0)]:
            at = {"b": b, "t": i, "h": j, "w": k}
            assert (full[b, :, i, j, k] == t[tuple(at[a] for a in names)]).all()


def test_frames_and_channels_of_one_size_are_not_confused() -> None:
    t = torch.tensor([[0.1, 0.2, 0.3]])
    assert VIDEO.time(t, axes="b t").shape == (1, 1, 3, 1, 1)
    with pytest.raises(InputError, match="time axes: got c; accepted: b t h w"):
        VIDEO.time(t, axes="b c")
    with pytest.raises(InputError, match="1 dimensions for axes 'b t'"):
        VIDEO.time(t[0], axes="b t")
    with pytest.raises(InputError, match="time: got shape"):
        broadcast_time(t, torch.zeros(1, 3, 3, 4, 5))
