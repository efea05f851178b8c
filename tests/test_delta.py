"""Delta-DiT: which blocks run when, and what stands in for the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gencore.backbone import Block, run_blocks
from gencore.context import Context, StepInfo
from gencore.errors import InputError
from gencore.interceptors.delta_dit import DeltaDiT
from gencore.stream import Hidden, Mod, Stream
from gencore.testing.golden import PASS, check_case

SMALL = Path(__file__).parent / "golden_small" / "delta-dit"
MOD = Mod(torch.zeros(1, 1), torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))


class Adds(Block):
    """x <- x + step + k, and a second stream that only some blocks change."""

    def __init__(self, k: int, log: list[tuple[int, int]]) -> None:
        super().__init__()
        self.k, self.log = k, log

    def forward(self, h: Hidden, mod: Mod, ctx: Context) -> Hidden:
        self.log.append((ctx.info.i, self.k))
        y = h["y"]._replace(x=h["y"].x + 1) if self.k % 2 else h["y"]
        return {"x": h["x"]._replace(x=h["x"].x + ctx.info.i + self.k), "y": y}


def walk(cache: DeltaDiT, n: int, depth: int, start: int = 0, stop: int | None = None,
         rows: int = 1) -> tuple[list[Hidden], list[list[int]]]:  # fmt: skip
    """The streams after every step, and the blocks that ran in it."""
    log: list[tuple[int, int]] = []
    blocks = nn.ModuleList(Adds(k, log) for k in range(depth))
    store: dict[tuple[str, ...], Any] = {}
    outs = []
    for i in range(n):
        ctx = Context(StepInfo(i, n), interceptor=cache, store=store)
        x = torch.full((rows, 1, 1), 100.0 * i, dtype=torch.float64)
        outs.append(run_blocks(blocks, {"x": Stream(x), "y": Stream(x)}, MOD, ctx, start, stop))
    return outs, [[k for step, k in log if step == i] for i in range(n)]


@pytest.mark.parametrize("case", ["schedule_N3", "schedule_and_toy"])
def test_recorded_numbers(case: str) -> None:
    outcome = check_case(SMALL / case)
    assert outcome.status == PASS, outcome


@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("keep", ["both", "one"])
def test_every_block_runs_once_in_a_computed_step_whatever_the_ranges(blocks: int, keep: Any) -> None:
    _, ran = walk(DeltaDiT(2, 3, blocks, keep=keep), 7, 6)
    everything = list(range(6))
    assert ran[0] == ran[2] == ran[4] == ran[6] == everything
    assert ran[1] == everything[: 6 - blocks]
    # The switch is free where both deltas are at hand, and a computed step where they are not.
    front_missing = keep == "one" and blocks < 6
    assert ran[3] == (everything if front_missing else everything[blocks:])
    assert ran[5] == everything[blocks:]


def test_a_list_of_steps_stands_for_the_interval() -> None:
    _, ran = walk(DeltaDiT(steps=(0, 1, 4), switch=0, blocks=4), 6, 6)
    assert [len(blocks) for blocks in ran] == [6, 6, 2, 2, 6, 2]
    assert [len(blocks) for blocks in walk(DeltaDiT(), 4, 4)[1]] == [4, 1, 4, 1]
    with pytest.raises(InputError, match="steps: got a list with an interval"):
        DeltaDiT(2, steps=(0, 1))


def test_the_current_input_flows_through_a_skipped_range() -> None:
    outs, _ = walk(DeltaDiT(2, 0, 3), 2, 4)
    # Step 0 added 0 + 1 + 2 in the first three blocks; step 1 starts from 100 and computes block 3, which adds 1 + 3.
    assert outs[1]["x"].x.item() == 100 + 3 + 4
    # The second stream gained 1 in block 1 (kept) and 1 in block 3 (computed).
    assert outs[1]["y"].x.item() == 102
    stale, _ = walk(DeltaDiT(2, 0, 3, residual=False), 2, 4)
    assert stale[1]["x"].x.item() == 3 + 4


def test_a_forecast_delta_is_exact_where_deltas_are_lines() -> None:
    plain, _ = walk(DeltaDiT(1), 9, 4)
    flat, _ = walk(DeltaDiT(3, 5, 3), 9, 4)
    line, ran = walk(DeltaDiT(3, 5, 3, order=1), 9, 4)
    assert ran[4] == [0] and ran[5] == [3]
    for i in range(4, 9):
        assert line[i]["x"].x.item() == plain[i]["x"].x.item()
    assert flat[4]["x"].x.item() != plain[4]["x"].x.item()


def test_shares_of_the_run_and_of_the_stack() -> None:
    _, shares = walk(DeltaDiT(2, 0.5, 0.5), 8, 4)
    _, counts = walk(DeltaDiT(2, 4, 2), 8, 4)
    assert shares == counts


def test_a_rank_that_owns_some_blocks_skips_its_share() -> None:
    _, ran = walk(DeltaDiT(2, 4, 3), 8, 6, start=2, stop=5)
    assert ran[:2] == [[2, 3, 4], [2]]
    assert ran[4:6] == [[2, 3, 4], [3, 4]]


def test_another_shape_computes_anew() -> None:
    cache, store = DeltaDiT(4, 0, 2), {}
    log: list[tuple[int, int]] = []
    blocks = nn.ModuleList(Adds(k, log) for k in range(3))
    for i, rows in enumerate((1, 2, 2)):
        x = torch.zeros(rows, 1, 1)
        ctx = Context(StepInfo(i, 8), interceptor=cache, store=store)
        run_blocks(blocks, {"x": Stream(x), "y": Stream(x)}, MOD, ctx)
    assert [k for i, k in log if i == 1] == [0, 1, 2]
    assert [k for i, k in log if i == 2] == [2]


def test_blocks_that_add_streams_are_refused() -> None:
    class Grows(Block):
        def forward(self, h: Hidden, mod: Mod, ctx: Context) -> Hidden:
            return {**h, "skip": h["x"]}

    ctx = Context(StepInfo(0, 4), interceptor=DeltaDiT(2, 0, 1))
    with pytest.raises(InputError, match="add streams"):
        run_blocks(nn.ModuleList([Grows()]), {"x": Stream(torch.zeros(1, 1, 1))}, MOD, ctx)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"interval": 0}, "interval: got 0"),
        ({"order": -1}, "order: got -1"),
        ({"switch": -1}, "switch"),
        ({"blocks": 0}, "blocks"),
        ({"blocks": 2.5}, "blocks"),
        ({"keep": "all"}, "keep"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        DeltaDiT(**settings)


def test_the_memory_of_both_ranges_is_twice_that_of_one() -> None:
    sizes = {}
    for keep in ("one", "both"):
        cache, store = DeltaDiT(2, 3, 2, keep=keep), {}
        blocks = nn.ModuleList(Adds(k, []) for k in range(4))
        x: Tensor = torch.zeros(2, 5, 7)
        run_blocks(
            blocks, {"x": Stream(x), "y": Stream(x)}, MOD, Context(StepInfo(0, 6), interceptor=cache, store=store)
        )
        sizes[keep] = cache.report(store)["bytes"]
    # Both streams of 2 x 5 x 7 float32.
    assert sizes == {"one": 2 * 280, "both": 4 * 280}
