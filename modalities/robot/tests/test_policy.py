"""A pipeline as a policy."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch

import gencore_robot.envs  # noqa: F401
from gencore.errors import InputError
from gencore.noise import Keyed
from gencore_robot.executor import ChunkExecutor, RealtimeExecutor
from gencore_robot.given import prefixed
from gencore_robot.policy import Policy
from gencore_robot.tokenizer import Chunks


class Draws:
    """Stands for a pipeline: chunks are the seed's own draws, given cells are kept."""

    def __init__(self, horizon: int = 6, actions: int = 2) -> None:
        self.tokenizer, self.asked = Chunks(horizon, actions), []

    def generate(self, *, n, seed, observation, prefix=None, **words):
        self.asked.append({"n": n, "seed": seed, "observation": observation, **words})
        out = Keyed(seed).draw("normal", ("chunk",), self.tokenizer.spec().sizes).clamp(-1, 1)
        if prefix is not None:
            known, mask = prefixed(torch.as_tensor(prefix).float(), *self.tokenizer.spec().sizes)
            out = torch.where(self.tokenizer.mask(mask), out, known)
        return SimpleNamespace(tensor=out)


def obs(count: int) -> dict[str, np.ndarray]:
    return {"agent_pos": np.zeros((count, 2)), "env_state": np.zeros((count, 4))}


def test_an_environment_acts_the_same_alone_and_among_others():
    # Four environments with one reset on the way; environment 2 must not notice.
    many, alone = Policy(Draws(), 4, execute=3, seed=5), Policy(Draws(), 4, execute=3, seed=5)
    kept = []
    for step in range(7):
        if step == 2:
            many.reset(np.array([True, True, False, False]))
        kept.append(many.act(obs(4))[2])
    np.testing.assert_array_equal(kept, [alone.act(obs(4))[2] for _ in range(7)])
    assert len({seed for asked in many.pipe.asked for seed in asked["seed"]}) == sum(
        asked["n"] for asked in many.pipe.asked
    )


def test_a_seed_begins_the_draws_anew():
    policy = Policy(Draws(), 2, execute=1, seed=0)
    first = [policy.act(obs(2)) for _ in range(3)]
    policy.reset(seed=0)
    np.testing.assert_array_equal(first, [policy.act(obs(2)) for _ in range(3)])
    policy.reset(seed=1)
    assert not np.array_equal(first[0], policy.act(obs(2)))


def test_keys_words_and_options_reach_the_pipeline():
    pipe = Draws()
    policy = Policy(pipe, 2, keys={"agent_pos": "state"}, words={"instruction": "left"}, options={"steps": 5})
    policy.act(obs(2))
    (asked,) = pipe.asked
    assert list(asked["observation"]) == ["state"] and asked["observation"]["state"].dtype == torch.float32
    assert asked["instruction"] == "left" and asked["steps"] == 5


def test_a_plain_environment_needs_no_batch():
    env = gymnasium.make("gencore/TwoWayReach-v0")
    policy = Policy(Draws(), low=-1.0, high=1.0)
    seen, _ = env.reset(seed=0)
    for _ in range(60):
        action = policy.act(seen)
        assert action.shape == (2,)
        seen, _, terminated, truncated, _ = env.step(action)
        policy.stepped(terminated, truncated)
        if terminated or truncated:
            seen, _ = env.reset()
            policy.reset()
    assert policy.executor.report()["predictions"] >= 10


@pytest.mark.parametrize("mode", list(gymnasium.vector.AutoresetMode))
def test_a_vector_environment(mode):
    env = gymnasium.make_vec("gencore/TwoWayReach-v0", num_envs=3, vectorization_mode="sync",
                             vector_kwargs={"autoreset_mode": mode})  # fmt: skip
    policy = Policy(Draws(), 3, execute=4, autoreset=env.metadata["autoreset_mode"])
    seen, _ = env.reset(seed=0)
    for _ in range(70):
        seen, _, terminated, truncated, _ = env.step(policy.act(seen).astype(np.float32))
        policy.stepped(terminated, truncated)
        if mode is gymnasium.vector.AutoresetMode.DISABLED and (done := terminated | truncated).any():
            seen, _ = env.reset(options={"reset_mask": done})
            policy.reset(done)
    # A prediction serves at most the 3 environments and every environment was served.
    assert {len(asked["seed"]) for asked in policy.pipe.asked} <= {1, 2, 3}
    assert (policy._made > 10).all()


def test_the_prefix_begins_the_chunk():
    policy = Policy(Draws(), 2)
    prefix = np.full((2, 3, 2), 0.25)
    chunk = policy.predict_chunk(obs(2), prefix=prefix)
    assert (chunk[:, :3] == 0.25).all() and not (chunk[:, 3:] == 0.25).any()
    with pytest.raises(InputError, match="prefix: got 7 actions"):
        policy.predict_chunk(obs(2), prefix=np.zeros((2, 7, 2)))


def test_executors_take_a_policy():
    assert ChunkExecutor(Policy(Draws(), 2), 2).predictor.takes == {"envs", "prefix"}
    with RealtimeExecutor(Policy(Draws(), 2), 50.0, np.zeros((2, 2)), again=3, freeze=True) as executor:
        assert executor.act(obs(2)).shape == (2, 2)


def test_bad_observations_are_named():
    policy = Policy(Draws(), 2, keys={"agent_pos": "state"})
    with pytest.raises(InputError, match="no 'agent_pos'"):
        policy.act({"x": np.zeros((2, 1))})
    broken = obs(2)
    broken["agent_pos"][1, 0] = np.nan
    with pytest.raises(InputError, match="agent_pos: got a value that is not finite"):
        policy.act(broken)
    with pytest.raises(InputError, match="envs"):
        policy.predict_chunk(obs(2), envs=np.array([0, 9]))
