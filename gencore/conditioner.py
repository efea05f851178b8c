"""From a user's words to conditions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gencore.condition import Conditions


class Conditioner(ABC):
    """Turns words (``label=[3, 7]``) into conditions for generation, and dataset targets into conditions for training.

    Attributes:
        words: the words it reads; any other is refused before it is asked.
    """

    words: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        """The number of samples and their conditions.

        Args:
            words: what the user said; a missing word means "absent".
            count: the number of samples asked for, or None to let the words decide.

        Raises:
            InputError: a word out of range, or words and `count` that disagree.
        """

    @abstractmethod
    def targets(self, targets: Mapping[str, Tensor]) -> Conditions:
        """Conditions of a training batch; `targets` are collated dataset fields, (B, ...)."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """JSON arguments that build an equal conditioner."""


class Unconditional(Conditioner):
    """No condition at all."""

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        return (1 if count is None else count), {}

    def targets(self, targets: Mapping[str, Tensor]) -> Conditions:
        return {}

    def config(self) -> dict[str, Any]:
        return {}
