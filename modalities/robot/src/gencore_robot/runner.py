"""A policy at the environments of a roll-out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gencore.errors import InputError
from gencore.pipeline import Pipeline
from gencore_robot.codec import ActionCodec
from gencore_robot.embodiments.embodiment import Embodiment, difference
from gencore_robot.executor.chunks import ChunkExecutor
from gencore_robot.executor.paced import Paced
from gencore_robot.layout import Layout
from gencore_robot.policy import Policy
from gencore_robot.robots import bound, executed
from gencore_robot.wrappers.mapped import MappedVector


class Runner:
    """A policy behind an executor.

    Args:
        executor: acts.
        policy: whose draws follow the seeds of the episodes; None for one without draws.
    """

    def __init__(self, executor: ChunkExecutor | Paced, policy: Policy | None) -> None:
        self.executor, self.policy = executor, policy

    def close(self) -> None:
        """Stop what runs beside control."""
        if isinstance(self.executor, Paced):
            self.executor.close()

    def begin(self, mask: np.ndarray, seeds: np.ndarray) -> None:
        """Begin episodes in the environments of `mask` (B,) bool; `seeds` (B,) are those of all."""
        if self.policy is None:
            self.executor.reset(mask)
        else:
            self.policy.reset(mask, seed=seeds.tolist())


def runner(policy: Any, envs: MappedVector, *, seed: int, execute: int | None, words: Mapping[str, Any] | None,
           options: Mapping[str, Any] | None, realtime: bool = False) -> Runner:  # fmt: skip
    """`policy` for these environments; arguments as `gencore_robot.rollout.rollout` takes them.

    Raises:
        InputError: words it does not read, options without a pipeline, or a pipeline of another robot.
    """
    mapping = envs.mapping
    robot = mapping.embodiment
    hz = robot.control_hz if robot is not None else envs.metadata.get("render_fps")
    bounds = mapping.bounds(envs.env.single_action_space)
    low, high = bounds or (None, None)
    # An executor told "NextStep" lets the rows rest that it is told have ended: those that have no seed left.
    how: dict[str, Any] = {"hz": hz, "low": low, "high": high}
    how |= {"velocity": _velocity(robot)} if realtime else {"autoreset": "NextStep"}
    if not isinstance(policy, Pipeline):
        if words or options:
            raise InputError("words" if words else "options", dict(words or options or {}), "none without a pipeline")
        return Runner((Paced if realtime else ChunkExecutor)(policy, envs.num_envs, execute=execute, **how), None)
    policy = _fitting(policy, robot)
    read = {*policy.conditioner.words, *policy.modality.words}
    space: Any = envs.single_observation_space
    offered = [word for word in mapping.observation if word in space.spaces]
    said = dict(words or {})
    for word in said:
        if word not in read:
            raise InputError(f"--{word}", said[word], f"a word this model reads: {', '.join(sorted(read))}")
    keys = {word: word for word in offered if word in read and word not in said}
    execute = executed(policy) if execute is None else execute
    made = Policy(policy, envs.num_envs, keys=keys, words=said, seed=seed, options=options, realtime=realtime,
                  execute=execute, **how)  # fmt: skip
    return Runner(made.executor, made)


def _velocity(robot: Embodiment | None) -> np.ndarray | None:
    return None if robot is None else Layout(robot.action, "action").velocity.numpy()


def _fitting(pipe: Pipeline, robot: Embodiment | None) -> Pipeline:
    """`pipe` in the units of the environment's robot."""
    if robot is None:
        return pipe
    if not isinstance(pipe.tokenizer, ActionCodec):
        return bound(pipe, robot)
    trained = pipe.tokenizer.embodiment
    if differs := difference(trained, robot):
        same = trained.name == robot.name
        raise InputError("--model", f"a policy of the robot '{trained.name}'" + (f" with {differs}" if same else ""),
                         f"one of '{robot.name}', the environment's")  # fmt: skip
    return pipe
