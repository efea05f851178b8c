"""The first-block gate against arithmetic one can follow."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gencore.backbone import Block, run_blocks
from gencore.context import Context, StepInfo
from gencore.errors import InputError
from gencore.interceptors.first_block import FirstBlock
from gencore.samplers.masked import MaskedAncestral
from gencore.stream import Hidden, Mod, Stream

MOD = Mod(torch.zeros(1, 1), torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))


class Adds(Block):
    """x <- x + f(step, row, k)."""

    def __init__(self, k: int, amounts: Tensor, log: list[tuple[int, int]]) -> None:
        super().__init__()
        self.k, self.amounts, self.log = k, amounts, log

    def forward(self, h: Hidden, mod: Mod, ctx: Context) -> Hidden:
        self.log.append((ctx.info.i, self.k))
        return {"x": h["x"]._replace(x=h["x"].x + self.amounts[ctx.info.i, :, self.k, None, None])}


def walk(cache: FirstBlock | None, amounts: Tensor, lanes: tuple[str, ...] = ("cond",)
         ) -> tuple[Tensor, list[int], dict[tuple[str, ...], Any]]:  # fmt: skip
    """Outputs (steps, rows), blocks run in each step, and the store; `amounts` (steps, rows, blocks) are added."""
    log: list[tuple[int, int]] = []
    blocks = nn.ModuleList(Adds(k, amounts, log) for k in range(amounts.shape[2]))
    store: dict[tuple[str, ...], Any] = {}
    outs = []
    for i in range(len(amounts)):
        ctx = Context(StepInfo(i, len(amounts)), interceptor=cache, store=store, lanes=lanes)
        x = torch.full((amounts.shape[1], 1, 1), 10.0 * i, dtype=torch.float64)
        outs.append(run_blocks(blocks, {"x": Stream(x)}, MOD, ctx)["x"].x[:, 0, 0])
    return torch.stack(outs), [sum(step == i for step, _ in log) for i in range(len(amounts))], store


def drift(first: list[float]) -> Tensor:
    """One row, whose first block adds `first` and whose two others add 1 and 2 more every step."""
    i = torch.arange(len(first), dtype=torch.float64)
    return torch.stack([torch.tensor(first, dtype=torch.float64), 1 + i, 2 + i], dim=1)[:, None]


def test_others_are_skipped_while_the_first_hardly_changes() -> None:
    amounts = drift([1.0, 1.04, 1.09, 1.2, 1.2])
    out, ran, _ = walk(FirstBlock(0.1), amounts)
    # 1.09 is within a tenth of the computed 1.0; 1.2 is not, and then stands itself.
    assert ran == [3, 1, 1, 3, 1]
    kept = [3, 3, 3, 9, 9]
    wanted = [
        10 * i + first + rest for i, (first, rest) in enumerate(zip([1.0, 1.04, 1.09, 1.2, 1.2], kept, strict=True))
    ]
    torch.testing.assert_close(out[:, 0], torch.tensor(wanted, dtype=torch.float64))


def test_it_compares_with_the_computed_call_and_not_with_the_last() -> None:
    # Each step changes by 4 percent, so that a comparison with the step before would never compute.
    _, ran, _ = walk(FirstBlock(0.1), drift([1.04**i for i in range(7)]))
    assert ran == [3, 1, 1, 3, 1, 1, 3]


def test_no_threshold_changes_nothing_and_ends_are_computed() -> None:
    amounts = drift([1.0] * 6)
    plain, _, _ = walk(None, amounts)
    out, ran, _ = walk(FirstBlock(0), amounts)
    assert torch.equal(out, plain) and ran == [3] * 6
    _, ran, _ = walk(FirstBlock(0.1, warmup=2, after=4), amounts)
    assert ran == [3, 3, 1, 1, 3, 3]


def test_a_sample_does_not_depend_on_its_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    amounts = 1 + 0.06 * torch.randn(12, 5, 3, generator=generator, dtype=torch.float64).cumsum(0)
    batch, together, _ = walk(FirstBlock(0.15), amounts)
    alone = [walk(FirstBlock(0.15), amounts[:, row : row + 1]) for row in range(5)]
    assert torch.equal(batch, torch.cat([out for out, _, _ in alone], dim=1))
    # They do decide differently, and the batch computes where any of them does.
    own = torch.tensor([ran for _, ran, _ in alone])
    assert len(own.unique(dim=0)) > 1
    assert together == own.amax(0).tolist()
    guided, ran, _ = walk(FirstBlock(0.15), amounts[:, :4], ("cond", "uncond"))
    assert torch.equal(guided, batch[:, :4]) and len(ran) == 12


def test_what_it_did_is_reported() -> None:
    cache = FirstBlock(0.1)
    _, _, store = walk(cache, drift([1.0, 1.04, 1.09, 1.2, 1.2]))
    told = cache.report(store)
    assert (told["computed"], told["answered"], told["steps"]) == (2, 3, [0, 3])
    # The rest was 3 where 9 was computed at step 3.
    assert told["error"] == pytest.approx(6 / 9)
    assert told["bytes"] == 2 * 8


def test_an_error_nobody_could_measure_is_not_told_as_a_number() -> None:
    """Every step after the first is answered, so that nothing is computed to compare an answer with."""
    cache = FirstBlock(10)
    _, ran, store = walk(cache, drift([1.0] * 4))
    with pytest.warns(UserWarning, match="MaskedAncestral draws noise .* nothing was computed later") as told:
        assert cache.report(store, MaskedAncestral())["error"] is None
    assert ran == [3, 1, 1, 1] and "nan" not in str(told[0].message)


@pytest.mark.parametrize(
    ("settings", "told"), [({"threshold": -0.1}, "threshold"), ({"warmup": -1}, "warmup"), ({"after": 1.5}, "after")]
)
def test_settings_out_of_range(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        FirstBlock(**settings)
