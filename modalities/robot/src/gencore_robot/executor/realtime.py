"""Prediction beside control: a worker predicts while the control loop keeps its rate.

A chunk made from the observation of tick k starts at tick k; when it arrives d ticks later its first d actions are
past and are dropped.  With real-time chunking (arXiv 2506.07339) the policy is told the actions that will be
executed meanwhile, as the fixed prefix of its chunk, so that the new chunk continues the old one without a jerk.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from gencore.errors import InputError
from gencore_robot.executor.hold import hold
from gencore_robot.executor.latency import Latency
from gencore_robot.executor.predictor import Predictor, PredictsChunks, length
from gencore_robot.executor.safety import Clamp


class RealtimeExecutor:
    """One action a tick, never waiting for a prediction.

    Args:
        policy: has ``predict_chunk(obs) -> (B, H, A)``; with `freeze` it also takes ``prefix``.
        hz: control rate; `act` is called once a period.
        start: (B, A) sent until the first chunk arrives, for instance the present pose.
        again: ask for the next chunk once fewer than this many actions are left.
        freeze: tell the policy the actions that run during its prediction (real-time chunking).
        low, high: (A,) limits of actions.
        velocity: (A,) bool, slots that are velocities: they go to 0 on starvation, positions hold.
        clock: seconds.
        pool: runs predictions; a thread of its own by default.

    Use as a context manager, or call `close`.
    """

    def __init__(
        self,
        policy: PredictsChunks,
        hz: float,
        start: np.ndarray,
        *,
        again: int,
        freeze: bool = False,
        low: np.ndarray | float = -np.inf,
        high: np.ndarray | float = np.inf,
        velocity: np.ndarray | None = None,
        clock: Callable[[], float] = time.perf_counter,
        pool: Executor | None = None,
    ) -> None:
        if not hz > 0:
            raise InputError("hz", hz, "a rate above 0")
        if again < 1:
            raise InputError("again", again, "1 or more actions")
        self.predictor, self.hz, self.again, self.freeze = Predictor(policy), hz, again, freeze
        if freeze and "prefix" not in self.predictor.takes:
            raise InputError("freeze", type(policy).__name__, "a policy whose predict_chunk takes prefix=")
        self.clamp, self.velocity, self.latency = Clamp(np.asarray(low), np.asarray(high)), velocity, Latency(hz)
        self.starved = self.late = 0
        self._clock, self._own = clock, pool is None
        self._pool = pool or ThreadPoolExecutor(1, "predict")
        self._last = np.array(start, dtype=np.float64)
        self._queue = self._last[:, :0, None].repeat(self._last.shape[1], 2)
        self._future: Future[tuple[np.ndarray, float]] | None = None
        self._asked, self._frozen, self._ran, self._due = 0.0, 0, False, -math.inf

    def act(self, obs: Any) -> np.ndarray:
        """The (B, A) action of this tick; `obs` is what the next prediction sees, if one begins.

        Raises:
            InputError: as the policy does, at the tick after it did.
        """
        if (given := length(obs)) != len(self._last):
            raise InputError("observation", f"{given} rows", f"{len(self._last)}")
        told = self.predictor.window(obs)
        now = self._clock()
        if self._due > -math.inf:
            self.latency.missed += max(0, math.floor((now - self._due) * self.hz + 1e-6))
        self._due = now + 1 / self.hz
        if self._future is not None and self._future.done():
            self._arrive(self._future, now)
        if self._future is None and self._queue.shape[1] < self.again:
            self._ask(told, now)
        if self._queue.shape[1]:
            action, self._queue = self._queue[:, 0], self._queue[:, 1:]
        else:
            self.starved += 1
            action = hold(self._last, self.velocity)
        self._last = self.clamp(action)
        return self._last.copy()

    def first(self, obs: Any) -> int:
        """Wait for the first chunk of an episode, which then begins with its first action; returns its horizon H."""
        self.drop()
        told = self.predictor.window(obs, keep=False)
        chunk, seconds = self._pool.submit(self._timed, told, None).result()
        self.latency.add(seconds, blocking=False)
        self._last, self._queue = chunk[:, 0], chunk
        return chunk.shape[1]

    def _ask(self, obs: Any, now: float) -> None:
        # However fast the prediction is, the action of this tick still comes from the old plan.
        ahead = min(max(1, self.latency.ticks()), self._queue.shape[1]) if self.freeze else 0
        # What will run is what the limits leave of the plan.
        prefix = np.clip(self._queue[:, :ahead], self.clamp.low, self.clamp.high) if ahead else None
        self._asked, self._frozen, self._ran = now, ahead, self._queue.shape[1] > 0
        self._future = self._pool.submit(self._timed, obs, prefix)

    def _timed(self, obs: Any, prefix: np.ndarray | None) -> tuple[np.ndarray, float]:
        began = self._clock()
        return self.predictor(obs, envs=np.arange(len(self._last)), prefix=prefix), self._clock() - began

    def _arrive(self, future: Future[tuple[np.ndarray, float]], now: float) -> None:
        self._future = None
        chunk, seconds = future.result()
        self.latency.add(seconds, blocking=False)
        past = math.ceil((now - self._asked) * self.hz - 1e-6)
        self.late += int(self.freeze and past > self._frozen and self._ran)
        self._queue = chunk[:, past:]

    def reset(self, start: np.ndarray) -> None:
        """Begin anew from the pose `start` (B, A); a prediction under way is thrown away."""
        self.drop()
        self._last = np.array(start, dtype=np.float64)

    def drop(self) -> None:
        """Forget the plan and what was seen; a prediction under way is waited for: none runs beside the next one."""
        self.predictor.window.forget()
        if self._future is not None and not self._future.cancel():
            self._future.exception()
        self._future, self._due = None, -math.inf
        self._queue = self._queue[:, :0]

    def report(self) -> dict[str, Any]:
        """Latencies, missed and starved ticks, chunks later than their frozen prefix, and what was clamped."""
        told = {"starved_ticks": self.starved, "late_chunks": self.late, "clamp": self.clamp.report()}
        return {**self.latency.report(), **told}

    def close(self) -> None:
        """Stop the worker."""
        if self._own:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> RealtimeExecutor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
