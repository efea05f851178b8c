"""The grid transformer: its equation, every port, finer times, and what may be attached to it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencore.backbones.dit import DiT
from gencore.condition import Condition
from gencore.context import Context, Interceptor
from gencore.denoised import Prediction
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.guidance import ClassifierFree
from gencore.nn.embed import patchify, sincos_grid, time_features, unpatchify
from gencore.nn.init import seeded
from gencore.noise import Keyed
from gencore.processes.flows import LinearFlow
from gencore.run import stream
from gencore.samplers.runge_kutta import heun
from gencore.schedules import uniform
from gencore.spec import LatentSpec

SIZES = {1: (8,), 2: (4, 6), 3: (2, 4, 6)}
PORTS = {
    "label": {"kind": "label", "classes": 5},
    "style": {"kind": "modulation", "dims": 3},
    "image": {"kind": "channel_concat", "dims": 2},
    "text": {"kind": "cross_attention", "dims": 4},
    "memory": {"kind": "token_concat", "dims": 4},
}


def awake(net: DiT) -> DiT:
    """`net` with its zero weights replaced by small keyed values, so that every path counts."""
    for name, p in net.named_parameters():
        if not p.any():
            p.data = 0.2 * Keyed([0], dtype=p.dtype).draw("normal", (name,), tuple(p.shape))[0]
    return net.eval()


def small(rank: int = 2, ports: tuple[str, ...] = (), patch: tuple[int, ...] = (), **options: Any) -> DiT:
    with seeded(0):
        net = DiT(2, patch or (2,) * rank, width=24, depth=2, heads=2, ports={p: PORTS[p] for p in ports}, **options)
    return awake(net).double()


def draw(*shape: int, key: str = "x") -> Tensor:
    return Keyed([1], dtype=torch.float64).draw("normal", (key,), shape)[0]


def conditions(ports: tuple[str, ...], size: tuple[int, ...], batch: int = 2) -> dict[str, Condition]:
    mask = torch.tensor([[True, True, False], [True, False, False]])[:batch]
    every = {
        "label": Condition(torch.tensor([1, 4])[:batch]),
        "style": Condition(draw(2, 3, key="style")[:batch]),
        "image": Condition(draw(2, 2, *size, key="image")[:batch]),
        "text": Condition(draw(2, 3, 4, key="text")[:batch], mask),
        "memory": Condition(draw(2, 3, 4, key="memory")[:batch], mask),
    }
    return {p: every[p] for p in ports}


def call(net: DiT, x: Tensor, t: Tensor, cond: dict | None = None, **how: Any) -> Tensor:
    with torch.no_grad():
        return net(x, t, cond or {}, Context(**how)).pred


T = torch.tensor([0.3, 0.8], dtype=torch.float64)


def by_hand(net: DiT, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
    """The published equations, written out for a labelled net without further options."""
    w = dict(net.named_parameters())

    def linear(name: str, v: Tensor) -> Tensor:
        return v @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(v: Tensor) -> Tensor:
        return (v - v.mean(-1, keepdim=True)) / (v.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()

    grid = tuple(n // p for n, p in zip(x.shape[2:], net.patch, strict=True))
    y = linear("patch_embed", patchify(x, net.patch)) + sincos_grid(grid, net.width).double()
    c = linear("time_embed.mlp.2", F.silu(linear("time_embed.mlp.0", time_features(t, 256).double())))
    c = F.silu(c + w["conditioners.label.table.weight"][label])[:, None]
    for i in range(2):
        s1, a1, g1, s2, a2, g2 = linear(f"blocks.{i}.modulation", c).chunk(6, -1)
        q, k, v = linear(f"blocks.{i}.attn.qkv", norm(y) * (1 + a1) + s1).chunk(3, -1)
        heads = []
        for part in range(2):
            span = slice(part * 12, part * 12 + 12)
            scores = (q[..., span] @ k[..., span].transpose(1, 2) / math.sqrt(12)).softmax(-1)
            heads.append(scores @ v[..., span])
        y = y + g1 * linear(f"blocks.{i}.attn.proj", torch.cat(heads, -1))
        u = linear(f"blocks.{i}.mlp.fc1", norm(y) * (1 + a2) + s2)
        gelu = 0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
        y = y + g2 * linear(f"blocks.{i}.mlp.fc2", gelu)
    shift, scale = linear("final_modulation", c).chunk(2, -1)
    return unpatchify(linear("final", norm(y) * (1 + scale) + shift), grid, net.patch)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_network_is_its_equation_on_grids_of_any_rank(rank: int) -> None:
    net, x = small(rank, ("label",)), draw(2, 2, *SIZES[rank])
    label = conditions(("label",), ())
    torch.testing.assert_close(call(net, x, T, label), by_hand(net, x, T, label["label"].value), rtol=1e-9, atol=1e-9)
    # Another size of the same network, not square and not the first.
    x = draw(2, 2, *(n * 2 if i == 0 else n for i, n in enumerate(SIZES[rank])))
    torch.testing.assert_close(call(net, x, T, label), by_hand(net, x, T, label["label"].value), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("patch", [1, 2])
def test_patches_fold_and_unfold(rank: int, patch: int) -> None:
    x = torch.arange(2 * 3 * 4**rank).reshape(2, 3, *(4,) * rank)
    tokens = patchify(x, (patch,) * rank)
    assert tokens.shape == (2, (4 // patch) ** rank, 3 * patch**rank)
    # Unfolding reads (offsets, channels); folding writes (channels, offsets).
    turned = tokens.reshape(*tokens.shape[:2], 3, -1).transpose(2, 3).flatten(2)
    assert torch.equal(unpatchify(turned, (4 // patch,) * rank, (patch,) * rank), x)


def test_a_new_network_predicts_exactly_nothing() -> None:
    with seeded(0):
        net = DiT(2, (2, 2), width=24, depth=2, heads=2, ports=PORTS)
    out = net(
        draw(2, 2, 4, 6).float(),
        T,
        {
            k: Condition(c.value if c.value.dtype == torch.int64 else c.value.float(), c.mask)
            for k, c in conditions(tuple(PORTS), (4, 6)).items()
        },
        Context(),
    ).pred
    assert not out.any()
    with seeded(0):
        again = DiT(2, (2, 2), width=24, depth=2, heads=2, ports=PORTS)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_port_is_heard_and_its_null_stands_for_absent(port: str, rank: int) -> None:
    net, size = small(rank, (port,)), SIZES[rank]
    x, cond = draw(2, 2, *size), conditions((port,), size)
    out = call(net, x, T, cond)
    assert out.shape == x.shape and out.isfinite().all()
    null = net.ports[port].null
    assert null is not None
    absent = {port: Condition(null.to(cond[port].value.dtype).expand_as(cond[port].value), cond[port].mask)}
    assert (call(net, x, T, absent) - out).abs().max() > 1e-4
    with pytest.raises(InputError, match=f"condition '{port}': got nothing"):
        call(net, x, T)


@pytest.mark.parametrize("port", ["text", "memory"])
def test_tokens_that_do_not_count_change_nothing(port: str) -> None:
    net, x = small(2, (port,)), draw(2, 2, 4, 6)
    cond = conditions((port,), (4, 6))[port]
    assert cond.mask is not None
    other = torch.where(cond.mask[..., None], cond.value, 99.0)
    out = call(net, x, T, {port: cond})
    torch.testing.assert_close(call(net, x, T, {port: Condition(other, cond.mask)}), out, rtol=0, atol=1e-12)
    assert (call(net, x, T, {port: Condition(other)}) - out).abs().max() > 1e-4
    # The first sample has two tokens that count: alone with just those it is the same.
    one = call(net, x[:1], T[:1], {port: Condition(cond.value[:1, :2])})
    torch.testing.assert_close(one, out[:1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"norm": "rms"}, {"qk_norm": "rms"}, {"qk_norm": "layer"}, {"pos": "rope"}], ids=str
)
def test_options_change_the_function_and_survive_config(options: dict[str, Any]) -> None:
    x = draw(2, 2, 4, 6)
    net = small(2, **options)
    out = call(net, x, T)
    assert (out - call(small(2), x, T)).abs().max() > 1e-4
    again = DiT.from_config(net.config()).double()
    again.load_state_dict(net.state_dict())
    assert torch.equal(call(again, x, T), out)


def test_rope_sees_distances_only() -> None:
    """Moving the whole grid by one token leaves attention alone, so a one-block net of a shifted state is shifted."""
    net = small(1, pos="rope", patch=(1,))
    pos = torch.arange(8.0)[:, None]
    q, k = draw(2, 2, 8, 12, key="q"), draw(2, 2, 8, 12, key="k")
    rope = net.blocks[0].rope
    assert rope is not None
    near, far = (rope(q, pos + s) @ rope(k, pos + s).transpose(2, 3) for s in (0, 5))
    torch.testing.assert_close(near, far, rtol=0, atol=1e-6)
    assert (near - q @ k.transpose(2, 3)).abs().max() > 1e-2


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("ports", [(), ("label", "text", "memory")])
def test_equal_times_everywhere_are_one_time(rank: int, ports: tuple[str, ...]) -> None:
    net, size = small(rank, ports), SIZES[rank]
    x, cond = draw(2, 2, *size), conditions(ports, size)
    whole = call(net, x, T, cond)
    column = T.reshape(2, 1, *(1,) * rank)
    for t in (column, column.expand(2, 1, *size), column.expand(2, 1, size[0], *(1,) * (rank - 1))):
        torch.testing.assert_close(call(net, x, t, cond), whole, rtol=0, atol=1e-6)
    shared = torch.full((1, 1, *size), 0.3, dtype=torch.float64)
    torch.testing.assert_close(call(net, x, shared, cond)[:1], whole[:1], rtol=0, atol=1e-6)


def test_a_token_has_the_largest_time_of_its_cells() -> None:
    net, x = small(2), draw(1, 2, 4, 4)
    t = torch.full((1, 1, 4, 4), 0.2, dtype=torch.float64)
    t[..., 0, 1], t[..., 3, 2] = 0.9, 0.5
    patches = torch.tensor([[0.9, 0.2], [0.2, 0.5]], dtype=torch.float64)
    whole = patches.repeat_interleave(2, 0).repeat_interleave(2, 1)[None, None]
    assert torch.equal(call(net, x, t), call(net, x, whole))
    assert not torch.equal(call(net, x, t), call(net, x, t.amin(dim=(2, 3), keepdim=True)))


def test_times_it_cannot_take_are_refused_by_name() -> None:
    x = draw(1, 2, 2, 4, 6)
    net = small(3, time_axes=("t",))
    frames = torch.tensor([0.1, 0.5], dtype=torch.float64).reshape(1, 1, 2, 1, 1)
    assert call(net, x, frames).isfinite().all()
    with pytest.raises(InputError, match="time axes: got h; accepted: t"):
        call(net, x, torch.rand(1, 1, 2, 4, 1))
    with pytest.raises(InputError, match="one time a sample"):
        call(small(3, time_axes=()), x, frames)
    with pytest.raises(InputError, match="time: got shape"):
        call(net, x, torch.rand(1, 2))


def test_a_size_the_patch_does_not_divide_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"size of axis 'h': got 5; .*multiple of the patch 2; nearest: 4 or 6"):
        call(small(2), draw(1, 2, 5, 4), T[:1])
    with pytest.raises(InputError, match=r"size of axis 'w': got 1; .*nearest: 2"):
        call(small(2), draw(1, 2, 4, 1), T[:1])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"heads": 5}, "width"),
        ({"width": 6, "heads": 2}, "width"),
        ({"pos": "rope", "ports": {"memory": PORTS["memory"]}}, "pos"),
        ({"pos": "sine"}, "pos"),
        ({"norm": "layr"}, "norm"),
        ({"qk_norm": "l2"}, "qk_norm"),
        ({"patch": (2, 2, 2, 2)}, "patch"),
        ({"ports": {"a": {"kind": "labl", "classes": 2}}}, "port 'a'"),
        ({"ports": {"a": {"kind": "label"}}}, "port 'a'"),
        ({"ports": {"a": {"classes": 3}}}, "port 'a'"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        DiT(2, **{"patch": (2, 2), "width": 24, "depth": 1, "heads": 2, **change})
    assert caught.value.field == field


def test_extra_channels_double_the_output() -> None:
    assert call(small(prediction=Prediction("epsilon", "learned_range")), draw(2, 2, 4, 6), T).shape == (2, 4, 4, 6)


class Record(Interceptor):
    def __init__(self) -> None:
        self.sites: list[str] = []
        self.kvs: list[tuple[str, int]] = []

    def around(self, ctx: Context, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        self.sites.append(ctx.path + kind)
        return fn(x, *rest)

    def kv(self, kind: str, kv: Any, ctx: Context) -> Any:
        self.kvs.append((ctx.path + kind, kv.k.shape[2]))
        return kv


def test_every_sub_layer_is_a_site_and_listening_changes_no_bit() -> None:
    ports = tuple(PORTS)
    net, x, cond = small(2, ports), draw(2, 2, 4, 6), conditions(ports, (4, 6))
    record = Record()
    assert torch.equal(call(net, x, T, cond, interceptor=record), call(net, x, T, cond))
    assert torch.equal(call(net, x, T, cond, interceptor=Interceptor()), call(net, x, T, cond))
    block = [f"blocks.{i}.{kind}" for i in range(2) for kind in ("attn", "cross", "mlp")]
    assert record.sites == ["embed", *block, "head"]
    assert record.kvs == [(f"blocks.{i}.{k}", n) for i in range(2) for k, n in (("attn", 6 + 3), ("cross", 3))]


def test_blocks_are_left_out_stopped_after_and_tapped() -> None:
    net, x = small(2), draw(2, 2, 4, 6)
    ctx = Context(tap_at=frozenset({0, 1}))
    with torch.no_grad():
        out = net(x, T, {}, ctx)
        first = net.head(out.taps[0], net.embed(x, T, {}, Context())[1], Context())
    assert torch.equal(call(net, x, T, stop_after=0), first)
    assert torch.equal(call(net, x, T, skip=frozenset({1})), first)
    assert not torch.equal(out.pred, first)


class Reuse(Interceptor):
    """Keeps every attention output for one more step, per branch: state that must not leak between runs."""

    def around(self, ctx: Context, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        if kind != "attn":
            return fn(x, *rest)
        keys = [ctx.key(kind, branch) for branch in ctx.lanes]
        if ctx.info.i % 2 and all(k in ctx.store for k in keys):
            return torch.cat([ctx.store[k] for k in keys])
        out = fn(x, *rest)
        ctx.store.update(zip(keys, out.chunk(len(keys)), strict=True))
        return out


def test_interleaved_runs_with_one_interceptor_equal_sequential_ones() -> None:
    net, listener, process = small(2, ("label",), prediction=Prediction("velocity")).float(), Reuse(), LinearFlow()
    spec, times = LatentSpec("b c h w", (2, 4, 6)), uniform(6)

    def start(seed: int, interceptors: tuple = (listener,)):
        cond = {"label": Condition(torch.tensor([seed, 2]))}
        # Guidance acts in part of the run only, so that branches come and go.
        guide = ClassifierFree(3.0, interval=(0.3, 0.8))
        denoise = Denoiser(net, process, cond, guidance=guide, interceptors=interceptors)
        return stream(denoise, heun(), spec, times, Keyed([seed, seed + 10]))

    alone = [[s.x for s in start(seed)] for seed in (0, 1)]
    mixed: list[list[Tensor]] = [[], []]
    for a, b in zip(start(0), start(1), strict=True):
        mixed[0].append(a.x)
        mixed[1].append(b.x)
    for one, other in zip(alone, mixed, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(one, other, strict=True))
    # The listener does act, or the test says nothing.
    *_, plain = start(0, ())
    assert not torch.equal(plain.x, alone[0][-1])


class Graphs:
    """A compiler back end that counts graphs and runs them as they are."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, module: torch.fx.GraphModule, inputs: Any) -> Callable:
        self.count += 1
        return module.forward


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_the_whole_network_is_one_graph_over_all_steps(fresh_compiler) -> None:
    ports, backend = ("label", "text"), Graphs()
    net, x, cond = small(2, ports), draw(2, 2, 4, 6), conditions(("label", "text"), (4, 6))
    expected = [call(net, x, T * f, cond) for f in (1.0, 0.5, 0.1)]
    net.compile(backend=backend, fullgraph=True)
    for f, out in zip((1.0, 0.5, 0.1), expected, strict=True):
        torch.testing.assert_close(call(net, x, T * f, cond), out, rtol=0, atol=1e-12)
    assert backend.count == 1


