"""Patterns against reference masks and brute-force definitions; regroupings and slices against the masks."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from gencore.errors import InputError
from gencore.patterns import (
    Along,
    BlockCausal,
    Causal,
    Full,
    Intersection,
    KeyMask,
    Pattern,
    Segments,
    TeacherForcing,
    Tiles,
    Window,
)

SMALL = Path(__file__).parent / "golden_small" / "nfd_block_causal_masks.safetensors"
with safe_open(SMALL, "pt") as file:
    CASES = {case["name"]: case for case in json.loads(file.metadata()["masks"])}


def published(case: dict) -> tuple[Pattern, int]:
    tokens, block, frames = case["tokens_per_frame"], case["frames_per_block"], case["frames"]
    if case["kind"] == "teacher":
        return TeacherForcing(frames, tokens, block), 2 * frames * tokens
    window = case["local_frames"] if case["local_frames"] > 0 else None
    return BlockCausal(tokens, block, window, first=1 if case["kind"] == "i2v" else None), frames * tokens


@pytest.mark.parametrize("name", CASES)
def test_frame_masks_equal_the_reference(name: str) -> None:
    pattern, n = published(CASES[name])
    mask = pattern.mask(n, n)
    assert mask is not None and mask.sum() == CASES[name]["allowed"]
    assert torch.equal(mask, load_file(SMALL)[name].bool())


def test_small_copy_equals_the_full_reference(golden_dir: Path) -> None:
    folder = golden_dir / "nfd" / "block_causal_masks"
    assert list(CASES.values()) == json.loads((folder / "meta.json").read_text())["masks"]
    ours, theirs = load_file(SMALL), load_file(folder / "io.safetensors")
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def cells(grid: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(n) for n in grid)))


def brute(grid: tuple[int, ...], rule) -> Tensor:
    return torch.tensor([[rule(q, k) for k in cells(grid)] for q in cells(grid)])


grids = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@st.composite
def on_grid(draw: st.DrawFn) -> tuple[Pattern, tuple[int, ...], Tensor]:
    """A pattern over a grid, the grid, and its mask from the definition, cell by cell."""
    grid = draw(grids)
    kind = draw(st.sampled_from((Along, Tiles, Window)))
    if kind is Along:
        axes = tuple(draw(st.sets(st.integers(0, len(grid) - 1), min_size=1)))
        mask = brute(grid, lambda q, k: all(q[a] == k[a] for a in range(len(grid)) if a not in axes))
        return Along(axes, grid), grid, mask
    reach = tuple(draw(st.integers(0 if kind is Window else 1, 4)) for _ in grid)
    if kind is Tiles:
        mask = brute(grid, lambda q, k: all(i // s == j // s for i, j, s in zip(q, k, reach, strict=True)))
        return Tiles(reach, grid), grid, mask
    mask = brute(grid, lambda q, k: all(abs(i - j) <= r for i, j, r in zip(q, k, reach, strict=True)))
    return Window(reach, grid), grid, mask


@given(on_grid())
@settings(deadline=None)
def test_grid_patterns_equal_their_definition(drawn: tuple[Pattern, tuple[int, ...], Tensor]) -> None:
    pattern, grid, mask = drawn
    ours = pattern.mask(math.prod(grid), math.prod(grid))
    assert ours is not None and torch.equal(ours, mask)


def from_groups(pattern: Pattern, queries: int, keys: int) -> Tensor | None:
    """The dense mask that a regrouping amounts to."""
    groups = pattern.regroup(queries, keys)
    if groups is None:
        return None
    at = groups.split(torch.arange(keys - queries, keys)[None, None, :, None])[:, 0, :, 0]
    to = groups.split(torch.arange(keys)[None, None, :, None])[:, 0, :, 0]
    mask = torch.zeros(keys, keys, dtype=torch.bool)
    for q, k in zip(at, to, strict=True):
        inside = groups.inner.mask(len(q), len(k))
        mask[q[:, None], k] = torch.tensor(True) if inside is None else inside
    return mask[keys - queries :]


def from_slices(pattern: Pattern, queries: int, keys: int) -> Tensor | None:
    slices = pattern.slices(queries, keys)
    if slices is None:
        return None
    mask = torch.zeros(queries, keys, dtype=torch.bool)
    for rows, ranges in slices:
        for seen in ranges:
            mask[rows, seen] = True
    assert [i for rows, _ in slices for i in range(queries)[rows]] == list(range(queries))
    return mask


blocks = st.builds(
    lambda tokens, block, extra, first: BlockCausal(
        tokens, block, None if extra is None else max(block, first or 0) + extra, first
    ),
    st.integers(1, 3), st.integers(1, 3), st.none() | st.integers(0, 3), st.none() | st.integers(1, 3),
)  # fmt: skip
teachers = st.builds(TeacherForcing, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))


@st.composite
def sized(draw: st.DrawFn) -> tuple[Pattern, int]:
    """A pattern and the number of positions it is for."""
    kind = draw(st.sampled_from(("grid", "blocks", "teacher", "segments", "causal")))
    if kind == "grid":
        pattern, grid, _ = draw(on_grid())
        return (pattern & Causal() if draw(st.booleans()) else pattern), math.prod(grid)
    if kind == "blocks":
        return draw(blocks), draw(st.integers(1, 20))
    if kind == "teacher":
        pattern = draw(teachers)
        return pattern, 2 * pattern.frames * pattern.tokens
    if kind == "segments":
        ids = draw(st.lists(st.integers(0, 2), min_size=1, max_size=8))
        if draw(st.booleans()):
            ids = [i for i in dict.fromkeys(ids) for _ in range(3)]
        return Segments(torch.tensor(ids)), len(ids)
    return Causal(), draw(st.integers(1, 6))


@given(sized(), st.data())
@settings(deadline=None, max_examples=150)
def test_every_realisation_is_the_mask(drawn: tuple[Pattern, int], data: st.DataObject) -> None:
    pattern, keys = drawn
    queries = data.draw(st.integers(1, keys))
    whole, mask = pattern.mask(keys, keys), pattern.mask(queries, keys)
    assert whole is not None and mask is not None
    assert torch.equal(mask, whole[keys - queries :]), "the queries are the last positions"
    for realise in (from_groups, from_slices):
        assert (other := realise(pattern, queries, keys)) is None or torch.equal(other, mask)


@pytest.mark.parametrize(
    ("pattern", "n", "groups"),
    [
        (Along(0, (3, 2, 2)), 12, 4),
        (Along((1, 2), (3, 2, 2)), 12, 3),
        (Along((0, 2), (3, 2, 2)) & Causal(), 12, 2),
        (Tiles((2, 2), (4, 6)), 24, 6),
        (Segments(torch.tensor([5, 5, 0, 0, 2, 2])), 6, 3),
    ],
)
def test_regroups_and_restores(pattern: Pattern, n: int, groups: int) -> None:
    split, merge, _ = pattern.regroup(n, n) or pytest.fail("no regrouping")
    x = torch.arange(2 * 3 * n * 5.0).view(2, 3, n, 5)
    assert split(x).shape == (2 * groups, 3, n // groups, 5)
    assert torch.equal(merge(split(x)), x)


def test_temporal_attention_regroups_over_a_cache_of_frames() -> None:
    groups = (Along(0, (5, 2, 2)) & Causal()).regroup(4, 20)
    assert groups is not None and groups.inner == Causal()
    assert groups.split(torch.zeros(1, 1, 4, 1)).shape == (4, 1, 1, 1)


@pytest.mark.parametrize(
    "pattern",
    [
        Segments(torch.tensor([0, 0, 1, 1, 0, 0])),
        Segments(torch.tensor([0, 0, 0, 1, 1, 2])),
        Segments(torch.tensor([[0, 0, 1, 1, 2, 2]])),
        Tiles((2, 2), (3, 2)),
        Window((1, 1), (3, 2)),
        Along(0, (3, 2)) & Tiles((1, 2), (3, 2)),
    ],
)
def test_does_not_regroup_what_does_not_split(pattern: Pattern) -> None:
    assert pattern.regroup(6, 6) is None


def test_segments_per_sample() -> None:
    ids = torch.tensor([[0, 0, 1], [0, 1, 1]])
    expected = torch.tensor([[[1, 1, 0], [1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1], [0, 1, 1]]]).bool()
    mask = Segments(ids).mask(3, 3)
    assert mask is not None and torch.equal(mask, expected)


def test_key_mask_per_sample_and_shared() -> None:
    seen = torch.tensor([[True, False, True], [False, False, False]])
    mask, shared = KeyMask(seen).mask(2, 3), KeyMask(seen[:1]).mask(2, 3)
    assert mask is not None and torch.equal(mask, seen[:, None].expand(2, 2, 3))
    assert shared is not None and torch.equal(shared, seen[:1].expand(2, 3))


def test_intersection_is_conjunction_and_full_is_neutral() -> None:
    seen = torch.tensor([[True, False, True, True], [False, True, True, False]])
    terms = (Window((1,), (4,)), Causal(), KeyMask(seen))
    both = Full() & terms[0] & terms[1] & Full() & terms[2]
    assert isinstance(both, Intersection) and both.terms == terms and both.samples() == 2
    window, causal = terms[0].mask(4, 4), terms[1].mask(4, 4)
    mask = both.mask(4, 4)
    assert mask is not None and window is not None and causal is not None
    assert torch.equal(mask, window & causal & seen[:, None])
    assert Full() & terms[0] is terms[0] and Full() & Full() == Full()
    assert Full().mask(2, 3) is None


def test_shared_key_mask_joins_segments_per_sample() -> None:
    ids, seen = torch.tensor([[0, 1], [0, 0]]), torch.tensor([[True, False]])
    mask = (KeyMask(seen) & Segments(ids)).mask(2, 2)
    expected = torch.tensor([[[1, 0], [0, 0]], [[1, 0], [1, 0]]]).bool()
    assert mask is not None and torch.equal(mask, expected)


def test_patterns_of_numbers_are_values() -> None:
    assert Along(0, (2, 3)) == Along((0,), [2, 3])  # type: ignore[arg-type]
    assert hash(Window([1], [4])) == hash(Window((1,), (4,)))  # type: ignore[arg-type]
    assert BlockCausal(2) & Causal() == BlockCausal(2) & Causal()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Along(2, (2, 2)), "axes: got 2; accepted: 0..1"),
        (lambda: Window((1,), (2, 2)), "radius"),
        (lambda: Tiles((0, 1), (2, 2)), "size"),
        (lambda: BlockCausal(2, block=3, window=2), "window: got 2"),
        (lambda: BlockCausal(0), "tokens: got 0"),
        (lambda: KeyMask(torch.ones(2, 3)), "mask: got torch.float32"),
        (lambda: Along(0, (2, 2)).mask(4, 5), "Along for 4 queries and 5 keys"),
        (lambda: Window((1,), (4,)).regroup(4, 4) or Window((1,), (4,)).mask(5, 4), "Window for 5 queries"),
        (lambda: Tiles((2,), (4,)).regroup(4, 6), "Tiles for 4 queries and 6 keys"),
        (lambda: Causal().mask(3, 2), "Causal for 3 queries and 2 keys"),
        (lambda: BlockCausal(1).slices(3, 2), "BlockCausal for 3 queries and 2 keys"),
        (lambda: TeacherForcing(2, 2).mask(4, 4), "TeacherForcing for 4 queries and 4 keys"),
        (lambda: (Causal() & KeyMask(torch.ones(1, 2).bool())).mask(3, 3), "2 entries for 3 keys"),
    ],
)
def test_misuse_is_named(make, words: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)
