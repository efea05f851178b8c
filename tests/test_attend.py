"""Back ends against attention written query by query, and the seams around them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gencore import attend as module
from gencore import plugins
from gencore.attend import KV, attend, back_end, register
from gencore.context import Context, Interceptor
from gencore.errors import InputError
from gencore.manifest import Manifest
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

EPS = {torch.float32: 1e-5, torch.float64: 1e-12}
PADDED = torch.tensor([[True] * 7 + [False] * 17, [False] * 24])
PATTERNS: dict[str, Pattern] = {
    "full": Full(),
    "padded": KeyMask(PADDED),
    "causal": Causal(),
    "causal-padded": Causal() & KeyMask(PADDED),
    "time": Along(0, (4, 3, 2)),
    "time-causal": Along(0, (4, 3, 2)) & Causal(),
    "space-padded": Along((1, 2), (4, 3, 2)) & KeyMask(PADDED),
    "window": Window((1, 0, 1), (4, 3, 2)),
    "tiles": Tiles((2, 3, 1), (4, 3, 2)),
    "uneven-tiles": Tiles((3, 2), (4, 6)),
    "blocks": BlockCausal(2, block=3, window=4, first=1),
    "blocks-padded": BlockCausal(8, block=2) & KeyMask(PADDED),
    "teacher": TeacherForcing(4, 3, block=2),
    "segments": Segments(torch.arange(24) // 8),
    "segments-per-sample": Segments(torch.stack([torch.arange(24) % 5, torch.arange(24) // 9])) & Causal(),
}


def by_hand(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, bias: Tensor | None) -> Tensor:
    """softmax over the keys each query sees, one query at a time, in float64."""
    out = torch.zeros_like(q, dtype=torch.float64)
    mask = pattern.mask(q.shape[2], k.shape[2])
    for b in range(q.shape[0]):
        for i in range(q.shape[2]):
            seen = torch.ones(k.shape[2]).bool() if mask is None else mask[i] if mask.ndim == 2 else mask[b, i]
            if bias is not None:
                seen = seen & (bias[b] > -torch.inf)
            if not seen.any():
                continue
            score = (k[b, :, seen].double() @ q[b, :, i, :, None].double())[..., 0] / q.shape[-1] ** 0.5
            weight = (score if bias is None else score + bias[b, seen].double()).softmax(-1)
            out[b, :, i] = (weight[..., None] * v[b, :, seen].double()).sum(1)
    return out


def draws(dtype: torch.dtype, queries: int = 24, keys: int = 24, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 2, n, 4, dtype=dtype, generator=gen) for n in (queries, keys, keys))  # type: ignore[return-value]


def biases(dtype: torch.dtype) -> Tensor:
    bias = torch.randn(2, 24, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return bias.masked_fill(torch.arange(24) % 7 == 2, -torch.inf)


@pytest.mark.parametrize("dtype", EPS, ids=str)
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize("name", PATTERNS)
def test_back_ends_are_attention_by_hand(name: str, biased: bool, dtype: torch.dtype) -> None:
    q, k, v = draws(dtype)
    bias = biases(dtype) if biased else None
    expected = by_hand(q, k, v, PATTERNS[name], bias)
    for kind in ("sdpa", "math"):
        out = back_end(kind)(q, k, v, PATTERNS[name], bias)
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), expected, rtol=0, atol=EPS[dtype])


@pytest.mark.parametrize("queries", [4, 6, 12])
@pytest.mark.parametrize("name", ["causal-padded", "time-causal", "time", "window", "blocks", "blocks-padded", "tiles"])
def test_queries_after_a_cache_are_the_last_rows(name: str, queries: int) -> None:
    q, k, v = draws(torch.float64)
    whole = by_hand(q, k, v, PATTERNS[name], None)[:, :, -queries:]
    for kind in ("sdpa", "math"):
        out = back_end(kind)(q[:, :, -queries:], k, v, PATTERNS[name], None)
        torch.testing.assert_close(out, whole, rtol=0, atol=1e-12)


@dataclass(frozen=True, slots=True, eq=False)
class Given(Pattern):
    """A pattern of a third party: any mask (B, Nq, Nk)."""

    allowed: Tensor

    def samples(self) -> int:
        return len(self.allowed)

    def sees(self, b: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.allowed[b, q, k]


@given(st.integers(1, 5), st.integers(0, 2**31), st.floats(0, 1), st.booleans())
@settings(deadline=None, max_examples=60)
def test_any_mask(n: int, seed: int, density: float, biased: bool) -> None:
    gen = torch.Generator().manual_seed(seed)
    pattern = Given(torch.rand(2, n, n, generator=gen) < density)
    q, k, v = (x.requires_grad_() for x in draws(torch.float64, n, n, seed))
    bias = None
    if biased:
        hidden = torch.rand(2, n, generator=gen) < 0.3
        bias = torch.randn(2, n, dtype=torch.float64, generator=gen).masked_fill(hidden, -torch.inf)
    expected = by_hand(q.detach(), k.detach(), v.detach(), pattern, bias)
    gradients = []
    for kind in ("sdpa", "math"):
        out = back_end(kind)(q, k, v, pattern, bias)
        torch.testing.assert_close(out.detach(), expected, rtol=0, atol=1e-12)
        gradients.append(torch.autograd.grad(out.square().sum(), (q, k, v)))
    for ours, reference in zip(*gradients, strict=True):
        assert reference.isfinite().all()
        torch.testing.assert_close(ours, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["sdpa", "math"])
@pytest.mark.parametrize("name", PATTERNS)
def test_gradients_are_finite_and_equal_finite_differences(name: str, kind: str) -> None:
    q, k, v = (x.requires_grad_() for x in draws(torch.float64))
    bias = biases(torch.float64).requires_grad_()
    inputs = (q, k, v, bias)

    def loss(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        return back_end(kind)(q, k, v, PATTERNS[name], bias).square().sum()

    gradients = torch.autograd.grad(loss(*inputs), inputs)
    assert all(g.isfinite().all() for g in gradients)
    steps = [torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(2)) for x in inputs]
    h = 1e-6
    with torch.no_grad():
        ahead, behind = ([x + s * h * d for x, d in zip(inputs, steps, strict=True)] for s in (1, -1))
        numeric = (loss(*ahead) - loss(*behind)) / (2 * h)
    analytic = sum((g * d).sum() for g, d in zip(gradients, steps, strict=True))
    torch.testing.assert_close(analytic, numeric, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", PATTERNS)
def test_math_has_the_forward_derivative(name: str) -> None:
    q, k, v = draws(torch.float64)
    dq, dk, dv = draws(torch.float64, seed=3)

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q, KV(k, v), pattern=PATTERNS[name], ctx=Context(attention="math"))

    h = 1e-5
    _, tangent = torch.func.jvp(run, (q, k, v), (dq, dk, dv))
    numeric = (run(q + h * dq, k + h * dk, v + h * dv) - run(q - h * dq, k - h * dk, v - h * dv)) / (2 * h)
    torch.testing.assert_close(tangent, numeric, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["time", "time-causal", "space-padded", "tiles", "segments", "padded"])
def test_the_default_never_makes_a_mask_of_all_pairs_where_a_pattern_splits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, v = draws(torch.float32)
    expected = back_end("math")(q, k, v, PATTERNS[name], None)

    def refuse(*_: object) -> None:
        raise AssertionError("a dense mask was made")

    monkeypatch.setattr(Pattern, "mask", refuse)
    torch.testing.assert_close(back_end()(q, k, v, PATTERNS[name], None), expected, rtol=0, atol=1e-5)


def test_one_block_after_a_cache_needs_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = draws(torch.float64, 2, 24)
    expected = back_end("math")(q, k, v, BlockCausal(2, window=5), None)
    monkeypatch.setattr(Pattern, "mask", None)
    torch.testing.assert_close(back_end()(q, k, v, BlockCausal(2, window=5), None), expected, rtol=0, atol=1e-12)


def test_half_precision_stays_half_precision() -> None:
    q, k, v = draws(torch.bfloat16)
    for kind in ("sdpa", "math"):
        out = back_end(kind)(q, k, v, PATTERNS["space-padded"], biases(torch.float32))
        assert out.dtype == torch.bfloat16
        exact = by_hand(q, k, v, PATTERNS["space-padded"], biases(torch.float32))
        torch.testing.assert_close(out.double(), exact, rtol=0, atol=0.05)


def test_compiles_as_one_graph() -> None:
    q, k, v = draws(torch.float32)
    patterns = [PATTERNS[name] for name in ("space-padded", "time-causal", "blocks", "segments", "window")]

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.stack([attend(q, KV(k, v), pattern=pattern) for pattern in patterns])

    torch.testing.assert_close(torch.compile(run, fullgraph=True, backend="eager")(q, k, v), run(q, k, v))


class Shift:
    """Stands in for a rotary embedding: adds the coordinate to the first feature."""

    def __call__(self, x: Tensor, pos: Tensor) -> Tensor:
        return torch.cat([x[..., :1] + pos.reshape(-1, 1, x.shape[2], 1), x[..., 1:]], dim=-1)


def test_rotary_embedding_reaches_queries_and_keys_with_their_own_positions() -> None:
    q, k, v = draws(torch.float64, 3, 5)
    pos_q, pos_k = torch.tensor([[7.0], [8], [9]]), torch.rand(2, 5, 1)
    out = attend(q, KV(k, v, pos_k), pos_q, rope=Shift())
    moved = q.clone(), k.clone()
    moved[0][..., 0] += pos_q[:, 0]
    moved[1][..., 0] += pos_k[:, None, :, 0]
    torch.testing.assert_close(out, by_hand(moved[0], moved[1], v, Full(), None))
    assert torch.equal(attend(q, KV(k, v), rope=Shift()), attend(q, KV(k, v)))


def test_positions_of_one_side_only_are_refused() -> None:
    q, k, v = draws(torch.float64, 5, 5)
    pos = torch.zeros(5, 1)
    with pytest.raises(InputError, match="none for the keys"):
        attend(q, KV(k, v), pos, rope=Shift())
    with pytest.raises(InputError, match="none for the queries"):
        attend(q, KV(k, v, pos), rope=Shift())


class Bank(Interceptor):
    """Records keys and values under `kind`, and hands out what `change` makes of them."""

    def __init__(self, change=lambda kv: kv) -> None:
        self.change, self.seen = change, {}

    def kv(self, kind: str, kv: KV, ctx: Context) -> KV:
        self.seen[ctx.key(kind, ctx.lanes[0])] = kv
        return self.change(kv)


def test_interceptor_records_keys_before_rotation() -> None:
    q, k, v = draws(torch.float64, 5, 5)
    pos, bank = torch.arange(5.0)[:, None], Bank()
    ctx = Context(interceptor=bank)
    ctx.path = "blocks.3."
    out = attend(q, KV(k, v, pos), pos, rope=Shift(), ctx=ctx, kind="cross")
    assert list(bank.seen) == [("", "cond", "", "blocks.3.cross")]
    (kept,) = bank.seen.values()
    assert kept.k is k and kept.v is v and kept.pos is pos
    assert torch.equal(out, attend(q, KV(k, v, pos), pos, rope=Shift()))


def test_interceptor_appends_a_cache_that_is_rotated_anew() -> None:
    q, k, v = draws(torch.float64, 6, 6)
    pos = torch.arange(6.0)[:, None]
    cache = KV(k[:, :, :4], v[:, :, :4], pos[:4])
    bank = Bank(lambda kv: KV(*(torch.cat(pair, dim=-2) for pair in zip(cache, kv, strict=True))))
    pattern = BlockCausal(tokens=2)
    whole = attend(q, KV(k, v, pos), pos, rope=Shift(), pattern=pattern)
    last = attend(q[:, :, 4:], KV(k[:, :, 4:], v[:, :, 4:], pos[4:]), pos[4:], rope=Shift(), pattern=pattern,
                  ctx=Context(interceptor=bank))  # fmt: skip
    torch.testing.assert_close(last, whole[:, :, 4:], rtol=0, atol=1e-12)


def test_interceptor_replaces_keys() -> None:
    q, k, v = draws(torch.float64, 3, 5)
    other = KV(*draws(torch.float64, 3, 7, seed=5)[1:])
    assert torch.equal(attend(q, KV(k, v), ctx=Context(interceptor=Bank(lambda _: other))), attend(q, other))


def zeros(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, key_bias: Tensor | None) -> Tensor:
    return torch.zeros_like(q)


def ones(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, key_bias: Tensor | None) -> Tensor:
    return torch.ones_like(q)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BACK_ENDS", dict(module._BACK_ENDS))


@pytest.mark.usefixtures("forgetful")
def test_a_registered_back_end_is_found_by_the_context() -> None:
    register("zeros", zeros)
    register("zeros", zeros)
    q, k, v = draws(torch.float32)
    assert not attend(q, KV(k, v), ctx=Context(attention="zeros")).any()
    for name in ("zeros", "sdpa", ""):
        with pytest.raises(InputError, match="a name that is not taken"):
            register(name, ones)


@pytest.mark.usefixtures("forgetful")
def test_a_plugin_provides_a_back_end() -> None:
    manifest = Manifest(name="made-up", summary="", provides={"attention": {"plain": "gencore.attend:math"}})
    with plugins.registered(manifest):
        assert back_end("plain") is back_end("math")


@pytest.mark.usefixtures("forgetful")
def test_an_unknown_back_end_is_answered_with_the_nearest() -> None:
    register("zeros", zeros)
    with pytest.raises(InputError, match=re.escape("did you mean 'zeros'?")) as caught:
        back_end("zeroes")
    assert {"math", "sdpa", "zeros"} <= set(caught.value.accepted.split(", "))
    with pytest.raises(InputError, match="did you mean 'sdpa'"):
        attend(*draws(torch.float32)[:1], KV(*draws(torch.float32)[1:]), ctx=Context(attention="spda"))
