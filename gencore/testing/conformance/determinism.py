"""The same call gives the same bytes, whatever else happens in the process."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gencore.loading import load
from gencore.noise import Keyed
from gencore.testing.conformance.subject import SEED, Subject, inputs
from gencore.testing.failures import CheckFailed, require

CLOSE = 1e-5
"""Largest difference between a sample alone and in a batch, relative to the largest value (float32)."""


def same_seed_same_bytes(subject: Subject) -> None:
    """A result is made again from its recipe, so a seed must decide it to the last bit, with every sampler."""
    for name, sampler in subject.tried_samplers().items():
        one, two = (subject.generate(sampler=sampler) for _ in range(2))
        require(torch.equal(one.tensor, two.tensor), f"two equal calls with {name} give different samples")
        require(one.recipe == two.recipe, f"two equal calls with {name} give different recipes")


def saved_model_gives_the_same_bytes(subject: Subject) -> None:
    """What is saved is the whole model: loaded again it has the same hash and configuration, and makes the same
    bytes."""
    folder = subject.pipe.save_pretrained(subject.folder / "saved")
    again = load(subject.name, folder, device="cpu", dtype=str(subject.pipe.dtype).removeprefix("torch."))
    require(again.hash() == subject.pipe.hash(), "the hash of the weights changes by saving and loading")
    require(again.config() == subject.pipe.config(), "the configuration changes by saving and loading")
    made = again.generate(**{**subject.words(), "seed": SEED, "steps": 3})
    require(torch.equal(made.tensor, subject.generate().tensor), "a saved and loaded model makes other samples")


def different_seeds_differ(subject: Subject) -> None:
    """Samples of one batch are all different, and so are those of other seeds: two equal ones mean that a seed is
    ignored."""
    words = {name: [v[0]] * 3 if isinstance(v, list) and len(v) == 3 else v for name, v in subject.words(3).items()}
    *_, one = subject.pipe.stream(**{**words, "seed": SEED, "steps": 3})
    *_, two = subject.pipe.stream(**{**words, "seed": SEED + 100, "steps": 3})
    rows = torch.cat([one.step.x, two.step.x]).flatten(1)
    for i in range(len(rows)):
        for j in range(i):
            require(not torch.equal(rows[i], rows[j]), f"samples of seeds {_seed(j)} and {_seed(i)} are equal")


def _seed(i: int) -> int:
    return SEED + i if i < 3 else SEED + 97 + i


def noise_alone_equals_noise_in_a_batch(subject: Subject) -> None:
    """What a sample starts from depends on its own seed alone, bit for bit: batches, ranks and servers are free to put
    samples together as they like.  Tokens start from masks alone; there it is the first step that shows the noise."""
    whole = _begin(subject, subject.words(3), range(SEED, SEED + 3))
    for i in range(3):
        alone = _begin(subject, _word_of(subject, i), [SEED + i])
        require(torch.equal(alone[0], whole[i]), f"seed {SEED + i} starts elsewhere alone than in a batch of 3")


def _begin(subject: Subject, words: dict[str, Any], seeds: Sequence[int]) -> Tensor:
    """(B, ...) what the network is shown first, or for tokens the state after the first of two steps."""
    asked = {**words, "seed": list(seeds), "steps": 2, "guidance": 1.0}
    with inputs(subject.pipe.backbone) as seen:
        first = next(iter(subject.pipe.stream(**asked)))
    return first.step.x if subject.pipe.process.kind == "discrete" else seen[0]


def sample_alone_equals_sample_in_a_batch(subject: Subject) -> None:
    """A sample is the same alone and in any batch up to rounding (1e-5), with every sampler, stochastic ones too.
    Guidance multiplies the rounding of two predictions, so a guided run may differ ten times as much.  Tokens are
    equal: only a tie to 1e-5 would turn a draw."""
    runs: dict[str, tuple[Any, float | None, float]] = {
        name: (sampler, 1.0, CLOSE) for name, sampler in subject.tried_samplers().items()
    }
    runs["the default sampler and guidance"] = None, None, 10 * CLOSE
    for name, (sampler, guidance, close) in runs.items():
        batch = subject.generate(3, sampler=sampler, guidance=guidance).tensor
        alone = subject.generate(3, sampler=sampler, guidance=guidance, batch=1).tensor
        scale = max(1.0, batch.abs().max().item()) if batch.is_floating_point() else 1.0
        gap = (batch - alone).abs().max().item()
        require(gap <= close * scale, f"with {name} a sample differs by {gap:.2g} between alone and in a batch of 3")


def global_random_state_is_untouched(subject: Subject) -> None:
    """Randomness is keyed by seed and purpose.  A global generator that is read makes results depend on what ran
    before; one that is moved changes what runs after."""
    results = []
    for seed in (1, 2):
        with _global_seed(seed) as state:
            data = subject.data(2)
            latent = subject.pipe.tokenizer.encode(data, Keyed([1, 2]))
            out = subject.generate()
            results.append((latent.value, out.tensor))
            for generator, (before, after) in state().items():
                require(before == after, f"generating or encoding moves the global generator of {generator}")
    for what, one, two in zip(("encoding", "generating"), *results, strict=True):
        require(torch.equal(one, two), f"{what} depends on a global generator")


@contextmanager
def _global_seed(seed: int) -> Iterator:
    """Seeds every global generator, and gives a function that compares their states; puts all back."""
    import numpy

    kept = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    before = _states()
    try:
        yield lambda: {name: (before[name], now) for name, now in _states().items()}
    finally:
        random.setstate(kept[0])
        numpy.random.set_state(kept[1])
        torch.set_rng_state(kept[2])


def _states() -> dict[str, object]:
    import numpy

    name, keys, *rest = numpy.random.get_state()  # type: ignore[misc]
    return {"Python": random.getstate(), "NumPy": (name, keys.tobytes(), rest),  # type: ignore[union-attr]
            "torch": torch.get_rng_state().tolist()}  # fmt: skip


def inputs_are_not_changed_in_place(subject: Subject) -> None:
    """A caller's tensors, lists and weights are the caller's: a change in place shows up far away, and differs on a
    second call."""
    pipe, data = subject.pipe, subject.data(2)
    words, area = subject.words(2), subject.half()
    given = [data, area]
    kept, told, weights = [t.clone() for t in given], copy.deepcopy(words), pipe.hash()
    latent = pipe.tokenizer.encode(data, Keyed([1, 2]))
    value = latent.value.clone()
    pipe.tokenizer.decode(latent)
    require(torch.equal(latent.value, value), "decode() changes the latent it is given")
    if subject.takes_known:
        pipe.generate(**{**words, "seed": SEED, "steps": 2}, known=data[:1], mask=area)
    else:
        pipe.generate(**{**words, "seed": SEED, "steps": 2})
    for name, before, now in zip(("data", "mask"), kept, given, strict=True):
        require(torch.equal(before, now), f"the {name} that is handed in changes")
    require(_same(told, words), "the words that are handed in change")
    state = copy.deepcopy(pipe.backbone.state_dict())
    subject.generate()
    moved = [k for k, v in pipe.backbone.state_dict().items() if not torch.equal(v, state[k])]
    require(not moved and pipe.hash() == weights, f"generating changes the weights {', '.join(moved[:3])}")


def _same(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b


def interleaved_streams_do_not_mix(subject: Subject) -> None:
    """Two runs of one pipeline taken step by step in turns, as servers and notebooks do, equal the same runs one after
    the other: all state belongs to the run."""
    for name, sampler in subject.tried_samplers().items():
        alone = [[p.step.x for p in subject.stream(seed=seed, sampler=sampler)] for seed in (SEED, SEED + 50)]
        mixed: list[list[Tensor]] = [[], []]
        runs = [subject.stream(seed=seed, sampler=sampler) for seed in (SEED, SEED + 50)]
        while any(fresh := [next(run, None) for run in runs]):
            for steps, progress in zip(mixed, fresh, strict=True):
                if progress is not None:
                    steps.append(progress.step.x)
        for one, other in zip(alone, mixed, strict=True):
            same = len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
            require(same, f"two runs with {name} taken in turns differ from the same runs one after the other")


def resumed_stream_equals_the_straight_one(subject: Subject) -> None:
    """A run continues from any step's state to the same end: all that a sampler remembers is in that state."""
    from gencore.denoiser import Denoiser
    from gencore.request import request
    from gencore.run import stream

    for name, sampler in subject.tried_samplers().items():
        asked = request(subject.pipe, **{**subject.words(), "seed": SEED, "steps": 3, "sampler": sampler})
        noise = Keyed(asked.seeds)
        denoise = Denoiser(subject.pipe.backbone, subject.pipe.process, asked.conditions, guidance=asked.guidance,
                           transforms=asked.transforms, noise=noise)  # fmt: skip
        steps = list(stream(denoise, asked.sampler, asked.spec, asked.times, noise))
        for step in steps[:-1]:
            *_, last = stream(denoise, asked.sampler, asked.spec, asked.times, noise, state=step.state)
            if not torch.equal(last.x, steps[-1].x):
                raise CheckFailed(
                    f"with {name}, continuing after step {step.index} ends elsewhere than the straight run"
                )


def _word_of(subject: Subject, i: int) -> dict[str, Any]:
    """The words of the i-th of three samples."""
    words = {k: v for k, v in subject.words(3).items() if k != "n"}
    return {k: [v[i]] if isinstance(v, list | tuple) and len(v) == 3 else v for k, v in words.items()} | {"n": 1}


CHECKS = (
    same_seed_same_bytes, saved_model_gives_the_same_bytes, different_seeds_differ, noise_alone_equals_noise_in_a_batch,
    sample_alone_equals_sample_in_a_batch, global_random_state_is_untouched, inputs_are_not_changed_in_place,
    interleaved_streams_do_not_mix, resumed_stream_equals_the_straight_one,
)  # fmt: skip
