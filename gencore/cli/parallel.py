"""One request over the processes of torchrun: each makes an equal share of the samples, the first joins and writes.

    torchrun --nproc-per-node 2 -m gencore generate MODALITY -n 64 --seed 0 --parallel dp=2 -o out/

The result is that of one process with ``--batch`` at the size of a share, and the recipe says so.
"""

from __future__ import annotations

import os
import secrets
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gencore.errors import InputError

if TYPE_CHECKING:
    from gencore.generated import Generated
    from gencore.pipeline import Pipeline
    from gencore.request import Request


def ranks(text: str) -> int:
    """``dp=2`` as a number of processes."""
    axis, _, count = text.partition("=")
    if axis != "dp" or not count.isdecimal() or int(count) < 1:
        raise ArgumentTypeError(f"got {text}; accepted: dp=N")
    return int(count)


def rank() -> int:
    """The place of this process among those of torchrun; 0 alone."""
    return int(os.environ.get("RANK") or 0)


@contextmanager
def group(count: int) -> Iterator[None]:
    """Connect this process with the `count` - 1 others; one process needs none.

    Raises:
        InputError: torchrun started another number of processes.
    """
    import torch.distributed as dist

    started = int(os.environ.get("WORLD_SIZE") or 1)
    if started != count:
        raise InputError("--parallel", f"dp={count} in {started} process{'es' * (started > 1)}", f"dp={started}",
                         f"torchrun --nproc-per-node {count} -m gencore generate ... starts {count}")  # fmt: skip
    if count == 1:
        yield
        return
    dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def device(name: str, count: int) -> str:
    """The device of this process: with several, "auto" is a card of its own where there are cards."""
    import torch

    if name == "auto" and count > 1 and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return name


def drawn_seed() -> int:
    """A seed that every process of the group gets alike."""
    import torch
    import torch.distributed as dist

    seed = torch.tensor([secrets.randbelow(1_000_000)])
    if dist.is_initialized():
        dist.broadcast(seed, 0)
    return int(seed)


def share(whole: Request, count: int, batch: int | None) -> int:
    """The largest number of samples that a process makes at a time.

    Raises:
        InputError: the samples do not divide into shares, or a share not into batches.
    """
    total = len(whole.seeds)
    each, rest = divmod(total, count)
    if rest:
        near = " or ".join(str(n) for n in (each * count, (each + 1) * count) if n)
        raise InputError("n", total, f"a multiple of the {count} processes", f"nearest: {near}")
    if batch and batch < each and each % batch:
        raise InputError("batch", batch, f"a divisor of {each}, the samples of one process")
    return min(batch or each, each)


def generate(pipe: Pipeline, whole: Request, options: Mapping[str, Any], *, batch: int, count: int,
             callback: Callable[[Any], None]) -> Generated | None:  # fmt: skip
    """Make this process's samples of `whole` and join them in the first process; None in the others.

    Args:
        options: those that made `whole`, as `Pipeline.generate` takes them.
        batch: what `share` gave.
    """
    import torch
    import torch.distributed as dist

    from gencore.generated import Generated
    from gencore.recipe import content_hash

    total = len(whole.seeds)
    part = slice(rank() * total // count, (rank() + 1) * total // count)
    own = {k: v[part] if isinstance(v, list) and k in pipe.conditioner.words else v for k, v in options.items()}
    out = pipe.generate(**own | {"n": total // count, "seed": list(whole.seeds[part])}, batch=batch, callback=callback)
    spent = torch.tensor(out.timing["calls"], dtype=torch.float64)
    dist.reduce(spent, 0)
    parts = [torch.empty_like(out.tensor) for _ in range(count)] if rank() == 0 else None
    dist.gather(out.tensor.contiguous(), parts)
    if parts is None:
        return None
    tensor = torch.cat(parts)
    recipe = {**whole.recipe, "batch": batch, "result": content_hash(tensor)}
    timing = {"seconds": out.timing["seconds"], "calls": float(spent)}
    return Generated(tensor, pipe.modality.samples(tensor, pipe), whole.seeds, recipe, timing, pipe)
