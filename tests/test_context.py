"""Sites and the block loop: who may listen, replace and skip, on a trunk whose arithmetic is plain to see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gencore.attend import KV, attend
from gencore.backbone import Block, run_blocks
from gencore.context import Chain, Context, Interceptor, Run, StepInfo
from gencore.stream import Hidden, Mod, Stream

MOD = Mod(torch.zeros(1, 1), torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))


class Times(Block):
    """x <- 10 x + k, so that the digits of the result list the blocks that ran."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, h: Hidden, mod: Mod, ctx: Context) -> Hidden:
        x = ctx.site("mlp", lambda v: 10 * v + self.k, h["x"].x)
        return {**h, "x": h["x"]._replace(x=x)}


BLOCKS = nn.ModuleList(Times(k) for k in (1, 2, 3, 4))


def run(ctx: Context, **bounds: int) -> int:
    h: Hidden = {"x": Stream(torch.zeros(1, 1, 1, dtype=torch.float64))}
    return int(run_blocks(BLOCKS, h, MOD, ctx, **bounds)["x"].x.item())


def test_all_a_range_without_some_and_up_to_one() -> None:
    assert run(Context()) == 1234
    assert run(Context(), start=1, stop=3) == 23
    assert run(Context(skip=frozenset({0, 2}))) == 24
    assert run(Context(stop_after=1)) == 12
    assert run(Context(stop_after=3), start=2, stop=3) == 3
    assert run(Context(stop_after=-1)) == 0


def test_taps_keep_what_a_block_left() -> None:
    ctx = Context(tap_at=frozenset({0, 2}), skip=frozenset({1}))
    run(ctx)
    assert {i: h["x"].x.item() for i, h in ctx.taps.items()} == {0: 1, 2: 13}


class Log(Interceptor):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def around(self, ctx: Context, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        self.log.append(f"{self.name} enters {ctx.path}{kind}")
        out = fn(x, *rest)
        self.log.append(f"{self.name} leaves")
        return out

    def kv(self, kind: str, kv: KV, ctx: Context) -> KV:
        self.log.append(f"{self.name} sees {kind}")
        return kv._replace(v=kv.v + 1)


def test_a_chain_nests_from_the_outside_in() -> None:
    log: list[str] = []
    ctx = Context(interceptor=Chain([Log("a", log), Log("b", log)]))
    assert run(ctx, stop=1) == 1
    assert log == ["a enters blocks.0.mlp", "b enters blocks.0.mlp", "b leaves", "a leaves"]
    assert ctx.path == ""


def test_keys_and_values_pass_every_interceptor() -> None:
    log: list[str] = []
    q = torch.randn(1, 1, 3, 2, generator=torch.Generator().manual_seed(0))
    both = attend(q, KV(q, q), ctx=Context(interceptor=Chain([Log("a", log), Log("b", log)])), kind="cross")
    torch.testing.assert_close(both, attend(q, KV(q, q)) + 2)
    assert log == ["a sees cross", "b sees cross"]


def test_a_range_is_replaced_with_its_streams_and_the_rest_runs() -> None:
    class Jump(Interceptor):
        def span(self, ctx: Context, run: Run, h: Hidden, start: int, stop: int) -> Hidden:
            assert (ctx.path, ctx.depth) == ("blocks.", 4)
            h = run(h, start, 1)
            assert ctx.path == "blocks."
            return run({"x": h["x"]._replace(x=h["x"].x * 100)}, 3, stop)

    class Twice(Interceptor):
        def span(self, ctx: Context, run: Run, h: Hidden, start: int, stop: int) -> Hidden:
            return run(run(h, start, stop), start, stop)

    assert run(Context(interceptor=Jump())) == 1004
    assert run(Context(interceptor=Chain([Interceptor(), Jump()]))) == 1004
    # The first of a chain is the outermost: it runs the second, whole, as often as it likes.
    assert run(Context(interceptor=Chain([Twice(), Jump()]))) == (10 * 1004 + 1) * 1000 + 4
    assert run(Context(interceptor=Chain([Jump(), Twice()]))) == 11 * 10000 + 44


def test_several_stacks_have_sites_of_their_own() -> None:
    log: list[str] = []
    ctx = Context(interceptor=Log("a", log))
    h: Hidden = {"x": Stream(torch.zeros(1, 1, 1))}
    run_blocks(BLOCKS, h, MOD, ctx, 2, 3, "decoder")
    assert log[0] == "a enters decoder.2.mlp"


def test_an_interceptor_may_answer_for_a_site_and_sees_its_input() -> None:
    class Answer(Interceptor):
        def around(self, ctx: Context, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
            return x + 7 if ctx.path == "blocks.2." else fn(x, *rest)

    assert run(Context(interceptor=Answer())) == (12 + 7) * 10 + 4


def test_keys_hold_request_branch_stage_and_place() -> None:
    ctx = Context(StepInfo(3, 9, "k2"), request="job", lanes=("cond", "uncond"))
    ctx.path = "blocks.1."
    assert ctx.key("attn", "uncond") == ("job", "uncond", "k2", "blocks.1.attn")
    with pytest.raises(AttributeError):
        ctx.notes = 1  # type: ignore[attr-defined]


def test_every_context_has_its_own_store_unless_given_one() -> None:
    shared: dict = {}
    assert Context().store is not Context().store
    assert Context(store=shared).store is shared
