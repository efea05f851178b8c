"""How many graphs torch.compile makes of a run: counts, no times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peer import Unequal
from torch import Tensor
from torch._dynamo.utils import counters

from gencore.context import Interceptor
from gencore.pipeline import Pipeline
from gencore.testing.tiny import tiny_pipeline

STEPS = 6


class Counting:
    """A compiler that runs the captured graph as it is and counts how many it was given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, example: list[Tensor]) -> Callable[..., Any]:
        self.graphs += 1
        return graph.forward


def measure(quick: bool) -> dict[str, Any]:
    """Graphs and graph breaks of two requests of `STEPS` steps each, at other labels, seeds and times.

    Raises:
        Unequal: a compiled pipeline is more than one graph, or traced again when time, label or seed change.
    """
    rows = {
        "network, nothing attached": _count(_network, ()),
        "network, interceptor attached": _count(_network, (Interceptor(),)),
        "each block, nothing attached": _count(_blocks, ()),
        "each block, interceptor attached": _count(_blocks, (Interceptor(),)),
        "attention and feed-forward, nothing attached": _count(_layers, ()),
        "attention and feed-forward, interceptor attached": _count(_layers, (Interceptor(),)),
    }
    for name, row in rows.items():
        print(f"{name}: {row['first']} graphs, {row['again']} more later, {row['breaks']} breaks", flush=True)
    if (whole := rows["network, nothing attached"]) != {"first": 1, "again": 0, "breaks": 0}:
        raise Unequal(f"a compiled network: {whole}, not 1 graph and none later")
    return rows


def _network(pipe: Pipeline, backend: Counting) -> None:
    pipe.backbone.compile(dynamic=True, backend=backend)


def _count(compile_: Callable[[Pipeline, Counting], object], interceptors: tuple[Interceptor, ...]) -> dict[str, int]:
    torch._dynamo.reset()
    counters.clear()
    pipe = tiny_pipeline()
    counting = Counting()
    compile_(pipe, counting)
    pipe.generate(n=2, seed=0, label=3, steps=STEPS, sampler="ddim", guidance=1, interceptors=interceptors)
    first = counting.graphs
    pipe.generate(n=2, seed=7, label=5, steps=STEPS + 1, sampler="ddim", guidance=1, interceptors=interceptors)
    return {"first": first, "again": counting.graphs - first, "breaks": sum(counters["graph_break"].values())}


def _blocks(pipe: Pipeline, backend: Counting) -> None:
    for block in _of(pipe):
        block.compile(backend=backend)


def _layers(pipe: Pipeline, backend: Counting) -> None:
    for block in _of(pipe):
        block.attn.compile(backend=backend)
        block.mlp.compile(backend=backend)


def _of(pipe: Pipeline) -> Any:
    return pipe.backbone.blocks
