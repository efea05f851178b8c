"""The RDT network: what every part of it reads, what it ignores, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gencore import components
from gencore.condition import Condition
from gencore.context import Context, Interceptor
from gencore.denoised import Prediction
from gencore.errors import InputError
from gencore.nn.init import seeded
from gencore.processes.tables import TableProcess
from gencore.samplers.dpm_solver import DPMSolver
from gencore_robot.backbones.norms import VarianceNorm, norm
from gencore_robot.backbones.rdt import RDT, SIZES, STREAMS
from gencore_robot.backbones.streams import build_stream
from gencore_robot.backbones.tables import grid_table, sequence_table

SIZE: dict[str, Any] = {"width": 24, "depth": 4, "heads": 2, "horizon": 5, "slots": 6}
READS = {
    "language": {"dims": 7, "length": 8, "grid": [-8]},
    "images": {"dims": 3, "length": 12, "grid": [2, 3, -2]},
}
SHAPES = {"state": (1, 6), "indicator": (1, 6), "frequency": (), "language": (5, 7), "images": (12, 3)}


def network(**options: Any) -> RDT:
    with seeded(0):
        net = RDT(**{**SIZE, "streams": READS, **options})
        for p in net.parameters():
            p.data += 0.2 * torch.randn(p.shape)
    return net.eval()


def given_conditions(count: int = 2, seed: int = 1) -> dict[str, Condition]:
    g = torch.Generator().manual_seed(seed)
    cond = {name: Condition(torch.randn(count, *shape, generator=g)) for name, shape in SHAPES.items()}
    return {**cond, "indicator": Condition((cond["indicator"].value > 0).float()),
            "frequency": Condition(torch.tensor([25.0, 0.0, 50.0][:count]))}  # fmt: skip


def chunk(count: int = 2) -> Tensor:
    return torch.randn(count, 5, 6, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def output(net: RDT, cond: dict[str, Condition] | None = None, ctx: Context | None = None) -> Tensor:
    cond = given_conditions() if cond is None else cond
    count = len(cond["state"].value)
    return net(chunk(3)[:count], torch.tensor([3.0, 900.0, 50.0][:count]), cond, ctx or Context()).pred


def parameters(width: int, depth: int, heads: int, horizon: int, slots: int, streams: dict[str, Any]) -> int:
    """As the published layout lists them."""
    block = 10 * (width**2 + width) + 3 * width + 4 * width // heads
    embeddings = 2 * ((256 + 1) * width + width**2 + width) + (horizon + 3) * width
    adaptors = (2 * slots + 1) * width + 2 * (width**2 + width)
    for s in streams.values():
        adaptors += (s["dims"] + 1 + s["length"]) * width + width**2 + width
    return depth * block + embeddings + adaptors + width + width**2 + width + (width + 1) * slots


def test_the_published_sizes_have_the_published_number_of_parameters() -> None:
    assert sum(p.numel() for p in network().parameters()) == parameters(**SIZE, streams=READS)
    assert 1.2e9 < parameters(**SIZES["1b"], horizon=64, slots=128, streams=STREAMS) < 1.26e9
    assert 1.6e8 < parameters(**SIZES["170m"], horizon=64, slots=128, streams=STREAMS) < 1.75e8


# ---- norms


@given(st.floats(-3, 3), st.floats(0.5, 20))
@settings(max_examples=25, deadline=None)
def test_the_published_norm_divides_by_the_spread_and_keeps_the_mean(mean: float, spread: float) -> None:
    x = torch.tensor([-1.0, 0.0, 1.0, 2.0]).double()
    x = (x - x.mean()) / x.std() * spread + mean
    y = VarianceNorm(4).double()(x[None])[0]
    divisor = (spread**2 + 1e-6) ** 0.5
    assert y.std().item() == pytest.approx(spread / divisor) and y.mean().item() == pytest.approx(mean / divisor)
    rms = norm("rms", 4).double()(x[None])[0]
    assert rms.square().mean().item() == pytest.approx(1, abs=1e-4)


def test_norm_readings_are_chosen_by_name_everywhere() -> None:
    published, rms = network(), network(norm="rms")
    rms.load_state_dict(published.state_dict())
    assert (output(published) - output(rms)).abs().max() > 1e-2
    assert sum(isinstance(m, VarianceNorm) for m in published.modules()) == 4 * 7 + 1
    assert not any(isinstance(m, VarianceNorm) for m in rms.modules())
    with pytest.raises(InputError, match="timm_var"):
        network(norm="tim_var")


# ---- what reaches what


def residuals(net: RDT, cond: dict[str, Condition]) -> list[Tensor]:
    ctx = Context(tap_at=frozenset(range(4)))
    output(net, cond, ctx)
    return [ctx.taps[i]["x"].x for i in range(4)]


@pytest.mark.parametrize(("stream", "first"), [("language", 0), ("images", 1)])
def test_even_blocks_read_language_and_odd_ones_images(stream: str, first: int) -> None:
    net, cond = network(), given_conditions()
    other = {**cond, stream: Condition(cond[stream].value + 1)}
    same = [torch.equal(a, b) for a, b in zip(residuals(net, cond), residuals(net, other), strict=True)]
    assert same == [i < first for i in range(4)]
    assert [block.reads for block in net.blocks] == ["language", "images"] * 2  # type: ignore[union-attr]


def test_one_stream_is_read_by_all_blocks_and_none_by_no_block() -> None:
    only = network(streams={"language": READS["language"]})
    assert {block.reads for block in only.blocks} == {"language"}  # type: ignore[union-attr]
    none = network(streams={})
    cond = {n: c for n, c in given_conditions().items() if n not in READS}
    assert output(none, cond).isfinite().all() and not [n for n, _ in none.named_modules() if "cross" in n]


def test_masked_words_are_not_read_and_others_are() -> None:
    net, cond = network(), given_conditions()
    mask = torch.tensor([[True] * 3 + [False] * 2] * 2)
    language = cond["language"].value
    far = language.clone()
    far[:, 3:] += 9
    seen = [output(net, {**cond, "language": Condition(v, m)})
            for v, m in ((language, mask), (far, mask), (far, None), (language[:, :3], None))]  # fmt: skip
    assert torch.equal(seen[0], seen[1]) and not torch.allclose(seen[1], seen[2], atol=1e-3)
    torch.testing.assert_close(seen[0], seen[3], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_every_condition_reaches_the_actions(name: str) -> None:
    net, cond = network(), given_conditions()
    changed = 1 - cond[name].value if name == "indicator" else cond[name].value + 1
    assert (output(net, {**cond, name: Condition(changed)}) - output(net, cond)).abs().amax((1, 2)).min() > 1e-4


def test_tokens_come_in_the_published_order() -> None:
    net, cond = network(depth=1), given_conditions()
    ctx = Context()
    before, _ = net.embed(chunk(), torch.tensor([3.0, 9.0]), cond, ctx)
    for place, (t, name) in enumerate([(torch.tensor([4.0, 9.0]), ""), (None, "frequency"), (None, "state")]):
        other = cond if not name else {**cond, name: Condition(cond[name].value + 1)}
        after, _ = net.embed(chunk(), torch.tensor([3.0, 9.0]) if t is None else t, other, ctx)
        changed = (after["x"].x != before["x"].x).any(-1).any(0)
        assert changed.tolist() == [i == place for i in range(8)]


def test_a_sample_does_not_depend_on_its_batch() -> None:
    net, cond = network(), given_conditions(3)
    whole = output(net, cond)
    one = {name: Condition(c.value[:1]) for name, c in cond.items()}
    torch.testing.assert_close(output(net, one), whole[:1], atol=1e-5, rtol=1e-5)


def test_back_ends_agree() -> None:
    net = network()
    torch.testing.assert_close(output(net, ctx=Context(attention="math")), output(net), atol=1e-5, rtol=1e-5)


class Seen(Interceptor):
    def __init__(self) -> None:
        self.sites: list[str] = []

    def around(self, ctx: Context, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        self.sites.append(ctx.path + kind)
        return fn(x, *rest)


def test_every_sub_layer_is_a_site() -> None:
    seen, net = Seen(), network(depth=2)
    plain = output(net)
    assert torch.equal(output(net, ctx=Context(interceptor=seen)), plain)
    blocks = [f"blocks.{i}.{kind}" for i in range(2) for kind in ("attn", "cross", "mlp")]
    assert seen.sites == ["embed", *blocks, "head"]


def test_recomputing_blocks_changes_no_gradient() -> None:
    grads = []
    for on in (False, True):
        net = network()
        net.checkpointing = on
        assert net.checkpointing == on
        net(chunk(), torch.tensor([3.0, 900.0]), given_conditions(), Context()).pred.square().mean().backward()
        grads.append([p.grad for p in net.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


# ---- start


def test_training_starts_from_zero_and_from_sin_cos_tables() -> None:
    with seeded(0):
        net = RDT(**SIZE, streams=READS)
    assert not output(net).any()
    assert torch.equal(net.positions[0], sequence_table(5, 24))
    table = sequence_table(5, 24)
    assert torch.equal(table[3:, :12], table[3:4, :12].expand(5, 12)) and len(torch.unique(table, dim=0)) == 8
    assert torch.equal(grid_table((-8,), 24)[5], torch.tensor([0.0] * 12 + [1.0] * 12))


def test_configuration_builds_the_same_network() -> None:
    net = network(prediction=Prediction("epsilon"), norm="rms", state_adaptor="mlp1x_gelu")
    again = components.build("backbone", components.describe("backbone", net))
    again.load_state_dict(net.state_dict())
    assert torch.equal(output(again.eval()), output(net)) and again.config() == net.config()
    assert "state_adaptor.0.weight" in net.state_dict()
    assert "state_adaptor.weight" in network(state_adaptor="linear").state_dict()


# ---- encoders that train with it


def test_phrases_and_pictures_become_tokens() -> None:
    with seeded(0):
        words, views = (build_stream("s", s, 24) for s in (
            {"kind": "phrases", "rows": 3}, {"kind": "pictures", "views": 2, "cells": 2}))  # fmt: skip
    assert words(torch.tensor([0, 3])).shape == (2, 1, 24)
    pictures = torch.rand(2, 2, 3, 16, 20)
    tokens = views(pictures)
    assert tokens.shape == (2, 8, 24)
    pictures[:, 1] = 0
    changed = (views(pictures) != tokens).any(-1)
    assert not changed[:, :4].any() and changed[:, 4:].all()


# ---- refusals


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: network(width=25), "multiple of the 2 heads"),
        (lambda: network(state_adaptor="mlp0x_gelu"), "mlpNx_gelu"),
        (lambda: network(streams={"state": READS["language"]}), "another name"),
        (lambda: network(streams={"a": {"kind": "tables"}}), "phrases"),
        (lambda: network(streams={"a": {"dims": 3}}), "length"),
        (lambda: network(streams={"a": {"dims": 3, "length": 5, "grid": [2, 2]}}), "5 tokens"),
        (lambda: network(prediction=Prediction("x0", "drop")), "no further channels"),
    ],
)
def test_settings_that_do_not_fit_are_refused(make: Callable[[], RDT], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_inputs_that_do_not_fit_are_refused() -> None:
    net, cond = network(), given_conditions()
    for x, said in ((torch.zeros(2, 9, 6), r"\(B, 5, 6\)"), (torch.zeros(2, 5, 7), r"\(B, 5, 6\)")):
        with pytest.raises(InputError, match=said):
            net(x, torch.zeros(2), cond, Context())
    for name, tokens, said in (("images", 8, "accepted: 12"), ("language", 9, "at most 8")):
        with pytest.raises(InputError, match=said):
            output(net, {**cond, name: Condition(torch.zeros(2, tokens, READS[name]["dims"]))})
    with pytest.raises(InputError, match="'stat'"):
        output(net, cond | {"stat": cond["state"]})


# ---- the published times


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(1, [999]), (2, [999, 500]), (3, [999, 666, 333]), (5, [999, 799, 599, 400, 200])],
)
def test_open_spacing_gives_the_published_levels(steps: int, expected: list[int]) -> None:
    process = TableProcess.named("squaredcos_cap_v2", 1000, single=True)
    times = DPMSolver(spacing="open").times(process, "x0", steps)
    assert process.level(times[:-1]).tolist() == expected and times[-1] == 0
    assert TableProcess.from_config(process.config()).betas.equal(process.betas)


def test_spacings_are_named() -> None:
    with pytest.raises(InputError, match="levels or open"):
        DPMSolver(spacing="closed")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"1\.\.999"):
        DPMSolver(spacing="open").times(TableProcess.named(), "x0", 1000)
