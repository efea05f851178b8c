"""Executors: receding horizon, autoreset, ensembling, real time, limits."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from gencore.errors import InputError
from gencore_robot.executor import ChunkExecutor, RealtimeExecutor, TemporalEnsemble, substeps
from gencore_robot.executor.episodes import Episodes
from gencore_robot.executor.hold import hold
from gencore_robot.executor.latency import KEPT, Latency
from gencore_robot.executor.safety import Clamp

GOLDEN = Path(__file__).parents[4] / "shared/golden/rdt-1b"


class Count:
    """The k-th action of a chunk is the observation plus k."""

    def __init__(self, horizon: int = 4) -> None:
        self.horizon, self.calls = horizon, []

    def predict_chunk(self, obs, *, envs=None):
        self.calls.append(list(envs))
        return torch.as_tensor(obs["x"])[:, None, :] + torch.arange(float(self.horizon))[None, :, None]


def seen(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values)[:, None]}


def golden(case: str) -> dict[str, np.ndarray]:
    path = GOLDEN / case / "io.safetensors"
    if not path.is_file():
        pytest.skip("golden vectors of rdt-1b are not beside this checkout")
    return {name: value.numpy() for name, value in load_file(path).items()}


def test_temporal_ensemble_golden():
    io = golden("temporal-ensemble")
    mean = TemporalEnsemble(0.01)
    got = np.stack([mean.update(chunk) for chunk in io["chunks"]])
    assert np.abs(got - io["actions"]).max() < 1e-5
    assert np.abs(got - io["formula"]).max() < 1e-5
    mean.reset()
    assert np.abs(mean.update(io["chunks"][0]) - io["after_reset_first"]).max() < 1e-6


@settings(deadline=None, max_examples=30)
@given(st.floats(-1, 1), st.integers(1, 6), st.integers(1, 9), st.integers(0, 99))
def test_temporal_ensemble_is_the_weighted_mean(decay, horizon, steps, seed):
    chunks = np.random.default_rng(seed).normal(size=(steps, 2, horizon, 3))
    mean = TemporalEnsemble(decay)
    for t in range(steps):
        got = mean.update(chunks[t])
        told = np.stack([chunks[s][:, t - s] for s in range(max(0, t - horizon + 1), t + 1)])
        weights = np.exp(-decay * np.arange(len(told)))
        np.testing.assert_allclose(got, np.tensordot(weights / weights.sum(), told, 1), atol=1e-12)


def test_ensemble_forgets_only_the_rows_that_were_reset():
    mean = TemporalEnsemble(0.0)
    mean.update(np.full((2, 3, 1), 1.0))
    mean.reset(np.array([True, False]))
    assert mean.update(np.full((2, 3, 1), 5.0)).ravel().tolist() == [5.0, 3.0]


def test_executor_ensembles_at_every_step():
    policy = Count()
    executor = ChunkExecutor(policy, ensemble=0.0)
    assert [executor.act(seen(x)).item() for x in (0.0, 3.0, 0.0)] == [0.0, 2.0, pytest.approx((2 + 4 + 0) / 3)]
    assert len(policy.calls) == 3


def test_interpolation_golden():
    io = golden("unified-vector")
    prev, steps = io["interp/prev"], io["interp/steps"]
    np.testing.assert_allclose(substeps(prev, io["interp/cur"], steps), io["interp/out"], atol=1e-9)
    np.testing.assert_allclose(substeps(prev, prev + 0.001, steps), io["interp/out_small_move"], atol=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4), st.floats(0.01, 1))
def test_no_joint_outruns_its_step(values, step):
    prev, cur = np.array(values[:2]), np.array(values[2:])
    points = np.vstack([prev, substeps(prev, cur, np.array([step]))])
    assert np.abs(np.diff(points, axis=0)).max() <= step * (1 + 1e-9)
    assert (points[-1] == cur).all()


def test_executor_takes_several_steps_for_a_large_move_even_the_first():
    class Jump:
        def predict_chunk(self, obs):
            return np.full((1, 2, 1), 1.0)

    executor = ChunkExecutor(Jump(), max_step=np.array([0.5]), pose=lambda obs: obs["x"])
    assert [executor.act(seen(0.0)).item() for _ in range(3)] == [0.5, 1.0, 1.0]


def test_what_a_caller_does_to_an_action_moves_nothing():
    class Jump:
        def predict_chunk(self, obs):
            return np.full((1, 1, 1), 1.0)

    executor = ChunkExecutor(Jump(), max_step=np.array([0.5]), pose=lambda obs: obs["x"])
    executor.act(seen(0.0))
    action = executor.act(seen(0.0))
    assert action.item() == 1.0
    action -= 1.0
    assert executor.act(seen(0.0)).item() == 1.0


def test_what_a_caller_does_to_an_action_does_not_change_what_is_held():
    beside, _, _ = realtime(Count(8))
    action = beside.act(seen(0.0))
    action -= 1.0
    assert beside.act(seen(0.0)).item() == -1.0


def test_receding_horizon_sends_the_first_actions_and_predicts_again():
    policy = Count()
    executor = ChunkExecutor(policy, execute=3)
    assert [executor.act(seen(x)).item() for x in (0.0, 9.0, 9.0, 20.0)] == [0.0, 1.0, 2.0, 20.0]
    assert len(policy.calls) == 2


def test_environments_that_run_out_together_share_a_call():
    policy = Count()
    executor = ChunkExecutor(policy, 3, execute=3)
    executor.act(seen(0.0, 10.0, 20.0))
    executor.reset(np.array([False, True, False]))
    assert executor.act(seen(5.0, 50.0, 5.0)).ravel().tolist() == [1.0, 50.0, 21.0]
    executor.act(seen(0.0, 0.0, 0.0))
    executor.act(seen(7.0, 0.0, 7.0))
    assert policy.calls == [[0, 1, 2], [1], [0, 2]]


class Timer(gymnasium.Env):
    """Observes 100 times the episode plus the step; ends after `length` steps and records the actions it acted on."""

    observation_space = gymnasium.spaces.Dict({"x": gymnasium.spaces.Box(-1e6, 1e6, (1,), np.float64)})
    action_space = gymnasium.spaces.Box(-1e6, 1e6, (1,), np.float64)

    def __init__(self, length: int) -> None:
        self.length, self.episode, self.time, self.taken = length, -1, 0, []

    def _obs(self):
        return {"x": np.array([100.0 * self.episode + self.time])}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.time = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action):
        self.taken.append((self.episode, self.time, float(action[0])))
        self.time += 1
        return self._obs(), 0.0, self.time == self.length, False, {}


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_no_action_of_an_episode_is_executed_in_the_next(mode):
    timers = [Timer(3), Timer(5)]
    env = SyncVectorEnv([lambda t=t: t for t in timers], autoreset_mode=mode)
    executor = ChunkExecutor(Count(4), 2, execute=4, autoreset=env.metadata["autoreset_mode"])
    obs, _ = env.reset(seed=0)
    for _ in range(18):
        obs, _, terminated, truncated, _ = env.step(executor.act(obs))
        executor.stepped(terminated, truncated)
        if mode is AutoresetMode.DISABLED and terminated.any():
            obs, _ = env.reset(options={"reset_mask": terminated})
            executor.reset(terminated)
    for timer in timers:
        assert timer.episode >= 2
        # A chunk that began with this episode's first observation counts up with the steps of the episode.
        assert all(action == 100 * episode + step for episode, step, action in timer.taken)


def test_an_ended_environment_must_be_reset_by_its_caller_where_autoreset_is_off():
    executor = ChunkExecutor(Count())
    executor.act(seen(0.0))
    executor.stepped(True, False)
    with pytest.raises(InputError, match="ended environments"):
        executor.act(seen(0.0))
    executor.reset()
    assert executor.act(seen(8.0)).item() == 8.0


def test_next_step_mode_resets_after_the_ignored_action():
    episodes = Episodes(2, AutoresetMode.NEXT_STEP)
    no = np.zeros(2, bool)
    assert not episodes.step(np.array([True, False]), no).any()
    assert episodes.idle.tolist() == [True, False]
    assert episodes.step(no, no).tolist() == [True, False]
    assert not episodes.idle.any()


def test_clamp_reports_how_often_and_how_far():
    executor = ChunkExecutor(Count(), low=-1.0, high=1.5)
    assert [executor.act(seen(0.0)).item() for _ in range(4)] == [0.0, 1.0, 1.5, 1.5]
    told = executor.report()["clamp"]
    entries = [{"index": 0, "clamped": 2, "largest_excess": 1.5}]
    assert told == {"actions": 4, "clamped": 2, "share": 0.5, "largest_excess": 1.5, "entries": entries}


def test_a_clamped_entry_is_told_from_the_others():
    clamp = Clamp(np.array([-9.0, 0.0]), np.array([9.0, 1.0]))
    for action in ([[8.0, 1.25]], [[-8.0, 0.5]], [[0.0, -0.5]]):
        clamp(np.array(action))
    assert clamp.report()["entries"] == [{"index": 1, "clamped": 2, "largest_excess": 0.5}]


def test_velocities_stop_and_positions_hold():
    assert hold(np.array([[3.0, 4.0]]), np.array([True, False])).tolist() == [[0.0, 4.0]]
    assert hold(np.array([[3.0, 4.0]]), None).tolist() == [[3.0, 4.0]]


def test_latency_percentiles_and_missed_ticks():
    latency = Latency(hz=100.0)
    for ms in (5, 5, 5, 35):
        latency.add(ms / 1000)
    told = latency.report()
    assert told["latency_ms_p50"] == pytest.approx(5) and told["latency_ms_max"] == pytest.approx(35)
    assert told["latency_ms_p95"] == pytest.approx(np.percentile([5, 5, 5, 35], 95))
    assert told["missed_ticks"] == 3 and told["predictions"] == 4


def test_latencies_of_days_are_counted_but_not_kept():
    latency = Latency(hz=50.0)
    latency.add(9.0)
    for _ in range(KEPT):
        latency.add(0.001)
    told = latency.report()
    assert len(latency.seconds) == KEPT and told["predictions"] == KEPT + 1 and told["latency_ms_max"] == 9000
    assert told["latency_ms_p95"] == pytest.approx(1) and latency.ticks() == 1


class Later(Executor):
    """Runs a job when told to, as a slow prediction would finish."""

    def __init__(self) -> None:
        self.jobs = []

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.jobs.append((future, fn, args, kwargs))
        return future

    def finish(self):
        future, fn, args, kwargs = self.jobs.pop(0)
        try:
            future.set_result(fn(*args, **kwargs))
        except InputError as fault:
            future.set_exception(fault)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def realtime(policy, **options):
    clock, pool = Clock(), Later()
    options = {"start": np.array([[-1.0]]), "again": 2, **options}
    return RealtimeExecutor(policy, 10.0, clock=clock, pool=pool, **options), clock, pool


def tick(executor, clock, value):
    action = executor.act(seen(value)).item()
    clock.now += 0.1
    return action


def test_actions_that_are_past_when_the_chunk_arrives_are_dropped():
    executor, clock, pool = realtime(Count(8))
    assert [tick(executor, clock, 50.0), tick(executor, clock, 51.0)] == [-1.0, -1.0]
    pool.finish()
    assert tick(executor, clock, 52.0) == 52.0
    assert tick(executor, clock, 53.0) == 53.0
    assert executor.report()["starved_ticks"] == 2
    assert executor.report()["missed_ticks"] == 0


def test_a_late_control_loop_counts_its_missed_ticks():
    executor, clock, _ = realtime(Count(8))
    tick(executor, clock, 0.0)
    clock.now += 0.25
    tick(executor, clock, 0.0)
    assert executor.report()["missed_ticks"] == 2


def test_starvation_stops_velocities():
    executor, clock, _ = realtime(Count(1), velocity=np.array([True]))
    tick(executor, clock, 4.0)
    assert tick(executor, clock, 4.0) == 0.0


class Continues:
    """Chunks that keep their prefix and then count from it."""

    def __init__(self):
        self.prefixes = []

    def predict_chunk(self, obs, *, prefix=None):
        self.prefixes.append(None if prefix is None else prefix.copy())
        chunk = np.asarray(obs["x"])[:, None] + 1000 + np.arange(8.0)[None, :, None]
        if prefix is not None:
            chunk[:, : prefix.shape[1]] = prefix
        return chunk


def test_real_time_chunking_freezes_what_runs_meanwhile():
    policy = Continues()
    executor, clock, pool = realtime(policy, again=4, freeze=True)
    executor.latency.add(0.2, blocking=False)
    tick(executor, clock, 0.0)
    pool.finish()
    actions = [tick(executor, clock, 0.0) for _ in range(4)]
    assert policy.prefixes == [None]
    assert actions == [1001.0, 1002.0, 1003.0, 1004.0]
    rest = [tick(executor, clock, 5.0), tick(executor, clock, 6.0)]
    pool.finish()
    assert policy.prefixes[1].ravel().tolist() == [1005.0, 1006.0]
    # The prefix was executed from the old chunk; the new one goes on behind it.
    assert rest == [1005.0, 1006.0] and tick(executor, clock, 7.0) == 1007.0
    assert executor.report()["late_chunks"] == 0


def test_a_chunk_later_than_its_prefix_is_counted():
    executor, clock, pool = realtime(Continues(), again=4, freeze=True)
    tick(executor, clock, 0.0)
    pool.finish()
    for _ in range(6):
        tick(executor, clock, 0.0)
    pool.finish()
    tick(executor, clock, 0.0)
    assert executor.report()["late_chunks"] == 1


def test_a_reset_throws_away_the_prediction_under_way():
    executor, clock, pool = realtime(Count(8))
    tick(executor, clock, 50.0)
    executor.reset(np.array([[7.0]]))
    assert tick(executor, clock, 60.0) == 7.0
    _stale = pool.jobs.pop(0)
    pool.finish()
    assert tick(executor, clock, 61.0) == 61.0


def test_a_thread_predicts_beside_control():
    with RealtimeExecutor(Count(4), 1000.0, np.array([[-1.0]]), again=1) as executor:
        for _ in range(2000):
            if executor.act(seen(0.0)).item() >= 0:
                break
            if executor._future is not None:
                executor._future.result(timeout=5)
        executor.act(seen(0.0))
    assert executor.report()["predictions"] >= 1


def test_bad_input_is_named():
    class Short:
        def __init__(self, chunk):
            self.chunk = chunk

        def predict_chunk(self, obs):
            return self.chunk

    with pytest.raises(InputError, match="predict_chunk"):
        ChunkExecutor(object())  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"execute: got 5; accepted: 1\.\.4"):
        ChunkExecutor(Count(4), execute=5).act(seen(0.0))
    with pytest.raises(InputError, match="not finite"):
        ChunkExecutor(Short(np.full((1, 2, 3), np.nan))).act(seen(0.0))
    with pytest.raises(InputError, match="chunk: got shape"):
        ChunkExecutor(Short(np.zeros((2, 3)))).act(seen(0.0))
    with pytest.raises(InputError, match="observation: got 2 rows"):
        ChunkExecutor(Count()).act(seen(0.0, 1.0))
    with pytest.raises(InputError, match="env_mask"):
        ChunkExecutor(Count()).reset(np.ones(3, bool))
    with pytest.raises(InputError, match="autoreset mode"):
        ChunkExecutor(Count(), autoreset="Sometimes")
    with pytest.raises(InputError, match="ensembling"):
        ChunkExecutor(Count(), ensemble=0.01, execute=2)
    with pytest.raises(InputError, match="prefix"):
        RealtimeExecutor(Count(), 10.0, np.zeros((1, 1)), again=1, freeze=True)
    with pytest.raises(InputError, match="low <= high"):
        Clamp(np.array([1.0]), np.array([0.0]))
