"""Keyed noise: who draws what, bit for bit, and whether it is normal."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gencore.errors import InputError
from gencore.noise import Keyed, Recorded, normals, permutation, seeds_for, uniforms

seeds = st.integers(-(2**70), 2**70)
keys = st.lists(st.one_of(st.integers(0, 50), st.sampled_from(["init", "step", "eps", "drop"])), max_size=3).map(tuple)


def test_the_bits_of_a_few_draws_never_change() -> None:
    """Recipes outlive versions.  Normals are compared as drawn, in float32: the last float64 bit is the CPU's."""
    bits = [f"{v:016x}" for v in uniforms(7, ("init",), 3).view(np.uint64)]
    assert bits == ["3fdeab1af020d6b9", "3fcabbf5dc017442", "3fbe49a50eb79804"]
    drawn = Keyed([7, -1]).draw("normal", ("init",), (3,)).numpy()
    assert [[f"{v:08x}" for v in row] for row in drawn.view(np.uint32)] == [
        ["3e9ebf53", "3f961a3e", "3e10f450"],
        ["3e865d78", "3f91dfca", "be452471"],
    ]
    assert permutation(7, ("epoch", 0), 8).tolist() == [1, 3, 4, 6, 5, 2, 7, 0]


@settings(deadline=None, max_examples=50)
@given(st.lists(seeds, min_size=1, max_size=5), keys, st.sampled_from(["normal", "uniform"]))
def test_a_sample_draws_the_same_alone_and_in_any_batch(batch: list[int], key: tuple, kind) -> None:
    together = Keyed(batch, prefix=("run",)).draw(kind, key, (2, 3))
    for seed, row in zip(batch, together, strict=True):
        assert torch.equal(Keyed([seed], prefix=("run",)).draw(kind, key, (2, 3))[0], row)


@settings(deadline=None, max_examples=50)
@given(seeds, keys, st.integers(0, 40), st.integers(0, 40))
def test_a_longer_draw_starts_with_the_shorter(seed: int, key: tuple, short: int, more: int) -> None:
    for stream in (uniforms, normals):
        assert np.array_equal(stream(seed, key, short + more)[:short], stream(seed, key, short))


@settings(deadline=None, max_examples=100)
@given(seeds, seeds, keys, keys)
def test_other_seeds_and_keys_give_other_values(a: int, b: int, one: tuple, two: tuple) -> None:
    if (a, one) != (b, two):
        assert not np.array_equal(uniforms(a, one, 4), uniforms(b, two, 4))


def test_seeds_are_not_cut_to_32_bits_and_keys_not_glued() -> None:
    assert not np.array_equal(normals(5, (), 4), normals(5 + 2**32, (), 4))
    # A seed never continues into its neighbour's stream, nor a step into the next.
    assert not np.array_equal(uniforms(7, ("step", 11), 4), uniforms(7, ("step1", 1), 4))
    assert not np.array_equal(uniforms(71, ("x",), 4), uniforms(7, (1, "x"), 4))


def test_uniforms_and_normals_have_their_moments() -> None:
    n = 200_000
    u = np.concatenate([uniforms(s, ("m",), n // 10) for s in range(10)])
    z = np.concatenate([normals(s, ("m",), n // 10) for s in range(10)])
    assert u.min() > 0 and u.max() < 1
    for k in range(1, 5):
        # E u^k = 1/(k+1), Var u^k = 1/(2k+1) - 1/(k+1)^2; E z^k = (k-1)!! for even k, Var z^k from E z^2k.
        assert abs((u**k).mean() - 1 / (k + 1)) < 4 * math.sqrt((1 / (2 * k + 1) - 1 / (k + 1) ** 2) / n)
        double = [math.prod(range(1, m, 2)) for m in (k, 2 * k)]
        mean = 0 if k % 2 else double[0]
        assert abs((z**k).mean() - mean) < 4 * math.sqrt((double[1] - mean**2) / n)
    assert abs((z[::2] * z[1::2]).mean()) < 4 / math.sqrt(n / 2)


def test_a_draw_takes_dtype_and_prefix_and_leaves_the_global_generators_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    exact = Keyed([3], dtype=torch.float64).draw("normal", ("a",), (5,))
    assert torch.equal(exact[0], torch.from_numpy(normals(3, ("a",), 5)))
    assert torch.equal(Keyed([3]).draw("normal", ("a",), (5,)), exact.float())
    assert torch.equal(
        Keyed([3], prefix=("p", 1)).draw("uniform", ("a",), ()), torch.tensor(uniforms(3, ("p", 1, "a"), 1)).float()
    )
    assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 50))
def test_a_permutation_is_one(seed: int, count: int) -> None:
    assert sorted(permutation(seed, ("epoch", 1), count)) == list(range(count))


def test_recorded_draws_come_back_in_order_and_end() -> None:
    draws = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    noise = Recorded(draws)
    assert torch.equal(noise.draw("normal", ("a",), (4,)), draws[0])
    with pytest.raises(InputError):
        noise.draw("normal", ("b",), (5,))
    with pytest.raises(InputError, match="no more than were recorded"):
        noise.draw("normal", ("c",), (4,))


def test_one_seed_counts_up_and_a_list_must_fit() -> None:
    assert seeds_for(7, 3) == (7, 8, 9)
    assert seeds_for([4, 4], 2) == (4, 4)
    with pytest.raises(InputError, match="2 seeds for 3 samples"):
        seeds_for([1, 2], 3)
