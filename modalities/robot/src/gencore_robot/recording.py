"""Demonstrations of a scripted expert, in the layout of ACT (arXiv:2304.13705): one HDF5 file an episode.

``observations/qpos`` (T, S), ``observations/env_state`` (T, E) where there is one, ``observations/images/<camera>``
(T, H, W, 3), ``action`` (T, A); attributes `instruction`, `sim`, `success` and `seed`, and `embodiment`, the content of
the robot's file, where the mapping names one.

With noise the environment gets actions beside the expert's while the file keeps the expert's own, so that a policy
learns the way back:

    n_{k+1} = 0.9 n_k + sqrt(1 - 0.81) noise e,   e ~ N(0, 1),   executed = action + n
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gencore.errors import InputError
from gencore_robot.environments import make
from gencore_robot.experts.library import find
from gencore_robot.recording_files import checked, note, opened, signature, write
from gencore_robot.wrappers.library import for_environment
from gencore_robot.wrappers.mapped import fitted
from gencore_robot.wrappers.mapping import EnvMapping

CORRELATION = 0.9
LONGEST = 10_000
"""Steps after which an episode of an environment without a time limit is given up."""


@dataclass(frozen=True)
class Recording:
    """What was recorded: files kept, and how many episodes were tried and failed, now and before."""

    folder: Path
    kept: int
    tried: int
    failed: int
    steps: int

    def as_data(self) -> dict[str, Any]:
        """JSON."""
        return {"folder": str(self.folder), "kept": self.kept, "tried": self.tried, "failed": self.failed,
                "steps": self.steps}  # fmt: skip


def record(
    env_id: str,
    expert: str,
    folder: str | Path,
    *,
    episodes: int,
    seed: int,
    mapping: EnvMapping | None = None,
    arguments: Mapping[str, Any] | None = None,
    instruction: str = "",
    noise: float = 0.0,
    keep_failures: bool = False,
    progress: Callable[..., None] | None = None,
) -> Recording:
    """Record until `episodes` files are kept, trying the seeds `seed`, `seed + 1`, ...; goes on where it was cut off.

    Args:
        expert: as `experts.library.find` takes it.
        folder: new, or one an equal call has begun.
        mapping: None for the packaged one of the environment.
        arguments: the environment is made with.
        instruction: kept with every episode; empty for what the mapping says.
        noise: see above, in the unit of the environment's actions.
        keep_failures: keep every episode; otherwise those alone that succeed.
        progress: told (kept, episodes).

    Raises:
        InputError: an unknown environment or expert, a folder with something else in it, an expert that fails on most
            seeds, an episode that does not end, or a value out of range.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError("--seed", seed, "0 or more")
    if episodes < 1:
        raise InputError("--episodes", episodes, "1 or more")
    if not (np.isfinite(noise) and noise >= 0):
        raise InputError("--noise", noise, "0 or more, in the unit of the actions")
    mapping, folder = for_environment(env_id) if mapping is None else mapping, Path(folder)
    begin, settings = find(expert)
    env = make(env_id, mapping, arguments)
    made = {"env": env_id, "expert": expert, "arguments": dict(arguments or {}), "noise": noise, "seed": seed,
            "mapping": signature(mapping), "instruction": instruction, "keep_failures": keep_failures}  # fmt: skip
    outcomes = opened(folder, made)
    try:
        kept = tried = failed = steps = 0
        current = seed
        while kept < episodes:
            path = folder / f"episode_{current:06d}.hdf5"
            length, success = outcomes.get(current, (0, False))
            if current not in outcomes or ((success or keep_failures) and not path.exists()):
                arrays, success = _episode(env, begin, settings, current, mapping, noise)
                length = len(arrays["action"])
                keep = checked(arrays, current) if success or keep_failures else None
                outcomes[current] = length, success
                # Before the file: a folder with a file and no log would be refused as something else's.
                note(folder, made, outcomes)
                if keep is not None:
                    write(path, keep, instruction, success, current, mapping.embodiment)
            tried, failed = tried + 1, failed + (not success)
            if success or keep_failures:
                kept, steps = kept + 1, steps + length
                if progress is not None:
                    progress(kept, episodes)
            elif failed > 20 + 4 * kept:
                raise InputError("--expert", f"{expert} succeeded on {kept} of {tried} seeds", "one in five at least",
                                 "--keep-failures keeps every episode")  # fmt: skip
            current += 1
    finally:
        env.close()
    return Recording(folder, kept, tried, failed, steps)


def _episode(env: Any, begin: Callable[..., Any], settings: Mapping[str, Any], seed: int, mapping: EnvMapping,
             noise: float) -> tuple[dict[str, Any], bool]:  # fmt: skip
    rng, shaken = np.random.default_rng((seed, 1)), np.random.default_rng((seed, 2))
    obs, _ = env.reset(seed=seed)
    try:
        inspect.signature(begin).bind(obs, rng, **settings)
    except TypeError as fault:
        raise InputError("--expert", dict(settings), "settings the expert takes", str(fault)) from fault
    act = begin(obs, rng, **settings)
    endless = env.spec is None or env.spec.max_episode_steps is None
    drift, rows, actions, success, ended = np.zeros(env.action_space.shape), [], [], False, False
    while not ended:
        if endless and len(actions) == LONGEST:
            raise InputError("--env", f"{LONGEST} steps of seed {seed} without an end", "one with a time limit",
                             "--env-args max_episode_steps=400 sets one")  # fmt: skip
        action = np.asarray(act(obs), np.float64)
        if action.shape != env.action_space.shape or not np.isfinite(action).all():
            raise InputError("--expert", f"an action of shape {action.shape}", f"finite {env.action_space.shape}")
        rows.append(mapping.words(obs))
        if mapping.limits:
            action = np.clip(action, env.action_space.low, env.action_space.high)
        actions.append(mapping.from_env(action))
        drift = CORRELATION * drift + np.sqrt(1 - CORRELATION**2) * noise * shaken.standard_normal(drift.shape)
        executed = fitted(mapping, mapping.from_env(action + drift), env.action_space)
        obs, _, terminated, truncated, info = env.step(executed)
        if mapping.success not in info:
            raise InputError(f"mapping '{mapping.name}': success", f"no '{mapping.success}' in info",
                             ", ".join(map(str, info)) or "an environment that tells success")  # fmt: skip
        success, ended = success or bool(info[mapping.success]), bool(terminated or truncated)
    return {**{word: [row[word] for row in rows] for word in rows[0]}, "action": actions}, success
