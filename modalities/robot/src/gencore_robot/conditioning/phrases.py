"""Instructions out of a fixed list, for networks that learn one token a phrase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import InputError, nearest
from gencore_robot.conditioning.values import repeated


def plain(phrase: object) -> str:
    """A phrase without its case and its outer and doubled blanks, which mean nothing."""
    return " ".join(str(phrase).lower().split())


class PhraseList(Conditioner):
    """The word ``instruction``: one of `phrases` (whatever its case and outer blanks), or one a sample; absent is the
    null phrase.

    Args:
        phrases: in the order of the network's rows.
        name: of the network's stream.

    >>> PhraseList(["go left", "go right"])({"instruction": "Go right "}, 2)[1]["language"].value.tolist()
    [1, 1]
    """

    words = ("instruction",)

    def __init__(self, phrases: Sequence[str], *, name: str = "language") -> None:
        self.phrases, self.name = list(phrases), name
        self._rows = {plain(phrase): i for i, phrase in enumerate(self.phrases)}
        if len(self._rows) < len(self.phrases) or not self.phrases:
            raise InputError("phrases", f"{len(self.phrases)} with {len(self._rows)} different", "different ones")

    def row(self, phrase: object) -> int:
        """Where `phrase` stands in the list.

        Raises:
            InputError: it does not.
        """
        if (said := plain(phrase)) not in self._rows:
            raise InputError("instruction", repr(phrase), "; ".join(self.phrases[:8]), nearest(said, self._rows))
        return self._rows[said]

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        said = words.get("instruction")
        if said is None:
            rows = torch.tensor([len(self.phrases)])
        else:
            rows = torch.tensor([self.row(p) for p in (said if isinstance(said, list | tuple) else [said])])
        rows = repeated("instruction", rows, count)
        return len(rows), {self.name: Condition(rows)}

    def targets(self, targets: Mapping[str, Any]) -> Conditions:
        return {self.name: Condition(torch.tensor([self.row(phrase) for phrase in targets["instruction"]]))}

    def example(self, n: int) -> dict[str, Any]:
        """Phrases for `n` samples."""
        return {"instruction": [self.phrases[i % len(self.phrases)] for i in range(n)]}

    def config(self) -> dict[str, Any]:
        return {"phrases": self.phrases, "name": self.name}
