"""Success of a policy in an environment over fresh seeds, and what it cost.

Episode k has the seed ``seed + k`` and every seed is played once, however many environments run side by side: one that
ends takes the next seed.  A pipeline's draws follow the seed of the episode, so that an episode depends neither on the
number of environments nor on its place among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import numpy as np

from gencore.errors import InputError
from gencore_robot.environments import make_vec
from gencore_robot.outcomes import Outcome, Rollout
from gencore_robot.runner import Runner, runner
from gencore_robot.wrappers.library import for_environment
from gencore_robot.wrappers.mapped import MappedVector
from gencore_robot.wrappers.mapping import EnvMapping


def rollout(
    policy: Any,
    env_id: str,
    *,
    episodes: int = 50,
    num_envs: int = 1,
    seed: int = 0,
    mapping: EnvMapping | None = None,
    arguments: Mapping[str, Any] | None = None,
    processes: bool = False,
    execute: int | None = None,
    max_steps: int | None = None,
    words: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    realtime: bool = False,
    progress: Callable[..., None] | None = None,
    watch: Callable[[MappedVector], None] | None = None,
) -> Rollout:
    """Play `episodes` episodes.

    Args:
        policy: a pipeline, or any object with ``predict_chunk(words) -> (B, H, A)``, which is told the observation in
            the words of the mapping.
        num_envs: environments side by side; one prediction serves all that need one.
        seed: of the first episode.
        mapping: None for the packaged one of the environment.
        arguments: the environments are made with.
        processes: each environment in a process of its own.
        execute: actions of a chunk before the next prediction; None for what a pipeline's card says under
            ``execute``, or the whole chunk.
        max_steps: an episode longer than this is cut; None leaves it to the environment.
        words: said with every prediction, for instance ``{"instruction": "left"}``.
        options: of `Pipeline.generate`: steps, sampler, ...
        realtime: predict beside control, which keeps the robot's rate, see `executor.paced.Paced`; one environment.
        progress: told (episodes ended, episodes, note).
        watch: told the environments after the first reset and after every step, to look at them.

    Raises:
        InputError: a value out of range, an unknown environment, a mapping that does not fit, `execute` beyond the
            horizon, a pipeline of another robot, or an environment that does not tell success.
    """
    _check(episodes, num_envs, seed, max_steps)
    if realtime and num_envs > 1:
        raise InputError("--num-envs", num_envs, "1 with --realtime: environments share the clock of one robot")
    mapping = for_environment(env_id) if mapping is None else mapping
    count = min(num_envs, episodes)
    envs = make_vec(env_id, mapping, count, arguments, processes=processes)
    try:
        played = runner(policy, envs, seed=seed, execute=execute, words=words, options=options, realtime=realtime)
        with closing(played):
            return _play(played, envs, env_id, range(seed, seed + episodes), max_steps, progress, watch)
    finally:
        envs.close()


def _check(episodes: int, num_envs: int, seed: Any, max_steps: int | None) -> None:
    for name, value in (("--episodes", episodes), ("--num-envs", num_envs), ("--max-steps", max_steps)):
        if value is not None and value < 1:
            raise InputError(name, value, "1 or more")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError("--seed", seed, "a whole number from 0 on: an unseeded figure cannot be made again")


def _play(runner: Runner, envs: MappedVector, env_id: str, seeds: range, max_steps: int | None,
          progress: Callable[..., None] | None, watch: Callable[[MappedVector], None] | None) -> Rollout:  # fmt: skip
    count, executor, waiting = envs.num_envs, runner.executor, iter(seeds)
    now = np.array([next(waiting) for _ in range(count)])
    nowhere, parked = np.zeros(count, bool), np.zeros(count, bool)
    total, steps, won = np.zeros(count), np.zeros(count, int), np.zeros(count, bool)
    outcomes: dict[int, Outcome] = {}
    trace: dict[str, list[np.ndarray]] = {"state": [], "action": []}
    obs, _ = envs.reset(seed=now.tolist())
    runner.begin(~nowhere, now)
    if watch is not None:
        watch(envs)
    while len(outcomes) < len(seeds):
        action = executor.act(obs)
        if now[0] == seeds[0] and not parked[0]:
            trace["action"].append(action[0])
            trace["state"] += [np.asarray(obs["state"][0])] if "state" in obs else []
        obs, reward, terminated, truncated, info = envs.step(action)
        if watch is not None:
            watch(envs)
        steps += 1
        total += np.where(parked, 0.0, reward)
        won |= _succeeded(info, envs.mapping)
        cut = nowhere if max_steps is None else steps >= max_steps
        done = np.asarray(terminated | truncated | cut, bool)
        for i in np.flatnonzero(done & ~parked):
            outcomes[int(now[i])] = Outcome(int(now[i]), bool(won[i]), float(total[i]), int(steps[i]))
            if progress is not None:
                progress(len(outcomes), len(seeds), f"{sum(one.success for one in outcomes.values())} succeeded")
        if not done.any() or len(outcomes) == len(seeds):
            executor.stepped(parked, nowhere)
            continue
        begun = np.zeros(count, bool)
        for i in np.flatnonzero(done & ~parked):
            following = next(waiting, None)
            parked[i], begun[i] = following is None, following is not None
            now[i] = now[i] if following is None else following
        total[done], steps[done], won[done] = 0.0, 0, False
        # A parked environment must stay steppable: it starts its last seed again, and nobody looks.
        obs, _ = envs.reset(seed=now.tolist(), options={"reset_mask": done})
        if begun.any():
            runner.begin(begun, now)
        executor.stepped(parked, nowhere)
    ordered = tuple(outcomes[one] for one in seeds)
    return Rollout(env_id, ordered, executor.report(), {key: np.array(rows) for key, rows in trace.items() if rows})


def _succeeded(info: Mapping[str, Any], mapping: EnvMapping) -> np.ndarray:
    if mapping.success not in info:
        there = ", ".join(key for key in info if not key.startswith("_"))
        raise InputError(
            f"mapping '{mapping.name}': success", f"no '{mapping.success}' in info", there or "a key of it"
        )
    return np.asarray(info[mapping.success], bool)
