"""Environments by id, alone and vectorised, behind their mapping.

An id may name the module that registers it, ``my_package:MyArm-v0``; of ``gym_pusht/PushT-v0`` the package of that
name is imported when the id is not registered yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import gymnasium

import gencore_robot.envs  # noqa: F401
from gencore.errors import GencoreError, InputError, MissingDependency, nearest
from gencore_robot.wrappers.mapped import MappedVector
from gencore_robot.wrappers.mapping import EnvMapping

EXTRAS = {"gym_aloha": "gencore-robot[aloha]", "gym_pusht": "gencore-robot[pusht]"}


def registered(env_id: str) -> str:
    """`env_id` without its module, after importing what registers it.

    Raises:
        InputError: an id nothing registers.
        MissingDependency: its package is not installed.

    >>> registered("gencore/TwoWayReach-v0")
    'gencore/TwoWayReach-v0'
    """
    module, _, name = env_id.rpartition(":")
    space = name.partition("/")[0] if "/" in name else ""
    if not module and name not in gymnasium.registry and space.isidentifier():
        if find_spec(space):
            module = space
        elif space in EXTRAS:
            raise MissingDependency(space, f"the environment {name}", EXTRAS[space])
    if module:
        try:
            import_module(module)
        except (ImportError, TypeError, ValueError) as fault:
            raise InputError("--env", env_id, "an importable module before ':'", str(fault)) from fault
    if name not in gymnasium.registry:
        hint = nearest(name, gymnasium.registry) or "write package:Id-v0 to import the package that registers it"
        raise InputError("--env", env_id, "the id of a registered environment", hint)
    return name


def make(env_id: str, mapping: EnvMapping, arguments: Mapping[str, Any] | None = None, *,
         render_mode: str | None = None) -> gymnasium.Env:  # fmt: skip
    """The environment, its own observations and actions; `mapping` has been held against its spaces.

    Raises:
        InputError: an unknown id, arguments it does not take, or a mapping that does not fit.
    """
    settings = {**mapping.make, **(arguments or {})}
    if render_mode is not None:
        settings["render_mode"] = render_mode
    try:
        env = gymnasium.make(registered(env_id), **settings)
    except GencoreError:
        raise
    except (gymnasium.error.Error, TypeError, ValueError) as fault:
        raise _refused(env_id, settings, fault) from fault
    try:
        mapping.check(env.observation_space, env.action_space)
    except BaseException:
        env.close()
        raise
    return env


def make_vec(env_id: str, mapping: EnvMapping, count: int, arguments: Mapping[str, Any] | None = None, *,
             processes: bool = False) -> MappedVector:  # fmt: skip
    """`count` of them behind the mapping, in processes of their own where asked for or where the mapping needs it.

    Ended environments wait for a reset (gymnasium's mode "Disabled").

    Raises:
        InputError: as `make`, or `count` below 1.
    """
    if count < 1:
        raise InputError("--num-envs", count, "1 or more")
    settings = {**mapping.make, **(arguments or {})}
    mode = "async" if processes or (mapping.processes and count > 1) else "sync"
    disabled = gymnasium.vector.AutoresetMode.DISABLED
    try:
        name = registered(env_id)
        envs = gymnasium.make_vec(name, count, mode, vector_kwargs={"autoreset_mode": disabled}, **settings)
    except GencoreError:
        raise
    except (gymnasium.error.Error, TypeError, ValueError) as fault:
        raise _refused(env_id, settings, fault) from fault
    try:
        return MappedVector(envs, mapping)
    except BaseException:
        envs.close()
        raise


def _refused(env_id: str, settings: Mapping[str, Any], fault: Exception) -> InputError:
    said = ", ".join(f"{key}={value}" for key, value in settings.items()) or "no arguments"
    return InputError("--env", f"{env_id} with {said}", "what the environment takes", str(fault).splitlines()[0])
