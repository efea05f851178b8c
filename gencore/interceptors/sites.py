"""Sites: the sub-layers an interceptor acts on, by kind or by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from gencore.context import Context
from gencore.errors import InputError, nearest
from gencore.interceptors.schedules import items

WHOLE = ("block", "embed", "head")
"""Kinds that are no sub-layer of a block."""


@dataclass
class _Seen:
    """The names that a run's first step passed."""

    step: int
    names: set[str] = field(default_factory=set)
    checked: bool = False


class Sites:
    """Sub-layers whose kind (``attn``) or name (``blocks.3.attn``, ``blocks.*.mlp``) is listed; None: all in blocks.

    Args:
        patterns: kinds, names, or fnmatch patterns of names.

    Raises:
        InputError: an empty list.
    """

    def __init__(self, patterns: object = None) -> None:
        self.patterns = None if patterns is None else tuple(map(str, items(patterns)))
        if self.patterns == ():
            raise InputError("sites", "none", "kinds or names, as attn/mlp or blocks.3.attn")
        self._known: dict[str, bool] = {}

    def __contains__(self, name: str) -> bool:
        """Whether `name`, as ``blocks.3.attn``, is one of them.

        >>> "blocks.3.attn" in Sites("attn"), "head" in Sites(), "blocks.12.mlp" in Sites(["attn", "blocks.?.mlp"])
        (True, False, False)
        """
        if name not in self._known:
            self._known[name] = self._match(name)
        return self._known[name]

    def _match(self, name: str) -> bool:
        kind = name.rpartition(".")[2]
        if self.patterns is None:
            return kind not in WHOLE
        return any(pattern == kind or fnmatchcase(name, pattern) for pattern in self.patterns)

    def has(self, ctx: Context, kind: str, tag: str) -> bool:
        """Whether the call's sub-layer is one of them; `tag` names the interceptor in the run's store.

        Raises:
            InputError: at the second step, if some pattern fits no sub-layer of the first.
        """
        name = ctx.path + kind
        key = (ctx.request, "", "sites", tag)
        seen = ctx.store.get(key)
        if seen is None:
            seen = ctx.store[key] = _Seen(ctx.info.index)
        if ctx.info.index == seen.step:
            seen.names.add(name)
        elif not seen.checked:
            self.check(seen.names)
            seen.checked = True
        return name in self

    def check(self, names: set[str]) -> None:
        """Refuse a pattern that fits none of `names`.

        Raises:
            InputError: some pattern fits none; the text lists what there is.
        """
        for pattern in self.patterns or ():
            if not any(Sites(pattern)._match(name) for name in names):
                kinds = sorted({name.rpartition(".")[2] for name in names})
                listing = ", ".join([*kinds, *sorted(names - set(kinds), key=_order)])
                raise InputError("sites", f"'{pattern}'", listing, nearest(pattern, [*kinds, *names]))


def _order(name: str) -> list[tuple[bool, int, str]]:
    """blocks.2 before blocks.10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in name.split(".")]
