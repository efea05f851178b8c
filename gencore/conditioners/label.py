"""Class labels, as numbers or names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gencore.condition import Condition, Conditions
from gencore.conditioner import Conditioner
from gencore.errors import InputError, nearest


class Labels(Conditioner):
    """The word ``label``: an integer, a class name, or one per sample; absent means the network's null class.

    Args:
        classes: number of classes K; labels are 0..K-1.
        names: the class names, if they have any.
        null: whether the network learned "no label" (row K of its table).
    """

    words = ("label",)

    def __init__(self, classes: int, names: Sequence[str] | None = None, *, null: bool = True) -> None:
        if names is not None and len(names) != classes:
            raise InputError("names", f"{len(names)} names", f"{classes}, one a class")
        self.classes, self.names, self.null = classes, None if names is None else list(names), null

    def _index(self, label: object) -> int:
        text = str(label)
        if self.names and text in self.names:
            return self.names.index(text)
        if text.lstrip("-").isdecimal() and not isinstance(label, bool) and 0 <= int(text) < self.classes:
            return int(text)
        accepted = f"0..{self.classes - 1}" + (f" or a class name such as '{self.names[0]}'" if self.names else "")
        raise InputError("label", text, accepted, nearest(text, self.names or ()))

    def __call__(self, words: Mapping[str, Any], count: int | None) -> tuple[int, Conditions]:
        label = words.get("label")
        if label is None:
            if not self.null:
                raise InputError("label", "nothing", f"0..{self.classes - 1}; this network learned no null label")
            indices = [self.classes]
        elif isinstance(label, list | tuple | Tensor):
            indices = [self._index(item.item() if isinstance(item, Tensor) else item) for item in label]
        else:
            indices = [self._index(label)]
        count = len(indices) if count is None else count
        if len(indices) == 1:
            indices = indices * count
        if len(indices) != count:
            raise InputError("label", f"{len(indices)} labels for n={count}", "one label, or one a sample")
        return count, {"label": Condition(torch.tensor(indices))}

    def targets(self, targets: Mapping[str, Tensor]) -> Conditions:
        return {"label": Condition(targets["label"])}

    def config(self) -> dict[str, Any]:
        return {"classes": self.classes, "names": self.names, "null": self.null}
