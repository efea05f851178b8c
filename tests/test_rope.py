"""Rotary embeddings against the closed form, the library, and their defining properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rotary_embedding_torch import RotaryEmbedding, apply_rotary_emb
from torch import Tensor

from gencore.attend import KV, attend
from gencore.errors import InputError
from gencore.nn.rope import Rope, grid_positions

LAYOUTS = ["interleaved", "half"]


def tokens(n: int, d: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(2, 3, n, d, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def pairs(x: Tensor, layout: str) -> Tensor:
    """Features (..., D) as complex numbers (..., D / 2), one for each rotated pair."""
    first, second = (x[..., ::2], x[..., 1::2]) if layout == "interleaved" else x.chunk(2, dim=-1)
    return torch.complex(first, second)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("theta", [10000.0, 100.0])
def test_pairs_turn_by_position_over_theta(layout, theta: float) -> None:
    x, pos = tokens(5, 8), torch.tensor([0.0, 1, 2.5, -3, 1000])
    out = Rope(8, theta=theta, layout=layout).double()(x, pos[:, None])
    angles = pos.double()[:, None] * theta ** (-torch.arange(4, dtype=torch.float64) / 4)
    torch.testing.assert_close(pairs(out, layout), pairs(x, layout) * torch.exp(1j * angles), rtol=0, atol=1e-12)


def test_equals_the_library_on_a_sequence() -> None:
    x = tokens(7, 16, torch.float32)
    ours = Rope(16)(x, torch.arange(7.0)[:, None])
    torch.testing.assert_close(ours, RotaryEmbedding(16).rotate_queries_or_keys(x), rtol=0, atol=1e-6)


def test_equals_the_library_on_a_grid() -> None:
    x = tokens(12, 20, torch.float32)
    theirs = apply_rotary_emb(RotaryEmbedding(8).get_axial_freqs(3, 4).flatten(0, 1), x)
    torch.testing.assert_close(Rope(20, axes=(8, 8))(x, grid_positions((3, 4))), theirs, rtol=0, atol=1e-6)


positions = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=2)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(m=positions, n=positions, shift=positions, seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_scores_depend_on_the_difference_of_positions_only(layout, m, n, shift, seed: int) -> None:
    rope = Rope(10, axes=2, layout=layout).double()
    q, k = tokens(1, 10, seed=seed), tokens(1, 10, seed=seed + 1)

    def score(a: Tensor, b: Tensor) -> Tensor:
        return (rope(q, a) * rope(k, b)).sum(-1)

    a, b, c = (torch.tensor([p], dtype=torch.float64) for p in (m, n, shift))
    torch.testing.assert_close(score(a + c, b + c), score(a, b), rtol=0, atol=1e-9)
    torch.testing.assert_close(score(a - b, torch.zeros_like(b)), score(a, b), rtol=0, atol=1e-9)
    torch.testing.assert_close(rope(q, a).norm(dim=-1), q.norm(dim=-1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_axis_turns_its_own_features(layout) -> None:
    x, pos = tokens(24, 16), grid_positions((2, 3, 4))
    out = Rope(16, axes=(4, 2, 8), layout=layout).double()(x, pos)
    start = 0
    for axis, d in enumerate((4, 2, 8)):
        alone = Rope(d, layout=layout).double()(x[..., start : start + d], pos[:, axis : axis + 1])
        torch.testing.assert_close(out[..., start : start + d], alone, rtol=0, atol=1e-14)
        start += d
    assert torch.equal(out[..., start:], x[..., start:])


@pytest.mark.parametrize(("axes", "runs"), [(1, (16,)), (2, (8, 8)), (3, (4, 4, 4)), ((6, 2), (6, 2))])
def test_axes_share_a_head_evenly_unless_told(axes, runs: tuple[int, ...]) -> None:
    rope = Rope(16, axes=axes)
    assert rope.runs == runs
    x = tokens(1, 16)
    still = (rope(x, torch.ones(1, len(runs))) == x).all((0, 1, 2))
    assert still.tolist() == [i >= sum(runs) for i in range(16)]


def test_half_is_interleaved_after_a_permutation_of_features() -> None:
    x, pos = tokens(6, 14), grid_positions((2, 3))
    # Runs of 8 and 4, two features left alone: pair i of a run of 2 m features is (i, m + i) instead of (2i, 2i + 1).
    order = [0, 4, 1, 5, 2, 6, 3, 7, 8, 10, 9, 11, 12, 13]
    half = Rope(14, axes=(8, 4), layout="half").double()(x, pos)
    interleaved = Rope(14, axes=(8, 4)).double()(x[..., order], pos)
    torch.testing.assert_close(half[..., order], interleaved, rtol=0, atol=0)


def test_positions_may_differ_by_sample() -> None:
    x, rope = tokens(4, 8), Rope(8, axes=2)
    pos = torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(1))
    out = rope(x, pos)
    for b in range(2):
        assert torch.equal(out[b : b + 1], rope(x[b : b + 1], pos[b]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rotated_attention_forgets_a_common_shift(layout) -> None:
    rope = Rope(8, axes=2, layout=layout).double()
    q, k, v = (tokens(6, 8, seed=s) for s in range(3))
    pos = grid_positions((2, 3)).double()
    here, there = (attend(q, KV(k, v, p), p, rope=rope) for p in (pos, pos + 40))
    torch.testing.assert_close(here, there, rtol=0, atol=1e-12)
    assert not torch.allclose(here, attend(q, KV(k, v, 2 * pos), pos, rope=rope), atol=1e-3)


def test_nothing_enters_the_state_dict_unless_learned() -> None:
    fixed, learned = Rope(8, axes=2), Rope(8, axes=2, learned_freq=True)
    assert not fixed.state_dict() and not list(fixed.parameters())
    assert list(learned.state_dict()) == ["freqs"]
    learned(tokens(3, 8, torch.float32), torch.ones(3, 2)).square().sum().backward()
    x = tokens(3, 8, torch.float32)
    (learned(x, torch.ones(3, 2)) * x).sum().backward()
    assert learned.freqs.grad is not None and learned.freqs.grad.abs().min() > 0


def test_half_precision_weights_keep_exact_angles() -> None:
    x, pos = tokens(3, 32, torch.float32), torch.tensor([[0.0], [511], [1001]])
    out = Rope(32).bfloat16()(x, pos)
    assert torch.equal(out, Rope(32)(x, pos))
    rounded = Rope(32)(x.bfloat16(), pos)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), out, rtol=0.02, atol=0.02)


def test_automatic_mixed_precision_keeps_exact_angles() -> None:
    x, pos, rope = tokens(3, 32, torch.float32), torch.tensor([[0.0], [511], [1001]]), Rope(32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = rope(x, pos)
    assert torch.equal(inside, rope(x, pos))


def test_a_model_built_without_storage_gets_its_frequencies() -> None:
    with torch.device("meta"):
        rope = Rope(8, axes=2)
    rope.to_empty(device="cpu")
    assert torch.equal(rope.freqs, Rope(8, axes=2).freqs)


def test_forward_derivative_and_compiled_graph() -> None:
    rope, x, pos = Rope(8, axes=2, layout="half"), tokens(6, 8, torch.float32), grid_positions((2, 3))
    # Linear in x, hence its own derivative.
    out, tangent = torch.func.jvp(lambda x: rope(x, pos), (x,), (x,))
    torch.testing.assert_close(tangent, out)
    torch.testing.assert_close(torch.compile(rope, fullgraph=True, backend="eager")(x, pos), out)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
@settings(deadline=None)
def test_grid_positions_are_row_major(grid: list[int]) -> None:
    pos = grid_positions(grid)
    assert pos.dtype == torch.float32 and pos.shape[1] == len(grid)
    index = torch.zeros(len(pos))
    for axis, n in enumerate(grid):
        index = index * n + pos[:, axis]
    assert index.tolist() == list(range(len(pos)))
    assert (pos.max(0).values == torch.tensor(grid) - 1).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Rope(8, axes=(3, 4)), "axes: got (3, 4)"),
        (lambda: Rope(8, axes=(8, 2)), "8 in total"),
        (lambda: Rope(8, axes=5), "axes: got 5"),
        (lambda: Rope(8, axes=0), "axes: got 0"),
        (lambda: Rope(8, layout="neox"), "layout: got 'neox'"),  # type: ignore[arg-type]
        (lambda: Rope(8)(tokens(4, 8), torch.zeros(5, 1)), "positions: got shape (5, 1); accepted: (4, 1)"),
        (lambda: Rope(8, axes=2)(tokens(4, 8), torch.zeros(4, 1)), "accepted: (4, 2)"),
    ],
)
def test_misuse_is_named(make, words: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)
