"""Which items form which step: a pure function of (seed, step), so that resuming and more ranks change nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from gencore.errors import InputError
from gencore.noise import permutation


class StepBatches(Sampler[list[int]]):
    """Item indices of each step's share of the global batch, for steps `start` .. `stop` - 1.

    Every epoch is a permutation keyed by (seed, epoch); a batch may span two epochs, so none is short.  Rank r of R
    gets the r-th contiguous share of each batch.

    Args:
        items: size of the dataset.
        batch: the global batch size.
        seed: of the order.
        start, stop: steps to yield.
        rank, ranks: whose share.

    >>> list(StepBatches(3, 2, seed=0, start=1, stop=3)) == list(StepBatches(3, 2, seed=0, start=0, stop=3))[1:]
    True
    """

    def __init__(self, items: int, batch: int, *, seed: int, start: int = 0, stop: int, rank: int = 0,
                 ranks: int = 1) -> None:  # fmt: skip
        if items < 1:
            raise InputError("data", "0 items", "at least one")
        if batch % ranks:
            raise InputError("batch", f"{batch} over {ranks} ranks", f"a multiple of {ranks}")
        self.items, self.batch, self.seed, self.start, self.stop = items, batch, seed, start, stop
        self.share = slice(rank * batch // ranks, (rank + 1) * batch // ranks)

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, order = -1, np.empty(0, np.int64)
        for step in range(self.start, self.stop):
            indices = []
            for position in range(step * self.batch, (step + 1) * self.batch):
                if position // self.items != epoch:
                    epoch = position // self.items
                    order = permutation(self.seed, ("epoch", epoch), self.items)
                indices.append(int(order[position % self.items]))
            yield indices[self.share]
