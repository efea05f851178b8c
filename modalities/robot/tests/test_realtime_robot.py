"""Prediction beside control, from the policy and from the command line, on a clock that is told what time it is."""

from __future__ import annotations

import json
import math
from concurrent.futures import Executor
from typing import Any

import numpy as np
import pytest
import torch

from gencore.cli import main
from gencore.errors import InputError
from gencore.nn.init import seeded
from gencore.pipeline import Pipeline
from gencore_robot.demonstrations import reach_episodes
from gencore_robot.executor import Paced
from gencore_robot.policy import Policy
from gencore_robot.presets import tiny
from gencore_robot.rollout import rollout

REACH = "gencore/TwoWayReach-v0"
HZ = 10.0


class Clock:
    """Time that passes when somebody sleeps or waits."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 9))
        self.now += seconds


class Takes:
    """A future that is done `seconds` after its job was given."""

    def __init__(self, clock: Clock, seconds: float, value: Any) -> None:
        self.clock, self.at, self.value = clock, clock.now + seconds, value

    def done(self) -> bool:
        return self.clock.now >= self.at - 1e-9

    def cancel(self) -> bool:
        return False

    def exception(self) -> None:
        self.clock.now = max(self.clock.now, self.at)

    def result(self) -> Any:
        self.exception()
        return self.value


class Slow(Executor):
    """Jobs that take `seconds` each; what was asked for while another ran is counted."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds, self.running, self.beside = clock, seconds, None, 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.beside += self.running is not None and not self.running.done()
        chunk, _ = fn(*args, **kwargs)
        self.running = Takes(self.clock, self.seconds, (chunk, self.seconds))
        return self.running


class Ticks:
    """The k-th action of a chunk is the tick it is meant for, by the observation at which it was asked."""

    def __init__(self, offset: float = 0.0) -> None:
        self.prefixes: list[Any] = []
        self.offset = offset

    def predict_chunk(self, obs: Any, *, prefix: np.ndarray | None = None) -> np.ndarray:
        self.prefixes.append(None if prefix is None else prefix[..., 0].ravel().tolist())
        chunk = np.asarray(obs["state"])[:, None, :1] + np.arange(8.0)[None, :, None] + self.offset
        if prefix is not None:
            chunk[:, : prefix.shape[1]] = prefix
        return chunk


def played(executor: Any, clock: Clock, ticks: int) -> list[float]:
    """What is sent at every tick of a robot whose state is the number of the tick."""
    out = []
    for tick in range(ticks):
        out.append(executor.act({"state": np.array([[float(tick)]])}).item())
    return out


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.25])
def test_every_action_is_the_one_meant_for_its_tick_however_long_predictions_take(seconds: float) -> None:
    clock = Clock()
    policy, pool = Ticks(), Slow(clock, seconds)
    paced = Paced(policy, hz=HZ, execute=3, clock=clock, sleep=clock.sleep, pool=pool)
    assert played(paced, clock, 20) == [float(tick) for tick in range(20)]
    told = paced.report()
    assert told["missed_ticks"] == told["starved_ticks"] == told["late_chunks"] == 0 and pool.beside == 0
    assert told["latency_ms_max"] == pytest.approx(1000 * seconds) and told["predictions"] >= 4
    # Time passed at the control rate, after the first prediction.
    assert clock.now == pytest.approx(seconds + 19 / HZ)
    # The action of the tick at which a chunk is asked for runs in any case.
    ahead = max(1, math.ceil(seconds * HZ - 1e-9))
    assert all(len(prefix) == ahead for prefix in policy.prefixes[1:])


def test_predictions_slower_than_the_chunk_starve_and_are_counted() -> None:
    clock = Clock()
    paced = Paced(Ticks(), hz=HZ, execute=7, clock=clock, sleep=clock.sleep, pool=Slow(clock, 0.45))
    sent = played(paced, clock, 12)
    assert paced.report()["starved_ticks"] >= 1 and sent[:8] == [float(tick) for tick in range(8)] and sent[8] == 7.0


def test_what_runs_meanwhile_is_told_as_the_limits_leave_it() -> None:
    clock, policy = Clock(), Ticks(offset=100.0)
    paced = Paced(policy, hz=HZ, execute=3, low=np.array([0.0]), high=np.array([50.0]), clock=clock,
                  sleep=clock.sleep, pool=Slow(clock, 0.2))  # fmt: skip
    assert set(played(paced, clock, 6)) == {50.0}
    assert policy.prefixes[1] == [50.0, 50.0]


