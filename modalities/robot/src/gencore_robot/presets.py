"""Training presets: functions ``preset(data, *, steps, batch, seed) -> Training``.

``rdt-1b`` and ``rdt-170m`` are the published networks on tokens that were encoded beforehand (arXiv:2410.07864).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from gencore.nn.init import seeded
from gencore.processes.tables import TableProcess
from gencore.training.preset import Training
from gencore_robot.backbones.rdt import RDT, SIZES, STREAMS
from gencore_robot.importers.rdt import assemble
from gencore_robot.objective import ActionDenoising

DROP = {"frequency": 0.1, "indicator": 0.1, "state": 0.1, "language": 0.1}
"""Published rates of absent conditions; views are dropped by the objective, each on its own."""


def _published(size: str, data: Any, *, steps: int | None = None, batch: int | None = None, seed: int = 0
               ) -> Training:  # fmt: skip
    """AdamW at a constant 1e-4, batch 32, bf16; the published loss, which counts every slot.

    Conditions without a null of their own are never dropped: tokens of an encoder know no "absent".

    Args:
        data: episodes in the unified space, with `state`, `indicator`, `frequency`, `language` and `images`.
    """
    with seeded(seed):
        settings: dict[str, Any] = {**SIZES[size]}
        net = RDT(**settings, streams=STREAMS)
    process = TableProcess.named("squaredcos_cap_v2", 1000, single=True)
    drop = {name: rate for name, rate in DROP.items() if net.ports[name].null is not None}
    return Training(
        pipeline=assemble(net, process, card={}), objective=ActionDenoising(process, minimise="diluted"),
        steps=steps or 150_000, batch=batch or 32, seed=seed, lr=1e-4, drop=drop, precision="bf16",
    )  # fmt: skip


rdt_1b, rdt_170m = (partial(_published, size) for size in ("1b", "170m"))
