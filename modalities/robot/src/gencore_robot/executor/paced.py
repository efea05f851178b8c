"""Real-time execution as the controller of a loop: ticks come at the control rate, predictions run beside them.

An episode begins once its first chunk is there; from then on nothing waits for a prediction, see `RealtimeExecutor`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import numpy as np

from gencore.errors import InputError
from gencore_robot.executor.predictor import Predictor, PredictsChunks
from gencore_robot.executor.realtime import RealtimeExecutor


class Paced:
    """One action a tick of 1 / `hz` seconds; `act` waits for its tick.

    What a policy does depends on how long its predictions take, so episodes cannot be made again bit by bit.

    Args:
        policy: has ``predict_chunk(obs) -> (B, H, A)``; if it takes `prefix`, chunks continue what runs meanwhile
            (real-time chunking), otherwise actions that are past when a chunk arrives are only dropped.
        count: B; all environments begin their episodes together.
        hz: control rate.
        execute: ticks between two predictions; None is half of the chunk.
        low, high, velocity: as `RealtimeExecutor` takes them.
        clock: seconds.
        sleep: waits for seconds.
        pool: runs predictions; a thread of its own by default.

    Raises:
        InputError: no control rate, or `execute` below 1.
    """

    def __init__(
        self,
        policy: PredictsChunks,
        count: int = 1,
        *,
        hz: float | None,
        execute: int | None = None,
        low: np.ndarray | float | None = None,
        high: np.ndarray | float | None = None,
        velocity: np.ndarray | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
        pool: Executor | None = None,
    ) -> None:
        if hz is None:
            raise InputError("realtime", "no control rate", "an embodiment, whose control_hz says it")
        if execute is not None and execute < 1:
            raise InputError("execute", execute, "1 or more actions of a chunk")
        self.execute, self._clock, self._sleep, self._due = execute, clock, sleep, -math.inf
        self._begins = True
        self.executor = RealtimeExecutor(
            policy, hz, np.zeros((count, 0)), again=1, freeze="prefix" in Predictor(policy).takes,
            low=-np.inf if low is None else low, high=np.inf if high is None else high, velocity=velocity,
            clock=clock, pool=pool,
        )  # fmt: skip

    def reset(self, env_mask: np.ndarray | None = None) -> None:
        """Forget what was planned: the next observation begins an episode.

        Raises:
            InputError: a mask of some environments, while others go on.
        """
        if env_mask is not None and not np.all(env_mask):
            raise InputError("env_mask", f"{int(np.sum(env_mask))} of {len(env_mask)}", "all: they share a clock")
        self.executor.drop()
        self._begins = True

    def stepped(self, terminated: Any, truncated: Any) -> np.ndarray:
        """(B,) False: the caller resets ended environments and says so."""
        return np.zeros(len(np.atleast_1d(terminated)), bool)

    def act(self, obs: Any) -> np.ndarray:
        """The (B, A) actions of this tick, waiting for it.

        Raises:
            InputError: as the policy does; a chunk shorter than `execute`.
        """
        if self._begins:
            horizon = self.executor.first(obs)
            execute = max(1, horizon // 2) if self.execute is None else self.execute
            if execute > horizon:
                raise InputError("execute", execute, f"1..{horizon}, the horizon of the policy")
            self.executor.again, self._begins, self._due = horizon - execute + 1, False, self._clock()
        elif (early := self._due - self._clock()) > 0:
            self._sleep(early)
        self._due = max(self._due, self._clock()) + 1 / self.executor.hz
        return self.executor.act(obs)

    def report(self) -> dict[str, Any]:
        """As `RealtimeExecutor.report`."""
        return self.executor.report()

    def close(self) -> None:
        """Stop the worker."""
        self.executor.close()
