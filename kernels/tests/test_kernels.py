"""Optional back ends against the core's reference, on every pattern they handle."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gencore import attend as core
from gencore.attend import KV, attend
from gencore.context import Context
from gencore.errors import InputError
from gencore.patterns import (
    Along,
    BlockCausal,
    Causal,
    Full,
    KeyMask,
    Pattern,
    Segments,
    TeacherForcing,
    Tiles,
    Window,
)
from gencore_kernels.flex import flex
from gencore_kernels.window import window

EPS = {torch.float32: 1e-5, torch.float64: 1e-12}
PADDED = torch.tensor([[True] * 7 + [False] * 17, [False] * 24])
PATTERNS: dict[str, Pattern] = {
    "full": Full(),
    "padded": KeyMask(PADDED),
    "causal-padded": Causal() & KeyMask(PADDED),
    "time-causal": Along(0, (4, 3, 2)) & Causal(),
    "window": Window((1, 0, 1), (4, 3, 2)),
    "tiles": Tiles((3, 2), (4, 6)),
    "blocks": BlockCausal(2, block=3, window=4, first=1),
    "teacher": TeacherForcing(4, 3, block=2),
    "segments": Segments(torch.stack([torch.arange(24) % 5, torch.arange(24) // 9])),
}


def draws(dtype: torch.dtype, queries: int, keys: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 2, n, 4, dtype=dtype, generator=gen) for n in (queries, keys, keys))  # type: ignore[return-value]


def biases(dtype: torch.dtype, n: int, seed: int = 1) -> Tensor:
    gen = torch.Generator().manual_seed(seed)
    return torch.randn(2, n, dtype=dtype, generator=gen).masked_fill(torch.rand(2, n, generator=gen) < 0.3, -torch.inf)


@pytest.mark.parametrize("dtype", EPS, ids=str)
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize("name", PATTERNS)
def test_flex_is_the_reference(name: str, biased: bool, dtype: torch.dtype) -> None:
    q, k, v = draws(dtype, 24, 24)
    bias = biases(dtype, 24) if biased else None
    expected = core.math(q, k, v, PATTERNS[name], bias)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(flex(q, k, v, PATTERNS[name], bias), expected, rtol=0, atol=EPS[dtype])


@pytest.mark.parametrize("name", ["causal-padded", "blocks", "window"])
def test_flex_places_queries_after_a_cache(name: str) -> None:
    q, k, v = draws(torch.float64, 6, 24)
    torch.testing.assert_close(flex(q, k, v, PATTERNS[name], None), core.math(q, k, v, PATTERNS[name], None))


def test_flex_says_that_a_cpu_gives_no_gradients() -> None:
    q, k, v = draws(torch.float32, 24, 24)
    with pytest.raises(InputError, match="flex with gradients on a CPU"):
        flex(q, k.requires_grad_(), v, Causal(), None)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    grid = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    return Window(tuple(draw(st.integers(0, 7)) for _ in grid), tuple(grid))


@given(windows(), st.sampled_from(list(EPS)), st.booleans(), st.booleans(), st.integers(0, 1000))
@settings(deadline=None, max_examples=80)
def test_window_is_the_reference_with_gradients(
    pattern: Window, dtype: torch.dtype, masked: bool, biased: bool, seed: int
) -> None:
    n = math.prod(pattern.grid)
    inputs = [x.requires_grad_() for x in draws(dtype, n, n, seed)]
    seen = torch.rand(2, n, generator=torch.Generator().manual_seed(seed)) < 0.7
    both = pattern & KeyMask(seen) if masked else pattern
    bias = biases(dtype, n, seed).requires_grad_() if biased else None
    results = []
    for fn in (window, core.math):
        out = fn(*inputs, both, bias)
        gradients = torch.autograd.grad(out.square().sum(), inputs if bias is None else [*inputs, bias])
        results.append([out.detach(), *gradients])
    for ours, reference in zip(*results, strict=True):
        assert reference.isfinite().all()
        torch.testing.assert_close(ours, reference, rtol=0, atol=EPS[dtype] * 10)


class Largest(TorchDispatchMode):
    """Notes the most elements any operation has made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.elements = max(self.elements, out.numel())
        return out


@pytest.mark.parametrize("pattern", [Window((4,), (2048,)), Window((1, 1), (32, 64)), Window((1, 1, 1), (8, 16, 16))])
def test_window_never_makes_anything_of_all_pairs(pattern: Window) -> None:
    q, k, v = (torch.randn(1, 1, 2048, 4, generator=torch.Generator().manual_seed(s)) for s in range(3))
    with Largest() as tiled:
        out = window(q, k, v, pattern, None)
    with Largest() as dense:
        expected = core.math(q, k, v, pattern, None)
    assert dense.elements >= 2048**2
    # Per query: at most the 4 keys per axis that its tile of 2 reaches with a halo of 1.
    assert tiled.elements <= 2048 * max(4 ** len(pattern.grid), 16)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)


def test_window_leaves_layers_without_a_pattern_to_the_default() -> None:
    q, k, v = draws(torch.float32, 5, 24)
    for pattern in (Full(), KeyMask(PADDED)):
        assert torch.equal(window(q, k, v, pattern, None), core.sdpa(q, k, v, pattern, None))


@pytest.mark.parametrize(
    ("pattern", "queries", "words"),
    [
        (BlockCausal(2), 24, "window handles Window patterns"),
        (Window((1,), (24,)) & Causal(), 24, "window for Window & Causal; accepted: window handles Window patterns"),
        (Window((1,), (24,)), 6, "queries of the whole grid"),
        (Window((1,), (23,)), 24, "Window for 24 queries and 24 keys"),
    ],
)
def test_window_refuses_what_it_cannot_do(pattern: Pattern, queries: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        window(*draws(torch.float32, queries, 24), pattern, None)


def test_window_compiles_as_one_graph() -> None:
    q, k, v = draws(torch.float32, 24, 24)
    pattern = Window((1, 0, 1), (4, 3, 2))
    run = torch.compile(lambda q, k, v: window(q, k, v, pattern, None), fullgraph=True, backend="eager")
    torch.testing.assert_close(run(q, k, v), core.math(q, k, v, pattern, None))


@pytest.mark.parametrize("name", ["flex", "window"])
def test_a_context_finds_the_back_ends_by_name(name: str) -> None:
    q, k, v = draws(torch.float32, 24, 24)
    pattern = Window((1, 0, 1), (4, 3, 2))
    out = attend(q, KV(k, v), pattern=pattern, ctx=Context(attention=name))
    torch.testing.assert_close(out, attend(q, KV(k, v), pattern=pattern), rtol=0, atol=1e-5)
    assert core.back_end(name) is {"flex": flex, "window": window}[name]


def test_the_manifest_imports_no_torch() -> None:
    code = "import sys; from gencore_kernels.manifest import manifest; print(*manifest.provides['attention'])"
    code += "; assert 'torch' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "flex window\n"
