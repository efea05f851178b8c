"""Patterns over frames in time: block-causal attention, and teacher forcing over clean and noisy frames."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gencore.errors import InputError
from gencore.patterns.base import Pattern, Slices, require_positions


@dataclass(frozen=True, slots=True)
class BlockCausal(Pattern):
    """Frames in blocks: a block sees itself and earlier blocks (arXiv:2412.07772, arXiv:2506.08009).

    Args:
        tokens: tokens per frame.
        block: frames per block.
        window: frames a query sees, counted back from the end of its own block; None sees all.
        first: frames of the first block where it differs (1 when a video continues one given image).
    """

    tokens: int
    block: int = 1
    window: int | None = None
    first: int | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "block", "first"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(name, value, "1 or more")
        longest = max(self.block, self.first or 0)
        if self.window is not None and self.window < longest:
            raise InputError("window", self.window, f"{longest} frames or more: a block sees itself")

    def check(self, queries: int, keys: int) -> None:
        require_positions("BlockCausal", keys, queries, keys)

    def _end(self, position: Tensor) -> Tensor:
        """Position after the last one of the block that `position` belongs to."""
        head, size = self._sizes()
        later = head + ((position - head) // size + 1) * size
        return later.where(position >= head, head)

    def _sizes(self) -> tuple[int, int]:
        return (self.block if self.first is None else self.first) * self.tokens, self.block * self.tokens

    def sees(self, b: Tensor, q: Tensor, k: Tensor) -> Tensor:
        end = self._end(q)
        allowed = k < end
        return allowed if self.window is None else allowed & (k >= end - self.window * self.tokens)

    def slices(self, queries: int, keys: int) -> Slices | None:
        self.check(queries, keys)
        head, size = self._sizes()
        pieces, start, offset = [], 0, keys - queries
        while start < keys:
            end = start + (size if start else head)
            if end > offset:
                oldest = 0 if self.window is None else max(end - self.window * self.tokens, 0)
                rows = slice(max(start - offset, 0), min(end, keys) - offset)
                pieces.append((rows, (slice(oldest, min(end, keys)),)))
            start = end
        return pieces


@dataclass(frozen=True, slots=True)
class TeacherForcing(Pattern):
    """The sequence [clean frames; noisy frames]: a noisy block sees itself and the clean blocks before it.

    Clean frames are block-causal among themselves and never see noisy ones (arXiv:2506.08009).

    Args:
        frames: clean frames, as many as noisy ones.
        tokens: tokens per frame.
        block: frames per block.
    """

    frames: int
    tokens: int
    block: int = 1

    def check(self, queries: int, keys: int) -> None:
        require_positions("TeacherForcing", 2 * self.frames * self.tokens, queries, keys)

    def sees(self, b: Tensor, q: Tensor, k: Tensor) -> Tensor:
        half, size = self.frames * self.tokens, self.block * self.tokens
        noisy_q, noisy_k = q >= half, k >= half
        block_q, block_k = q % half // size, k % half // size
        earlier = ~noisy_k & (block_k < block_q)
        return earlier | (noisy_q == noisy_k) & (block_q == block_k)

    def slices(self, queries: int, keys: int) -> Slices | None:
        self.check(queries, keys)
        if queries != keys:
            return None
        half, size = self.frames * self.tokens, self.block * self.tokens
        blocks = [(start, min(start + size, half)) for start in range(0, half, size)]
        clean: Slices = [(slice(start, end), (slice(0, end),)) for start, end in blocks]
        noisy: Slices = [(rows := slice(half + start, half + end), (slice(0, start), rows)) for start, end in blocks]
        return clean + noisy