def test_a_loop_that_is_slower_than_its_rate_misses_ticks_and_does_not_hurry() -> None:
    clock = Clock()
    paced = Paced(Ticks(), hz=HZ, execute=3, clock=clock, sleep=clock.sleep, pool=Slow(clock, 0.0))
    for tick in range(4):
        paced.act({"state": np.array([[float(tick)]])})
        clock.now += 0.25
    assert clock.slept == [] and paced.report()["missed_ticks"] == 3


def test_an_episode_begins_with_its_own_chunk_and_no_prediction_runs_beside_it() -> None:
    clock = Clock()
    pool = Slow(clock, 0.3)
    paced = Paced(Ticks(), hz=HZ, execute=2, clock=clock, sleep=clock.sleep, pool=pool)
    played(paced, clock, 4)
    paced.reset(np.array([True]))
    assert paced.act({"state": np.array([[500.0]])}).item() == 500.0 and pool.beside == 0
    with pytest.raises(InputError, match="env_mask: got 1 of 2"):
        paced.reset(np.array([True, False]))


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    made = tiny(reach_episodes(2)).pipeline
    with torch.no_grad(), seeded(0):
        for tensor in made.backbone.parameters():
            if not bool(tensor.any()):
                torch.nn.init.normal_(tensor, std=0.2)
    return made


def test_a_policy_predicts_beside_control(pipe: Pipeline) -> None:
    clock = Clock()
    policy = Policy(pipe, realtime=True, hz=HZ, execute=4, low=-1.0, high=1.0, clock=clock, sleep=clock.sleep,
                    pool=Slow(clock, 0.15))  # fmt: skip
    policy.reset(seed=3)
    seen = {"state": np.zeros(2, np.float32), "env_state": np.full(4, 0.3, np.float32)}
    sent = np.array([policy.act(seen) for _ in range(12)])
    assert sent.shape == (12, 2) and policy.executor.report()["late_chunks"] == 0
    # The first chunk until the second arrives; the second was told its next two actions, and begins with them.
    first = Policy(pipe, seed=0)
    first.reset(seed=3)
    batch = {key: value[None] for key, value in seen.items()}
    one = first.predict_chunk(batch)
    two = first.predict_chunk(batch, prefix=np.clip(one[:, 4:6].numpy(), -1, 1))
    plan = torch.cat([one[0, :4], two[0, :4]]).clamp(-1, 1).numpy()
    np.testing.assert_allclose(sent[:8], plan, atol=1e-4)
    assert not np.allclose(one[0, 6:8].clamp(-1, 1), sent[6:8], atol=1e-4)


def test_a_prefix_beyond_the_limits_of_the_robots_file_is_told_as_near_as_the_network_knows(pipe: Pipeline) -> None:
    policy = Policy(pipe)
    seen = {"state": np.zeros((1, 2), np.float32), "env_state": np.full((1, 4), 0.3, np.float32)}
    chunk = policy.predict_chunk(seen, prefix=np.full((1, 2, 2), 1.5))
    assert torch.allclose(chunk[:, :2], torch.ones(1, 2, 2), atol=1e-5)


def test_the_command_line_plays_in_real_time(pipe: Pipeline, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pipe.save_pretrained(tmp_path / "model")
    words = ["rollout", "robot", "--env", REACH, "--model", str(tmp_path / "model"), "--episodes", "2",
             "--max-steps", "4", "--realtime", "--quiet", "--device", "cpu"]  # fmt: skip
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mean_length"] == 4 and told["predictions"] >= 2 and told["starved_ticks"] >= 0
    assert told["late_chunks"] >= 0 and told["missed_ticks"] >= 0
    assert main([*words, "--num-envs", "2"]) == 2
    assert "--num-envs: got 2; accepted: 1 with --realtime" in capsys.readouterr().err


def test_what_cannot_run_in_real_time_is_told() -> None:
    with pytest.raises(InputError, match="no control rate"):
        Paced(Ticks(), hz=None)
    with pytest.raises(InputError, match=r"execute: got 9; accepted: 1\.\.8"):
        Paced(Ticks(), hz=HZ, execute=9, pool=Slow(Clock(), 0.0)).act({"state": np.zeros((1, 1))})
    with pytest.raises(InputError, match="execute: got 0"):
        rollout(Ticks(), REACH, episodes=1, realtime=True, execute=0)