def test_blocks_compiled_apart_share_one_graph(fresh_compiler) -> None:
    backend = Graphs()
    with seeded(0):
        net = awake(DiT(2, (2, 2), width=24, depth=12, heads=2)).double()
    x = draw(2, 2, 4, 6)
    expected = call(net, x, T)
    for block in net.blocks:
        block.compile(backend=backend, fullgraph=True)
    for _ in range(3):
        torch.testing.assert_close(call(net, x, T), expected, rtol=0, atol=1e-12)
    assert backend.count == 1
    # With a listener the eager blocks run: nothing is traced again.
    assert torch.equal(call(net, x, T, interceptor=Record()), expected)
    assert backend.count == 1


def test_forward_derivatives_pass_the_math_attention() -> None:
    net, x, v = small(2, ("label",), qk_norm="rms"), draw(1, 2, 4, 4), draw(1, 2, 4, 4, key="v")
    cond = {"label": Condition(torch.tensor([2]))}

    def f(state: Tensor) -> Tensor:
        return net(state, T[:1], cond, Context(attention="math")).pred

    out, slope = torch.func.jvp(f, (x,), (v,))
    h = 1e-5
    with torch.no_grad():
        torch.testing.assert_close(slope, (f(x + h * v) - f(x - h * v)) / (2 * h), rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(out, call(net, x, T[:1], cond), rtol=0, atol=1e-12)


def test_a_trained_position_table_is_a_parameter_of_one_grid() -> None:
    net = DiT(1, (2, 2), width=16, depth=1, heads=2, pos="table", grid=(2, 3))
    again = DiT.from_config(json.loads(json.dumps(net.config())))
    again.load_state_dict(net.state_dict())
    with torch.no_grad():
        nn.init.normal_(net.final.weight)
        nn.init.normal_(net.table)
    x, t = torch.zeros(1, 1, 4, 6), torch.zeros(1)
    still = net(x, t, {}, Context()).pred
    with torch.no_grad():
        net.table += net.table.flip(0)
    assert not torch.allclose(net(x, t, {}, Context()).pred, still)
    with pytest.raises(InputError, match="size: got a grid of"):
        net(torch.zeros(1, 1, 6, 4), t, {}, Context())
    with pytest.raises(InputError, match="grid"):
        DiT(1, (2, 2), width=16, depth=1, heads=2, pos="table")
    with pytest.raises(InputError, match="grid"):
        DiT(1, (2, 2), width=16, depth=1, heads=2, grid=(2, 3))
