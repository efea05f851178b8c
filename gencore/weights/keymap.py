"""Strict renaming between checkpoint layouts: every name on either side is accounted for, or the import fails."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from gencore.errors import CheckpointError

Rule = tuple[str, str]


class Keymap:
    """Rules that rename the tensors of one layout into another's.

    >>> import torch
    >>> keys = Keymap([(r"blocks\\.(\\d+)\\.fc1\\.(weight|bias)", r"layers.\\1.up.\\2")], ignore={r"step": "a counter"})
    >>> list(keys.rename({"blocks.3.fc1.bias": torch.zeros(2), "step": torch.tensor(7)}))
    ['layers.3.up.bias']
    >>> keys.invert().rules
    [('layers\\\\.(\\\\d+)\\\\.up\\\\.(weight|bias)', 'blocks.\\\\1.fc1.\\\\2')]

    Args:
        rules: (regular expression, template) pairs; the first expression that matches a *whole* name decides, and
            ``\\1`` ... in the template stand for its groups.
        ignore: {regular expression: reason} for source names that are known and not needed (rebuilt buffers).
    """

    def __init__(self, rules: Sequence[Rule], ignore: Mapping[str, str] | None = None) -> None:
        self.rules = list(rules)
        self.ignore = dict(ignore or {})
        self._compiled = [(re.compile(pattern), template) for pattern, template in self.rules]

    def target(self, name: str) -> str | None:
        """The new name of `name`, or None when no rule matches it."""
        for pattern, template in self._compiled:
            if match := pattern.fullmatch(name):
                return match.expand(template)
        return None

    def unmatched(self, names: Iterable[str]) -> list[str]:
        """The names that no rule maps and no pattern ignores, in order; empty for a file of this layout."""
        return [name for name in names if not self._ignored(name) and self.target(name) is None]

    def rename(self, source: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`source` under its new names.

        Raises:
            CheckpointError: names without a rule, or two names that become one.
        """
        return self._rename(source, None, "")

    def apply(
        self, source: Mapping[str, Tensor], target_shapes: Mapping[str, Sequence[int]], hint: str = ""
    ) -> dict[str, Tensor]:
        """`source` under its new names, exactly the names and shapes of `target_shapes`.

        Args:
            target_shapes: {name: shape} the model needs.
            hint: what to try when it does not fit, for instance the importer that does.

        Raises:
            CheckpointError: lists unexpected and missing names and differing shapes, the first few and the number.
        """
        return self._rename(source, target_shapes, hint)

    def invert(self) -> Keymap:
        """The rules read from right to left, to write the other layout; ignored names do not come back.

        Raises:
            ValueError: a pattern is more than literal text and unnested groups, or a template drops or repeats one.
        """
        return Keymap([_invert(pattern, template) for pattern, template in self.rules])

    def _ignored(self, name: str) -> bool:
        return any(re.fullmatch(pattern, name) for pattern in self.ignore)

    def _rename(
        self, source: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]] | None, hint: str
    ) -> dict[str, Tensor]:
        unexpected = self.unmatched(source)
        renamed: dict[str, Tensor] = {}
        origin: dict[str, str] = {}
        clashes, differing = [], []
        for name, tensor in source.items():
            new = None if self._ignored(name) else self.target(name)
            if new is None:
                continue
            if shapes is not None and new not in shapes:
                unexpected.append(name)
            elif new in origin:
                clashes.append(f"{origin[new]} and {name} -> {new}")
            else:
                renamed[new], origin[new] = tensor, name
                if shapes is not None and tuple(tensor.shape) != tuple(shapes[new]):
                    differing.append(f"{name} {tuple(tensor.shape)} for {new} {tuple(shapes[new])}")
        missing = [name for name in shapes or () if name not in renamed]
        faults = {"unexpected": unexpected, "missing": missing, "differing shapes": differing, "one name": clashes}
        if told := "; ".join(f"{what}: {_first(names)}" for what, names in faults.items() if names):
            raise CheckpointError("checkpoint", f"weights of another layout ({told})", "a match of every name", hint)
        return renamed


def _first(names: Sequence[str], show: int = 4) -> str:
    more = len(names) - show
    return ", ".join(names[:show]) + (f" and {more} more" if more > 0 else "")


def _invert(pattern: str, template: str) -> Rule:
    """One rule reversed: groups keep their expressions, literal text swaps sides."""
    pieces = re.split(r"\(([^()]*)\)", pattern)
    literals, groups = [re.sub(r"\\(\W)", r"\1", text) for text in pieces[::2]], pieces[1::2]
    parts = re.split(r"\\(\d+)", template)
    order = [int(number) for number in parts[1::2]]
    plain = all(re.fullmatch(r"(?:\\\W|[^\\.^$*+?{}\[\]|()])*", text) for text in pieces[::2])
    if not plain or sorted(order) != list(range(1, len(groups) + 1)) or any(g.startswith("?") for g in groups):
        raise ValueError(f"rule {pattern!r} -> {template!r} has no unique inverse")
    back = "".join(
        re.escape(text) + (f"({groups[order[i] - 1]})" if i < len(order) else "") for i, text in enumerate(parts[::2])
    )
    forth = "".join(
        text.replace("\\", r"\\") + (f"\\{order.index(i + 1) + 1}" if i < len(groups) else "")
        for i, text in enumerate(literals)
    )
    return back, forth
