"""Experts by name.

An expert is a function ``expert(obs, rng, **settings) -> act``: told the first observation of an episode, it returns a
function from observations to actions, both in the environment's own terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from gencore.errors import InputError, unknown
from gencore.settings import parse
from gencore_robot.experts.reach import reach, reach_velocity
from gencore_robot.experts.transfer_cube import transfer_cube
from gencore_robot.wrappers.source import entry, has

Act = Callable[[Mapping[str, Any]], np.ndarray]
Expert = Callable[[Mapping[str, Any], np.random.Generator], Act]


def _transfer_cube(obs: Mapping[str, Any], rng: np.random.Generator, jitter: float = 0.0) -> Act:
    if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter < math.inf:
        raise InputError("expert transfer-cube: jitter", jitter, "0 or more")
    plan = transfer_cube(entry(obs, "env_state"), rng, jitter)
    targets = iter(plan)
    return lambda obs: next(targets, plan[-1])


def _reach(go: Callable[..., np.ndarray], obs: Mapping[str, Any], rng: np.random.Generator) -> Act:
    drawn = int(rng.integers(2))
    side = int(entry(obs, "target")) if has(obs, "target") else drawn
    return lambda obs: go(entry(obs, "agent_pos"), entry(obs, "env_state"), side)


EXPERTS: dict[str, Callable[..., Act]] = {
    "transfer-cube": _transfer_cube, "reach": partial(_reach, reach), "reach-velocity": partial(_reach, reach_velocity),
}  # fmt: skip


def find(text: str) -> tuple[Callable[..., Act], dict[str, Any]]:
    """The expert of a name with settings, ``transfer-cube:jitter=0.01``, or of a ``package.module:function``.

    Raises:
        InputError: an unknown name, or a function that cannot be imported.

    >>> find("transfer-cube:jitter=0.01")[1]
    {'jitter': 0.01}
    """
    module, _, attribute = text.partition(":")
    if attribute.isidentifier():
        try:
            return getattr(import_module(module), attribute), {}
        except (ImportError, AttributeError, TypeError, ValueError) as fault:
            raise InputError("expert", text, "package.module:function", str(fault)) from fault
    settings = parse(text, "expert")
    name = settings.pop("type")
    if name not in EXPERTS:
        raise unknown("expert", name, EXPERTS)
    return EXPERTS[name], settings
