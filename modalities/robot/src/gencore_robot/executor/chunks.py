"""Receding horizon: observe, predict a chunk, execute its first actions, predict again.

Every environment has its own queue.  Those that run out at one step are predicted in one batched call, so a vector
environment whose episodes end at different times costs no more calls than it must.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from gencore.errors import InputError
from gencore_robot.executor.ensemble import TemporalEnsemble
from gencore_robot.executor.episodes import Episodes
from gencore_robot.executor.hold import hold
from gencore_robot.executor.interpolate import substeps
from gencore_robot.executor.latency import Latency
from gencore_robot.executor.predictor import Predictor, PredictsChunks, length, rows
from gencore_robot.executor.safety import Clamp


class ChunkExecutor:
    """Turns chunks into one action per environment and step.

    Args:
        policy: has ``predict_chunk(obs) -> (B, H, A)``.
        count: B, the number of environments.
        execute: actions of a chunk to send before the next prediction; None sends all.
        ensemble: decay of `TemporalEnsemble`, which predicts at every step; None for none.
        autoreset: gymnasium's autoreset mode of the environments, ``env.metadata["autoreset_mode"]``.
        low, high: (A,) limits of actions; None for none.
        velocity: (A,) bool, slots that are velocities.
        max_step: largest move of each joint per step (`substeps`); moves beyond it take several steps.
        pose: reads the (B, A) present pose from an observation, so that `max_step` holds for the first action too.
        hz: control rate, to count the ticks that predictions cost.
        clock: seconds.

    >>> class Count:
    ...     def predict_chunk(self, obs):
    ...         return obs[:, None, :] + np.arange(3.0)[None, :, None]
    >>> executor = ChunkExecutor(Count(), execute=2)
    >>> [executor.act(np.array([[x]])).item() for x in (0.0, 10.0, 20.0)]
    [0.0, 1.0, 20.0]
    """

    def __init__(
        self,
        policy: PredictsChunks,
        count: int = 1,
        *,
        execute: int | None = None,
        ensemble: float | None = None,
        autoreset: Any = "Disabled",
        low: np.ndarray | float | None = None,
        high: np.ndarray | float | None = None,
        velocity: np.ndarray | None = None,
        max_step: np.ndarray | None = None,
        pose: Callable[[Any], np.ndarray] | None = None,
        hz: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if execute is not None and execute < 1:
            raise InputError("execute", execute, "1 or more actions of a chunk")
        if ensemble is not None and execute not in (None, 1):
            raise InputError("execute", f"{execute} with ensembling", "1: it predicts at every step")
        self.predictor, self.count, self.execute = Predictor(policy), count, execute
        self.ensemble = None if ensemble is None else TemporalEnsemble(ensemble)
        self.episodes = Episodes(count, autoreset)
        limited = low is not None or high is not None
        self.clamp = Clamp(np.asarray(-np.inf if low is None else low),
                           np.asarray(np.inf if high is None else high)) if limited else None  # fmt: skip
        self.velocity, self.max_step, self.pose = velocity, max_step, pose
        self.latency, self._clock = Latency(hz), clock
        self._queues: list[deque[np.ndarray]] = [deque() for _ in range(count)]
        self._moves: list[deque[np.ndarray]] = [deque() for _ in range(count)]
        self._last: list[np.ndarray | None] = [None] * count

    def reset(self, env_mask: np.ndarray | None = None) -> None:
        """Forget what was planned for the environments of `env_mask` ((B,) bool), or for all: they were reset."""
        mask = np.ones(self.count, bool) if env_mask is None else np.asarray(env_mask, bool)
        if mask.shape != (self.count,):
            raise InputError("env_mask", f"shape {mask.shape}", f"({self.count},), a flag per environment")
        self.episodes.reset(mask)
        self._forget(mask)

    def _forget(self, mask: np.ndarray) -> None:
        for i in np.flatnonzero(mask):
            self._queues[i].clear()
            self._moves[i].clear()
            self._last[i] = None
        self.predictor.window.forget(mask)
        if self.ensemble is not None:
            self.ensemble.reset(mask)

    def stepped(self, terminated: Any, truncated: Any) -> np.ndarray:
        """Tell what the step that followed `act` returned; returns the (B,) rows that begin an episode."""
        begun = self.episodes.step(np.atleast_1d(terminated), np.atleast_1d(truncated))
        self._forget(begun)
        return begun

    def act(self, obs: Any) -> np.ndarray:
        """The (B, A) actions for a batch of observations.

        Raises:
            InputError: as the policy does; a chunk shorter than `execute`; environments that ended and were not reset.
        """
        if (given := length(obs)) != self.count:
            raise InputError("observation", f"{given} rows", f"{self.count}, one per environment")
        self.episodes.check()
        told = self.predictor.window(obs)
        if self.ensemble is None:
            self._plan(told, self._empty())
        else:
            self._blend(told, self.ensemble)
        idle = self.episodes.idle
        width = next(len(part) for part in (*self._last, *(q[0] for q in self._queues if q)) if part is not None)
        present = None if self.pose is None or self.max_step is None else np.asarray(self.pose(obs), np.float64)
        out = np.zeros((self.count, width))
        for i in range(self.count):
            out[i] = self._rest(i, width) if idle[i] else self._next(i, None if present is None else present[i])
        if self.clamp is not None:
            out[~idle] = self.clamp(out[~idle])
        for i in np.flatnonzero(~idle):
            self._last[i] = out[i].copy()
        return out

    def _empty(self) -> np.ndarray:
        waits = [not q and not m for q, m in zip(self._queues, self._moves, strict=True)]
        return np.flatnonzero(np.array(waits) & ~self.episodes.idle)

    def _predict(self, obs: Any, chosen: np.ndarray) -> np.ndarray:
        began = self._clock()
        chunk = self.predictor(obs if len(chosen) == self.count else rows(obs, chosen), envs=chosen)
        self.latency.add(self._clock() - began)
        return chunk

    def _plan(self, obs: Any, chosen: np.ndarray) -> None:
        if not len(chosen):
            return
        chunk = self._predict(obs, chosen)
        if self.execute is not None and chunk.shape[1] < self.execute:
            raise InputError("execute", self.execute, f"1..{chunk.shape[1]}, the horizon of the policy")
        for i, actions in zip(chosen, chunk[:, : self.execute], strict=True):
            self._queues[i].extend(actions)

    def _blend(self, obs: Any, ensemble: TemporalEnsemble) -> None:
        action = ensemble.update(self._predict(obs, np.arange(self.count)))
        for i in np.flatnonzero(~self.episodes.idle):
            if not self._moves[i]:
                self._queues[i].append(action[i])

    def _next(self, i: int, present: np.ndarray | None) -> np.ndarray:
        if not self._moves[i]:
            target, before = self._queues[i].popleft(), self._last[i] if self._last[i] is not None else present
            limited = self.max_step is not None and before is not None
            self._moves[i].extend(substeps(before, target, self.max_step) if limited else [target])  # type: ignore[arg-type]
        return self._moves[i].popleft()

    def _rest(self, i: int, width: int) -> np.ndarray:
        last = self._last[i]
        return hold(np.zeros(width) if last is None else last, self.velocity)

    def report(self) -> dict[str, Any]:
        """Latencies, missed ticks, and what was clamped."""
        return {**self.latency.report(), "clamp": None if self.clamp is None else self.clamp.report()}
