"""A whole observation: several conditioners side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from gencore import components
from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import InputError, unknown


class Observation(Conditioner):
    """The words of all `parts`, each on its own or as entries of the word ``observation``.

    Args:
        parts: each reads its own words and fills its own ports.

    Raises:
        InputError: two parts that read one word.

    >>> from gencore_robot.conditioning.lowdim import LowDim
    >>> both = Observation([LowDim("a", 1), LowDim("b", 2)])
    >>> count, c = both({"observation": {"a": [[1.0], [2.0]]}, "b": [5.0, 6.0]}, None)
    >>> count, c["b"].value.tolist()
    (2, [[[5.0, 6.0]], [[5.0, 6.0]]])
    """

    def __init__(self, parts: Sequence[Conditioner]) -> None:
        self.parts = list(parts)
        read = [word for part in self.parts for word in part.words]
        if twice := [word for word in read if read.count(word) > 1]:
            raise InputError("observation", f"'{twice[0]}' read by two parts", "one part a word")
        self.words = ("observation", *read)
        self.history = {word: n for part in self.parts for word, n in getattr(part, "history", {}).items()}
        """Words of which a part reads the last values of an episode, and how many."""

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        said = {word: value for word, value in words.items() if word != "observation"}
        inside = words.get("observation") or {}
        if not isinstance(inside, Mapping):
            raise InputError("observation", type(inside).__name__, f"a mapping of {', '.join(self.words[1:])}")
        for word in inside:
            if word not in self.words[1:]:
                raise unknown("observation", word, self.words[1:])
            if said.get(word) is not None:
                raise InputError("observation", f"'{word}' twice", "each once")
        said |= inside
        answers = [part(said, count) for part in self.parts]
        total = count or max([n for n, _ in answers], default=1)
        return total, {
            name: _expanded(name, condition, total) for _, found in answers for name, condition in found.items()
        }

    def targets(self, targets: Mapping[str, Tensor]) -> Conditions:
        return {name: condition for part in self.parts for name, condition in part.targets(targets).items()}

    def example(self, n: int) -> dict[str, Any]:
        """Words for `n` samples, of the parts that have some."""
        found = [getattr(part, "example", None) for part in self.parts]
        return {word: value for example in found if example for word, value in example(n).items()}

    def config(self) -> dict[str, Any]:
        return {"parts": [components.describe("conditioner", part) for part in self.parts]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Observation:
        return cls(**{**config, "parts": [components.build("conditioner", part) for part in config["parts"]]})


def _expanded(name: str, c: Condition, count: int) -> Condition:
    if len(c) == count:
        return c
    if len(c) > 1:
        raise InputError(name, f"{len(c)} samples", f"{count}, as the rest of the observation, or one for all")
    mask = None if c.mask is None else c.mask.expand(count, -1)
    return replace(c, value=c.value.expand(count, *c.value.shape[1:]), mask=mask)
