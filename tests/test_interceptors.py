"""Caches around a whole network: branches, requests, stages, batches, shapes, memory, and what is refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from gencore import components
from gencore.condition import Condition
from gencore.context import Context, Interceptor, StepInfo
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.guidance import ClassifierFree
from gencore.interceptors.delta_dit import DeltaDiT
from gencore.interceptors.first_block import FirstBlock
from gencore.interceptors.memory import Entry
from gencore.interceptors.reuse import reuse
from gencore.interceptors.taylorseer import TaylorSeer
from gencore.noise import Keyed
from gencore.pipeline import Pipeline
from gencore.processes.flows import LinearFlow
from gencore.run import Step, stream
from gencore.sampler import Sampler
from gencore.samplers.ancestral import Ancestral
from gencore.samplers.ddim import DDIM
from gencore.samplers.dopri5 import Dopri5
from gencore.samplers.runge_kutta import euler, heun
from gencore.settings import parse, spell
from gencore.testing.tiny import tiny_pipeline

PIPE = tiny_pipeline()
STEPS = 8
CACHES: dict[str, Callable[[], Any]] = {
    "taylorseer": lambda: TaylorSeer(3, 1),
    "time": lambda: TaylorSeer(3, 2, abscissa="time", basis="newton"),
    "lite": lambda: TaylorSeer(3, 1, lite=True),
    "reuse": lambda: reuse(2),
    "delta-dit": lambda: DeltaDiT(2, 4, 1),
    "first-block": lambda: FirstBlock(0.3),
}


class Probe(Interceptor):
    """The sub-layers of blocks that really run, as (step, stage, name)."""

    def __init__(self) -> None:
        self.ran: list[tuple[int, str, str]] = []

    def around(self, ctx: Context, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        if ctx.path:
            self.ran.append((ctx.info.i, ctx.info.stage, ctx.path + kind))
        return fn(x, *rest)

    @property
    def steps(self) -> list[int]:
        return sorted({i for i, _, _ in self.ran})


def start(*interceptors: Interceptor, labels: tuple[int, ...] = (3, 5), seeds: tuple[int, ...] = (0, 1),
          sampler: Sampler | None = None, guidance: ClassifierFree | None = None, pipe: Pipeline = PIPE,
          steps: int = STEPS) -> tuple[Denoiser, Iterator[Step]]:  # fmt: skip
    denoise = Denoiser(pipe.backbone, pipe.process, {"label": Condition(torch.tensor(labels))},
                       interceptors=interceptors, guidance=guidance)  # fmt: skip
    sampler = sampler or euler()
    times = sampler.times(pipe.process, "velocity", steps)  # type: ignore[arg-type]
    return denoise, stream(denoise, sampler, pipe.tokenizer.spec(), times, Keyed(seeds))


def sample(*interceptors: Interceptor, **how: Any) -> Tensor:
    *_, last = start(*interceptors, **how)[1]
    return last.x


@pytest.fixture(params=CACHES)
def cache(request: pytest.FixtureRequest) -> Any:
    return CACHES[request.param]()


def test_it_does_something_and_leaves_the_network_as_it_was(cache: Any) -> None:
    before, probe = sample(), Probe()
    cached = sample(cache, probe)
    assert 0 < (cached - before).abs().max() < 1
    assert len(probe.ran) < 4 * STEPS
    assert torch.equal(sample(), before)
    assert torch.equal(sample(cache), cached)


@pytest.mark.parametrize(
    "idle", [TaylorSeer(1, 2), TaylorSeer(1, lite=True), TaylorSeer(1, abscissa="time"), reuse(1), DeltaDiT(1),
             DeltaDiT(1, keep="one"), FirstBlock(0.0), Interceptor()]
)  # fmt: skip
def test_computing_every_step_is_the_network_bit_for_bit(idle: Interceptor) -> None:
    guidance = ClassifierFree(2.0)
    assert torch.equal(sample(idle, guidance=guidance), sample(guidance=guidance))


def test_two_interleaved_samplings_are_two_in_turn(cache: Any) -> None:
    """One cache object, one network, different lengths: the published code keeps one state for all."""
    guidance = ClassifierFree(2.0)
    how = [{"labels": (3,), "seeds": (0,), "guidance": guidance}, {"labels": (1, 2), "seeds": (5, 6), "steps": 5}]
    alone = [sample(cache, **h) for h in how]
    runs = [start(cache, **h)[1] for h in how]
    ends: list[Any] = [None, None]
    for _ in range(STEPS):
        for k, run in enumerate(runs):
            ends[k] = next(run, ends[k])
    assert all(torch.equal(end.x, wanted) for end, wanted in zip(ends, alone, strict=True))


def test_requests_that_share_a_store_do_not_meet(cache: Any) -> None:
    alone = [sample(cache, seeds=(s, s + 1)) for s in (0, 5)]
    store: dict[tuple[str, ...], Any] = {}
    runs = []
    for name, seed in (("a", 0), ("b", 5)):
        denoise, run = start(cache, seeds=(seed, seed + 1))
        denoise.store, denoise.request = store, name
        runs.append(run)
    *_, (a, b) = zip(*runs, strict=True)
    assert torch.equal(a.x, alone[0]) and torch.equal(b.x, alone[1])


def test_branches_in_one_batch_are_branches_called_one_by_one(cache: Any) -> None:
    """The published code keeps one state, which two calls a step turn into a spacing of nought: NaN."""

    class Apart(ClassifierFree):
        def branches(self, t: Tensor, info: StepInfo) -> Any:
            cond, uncond = super().branches(t, info)
            # Leaving out a block that does not exist makes a call of its own.
            return cond, uncond._replace(skip=frozenset({99}))

    together = sample(cache, guidance=ClassifierFree(2.0))
    apart = sample(cache, guidance=Apart(2.0))
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-5)


def test_a_sample_does_not_depend_on_its_batch(cache: Any) -> None:
    whole = sample(cache, labels=(3, 5, 1), seeds=(0, 1, 2), guidance=ClassifierFree(2.0))
    for row, (label, seed) in enumerate(((3, 0), (5, 1), (1, 2))):
        alone = sample(cache, labels=(label,), seeds=(seed,), guidance=ClassifierFree(2.0))
        torch.testing.assert_close(alone[0], whole[row], rtol=0, atol=1e-5)


def test_a_branch_that_joins_late_is_computed_first() -> None:
    probe = Probe()
    out = sample(TaylorSeer(4, 1), probe, guidance=ClassifierFree(2.0, interval=(0.0, 0.6)), steps=12)
    # Full at 0, 1, 5, 9; the null branch joins at the first time of at most 0.6, step 5 of 12.
    assert probe.steps == [0, 1, 5, 9] and out.isfinite().all()
    probe = Probe()
    sample(TaylorSeer(4, 1), probe, guidance=ClassifierFree(2.0, interval=(0.0, 0.5)), steps=12)
    assert probe.steps == [0, 1, 5, 6, 9]


def test_stages_of_a_solver_have_memories_of_their_own(cache: Any) -> None:
    denoise, run = start(cache, sampler=heun())
    *_, last = run
    assert last.x.isfinite().all()
    stages = {key[2] for key, value in denoise.store.items() if isinstance(value, Entry)}
    assert stages == {"", "k2"}


def test_a_site_with_a_missed_computed_step_does_not_answer_from_before_it() -> None:
    # The inner cache's rear sites are not reached at steps the outer one skips.
    probe = Probe()
    sample(DeltaDiT(3, STEPS, 1), TaylorSeer(2, 1), probe)
    rear = [i for i, _, name in probe.ran if name == "blocks.1.mlp"]
    front = [i for i, _, name in probe.ran if name == "blocks.0.mlp"]
    # Delta skips block 1 but at 0, 3, 6; Taylor would compute at 0, 1, 3, 5, 7.
    assert rear == [0, 3, 6] and front == [0, 1, 3, 5, 7]


def test_two_caches_share_a_store_without_meeting() -> None:
    both = sample(TaylorSeer(3, 1))
    parts = sample(TaylorSeer(3, 1, sites="attn"), TaylorSeer(3, 1, sites=["mlp"]))
    named = sample(TaylorSeer(3, 1, sites="blocks.0.*"), TaylorSeer(3, 1, sites=["blocks.1.attn", "blocks.1.mlp"]))
    assert torch.equal(both, parts) and torch.equal(both, named)
    once = TaylorSeer(3, 1)
    assert torch.equal(sample(once, TaylorSeer(3, 1)), both)
    with pytest.raises(InputError, match="interceptors: got one object twice"):
        sample(once, Interceptor(), once)


def test_another_shape_or_another_run_starts_anew(cache: Any) -> None:
    denoise = Denoiser(PIPE.backbone, PIPE.process, {"label": Condition(torch.tensor([3]))}, interceptors=[cache])
    t = torch.full((1,), 0.5, dtype=torch.float64)
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = Denoiser(PIPE.backbone, PIPE.process, {"label": Condition(torch.tensor([3]))})
    with torch.no_grad():
        for i in range(3):
            denoise(x, t, StepInfo(i, STEPS))
        wide = torch.cat([x, x], dim=3)
        assert torch.equal(denoise(wide, t, StepInfo(3, STEPS)).velocity, plain(wide, t).velocity)
        assert torch.equal(denoise(x, t, StepInfo(0, STEPS)).velocity, plain(x, t).velocity)


def test_a_run_taken_up_again_computes_where_it_starts(cache: Any) -> None:
    states = [step.state for step in start(cache)[1]]
    denoise, _ = start(cache)
    sampler = euler()
    times = sampler.times(PIPE.process, "velocity", STEPS)  # type: ignore[arg-type]
    *_, last = stream(denoise, sampler, PIPE.tokenizer.spec(), times, Keyed((0, 1)), state=states[2])
    assert last.index == STEPS and (last.x - states[-1].x).abs().max() < 1


def test_compiled_sub_layers(cache: Any) -> None:
    pipe = tiny_pipeline()
    graphs: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(1)
        return graph.forward

    wanted = sample(cache)
    for block in pipe.backbone.blocks:  # type: ignore[union-attr]
        block.mlp.compile(backend=backend)
    torch.testing.assert_close(sample(cache, pipe=pipe), wanted, rtol=0, atol=1e-5)
    made = len(graphs)
    assert made
    sample(cache, pipe=pipe)
    assert len(graphs) == made


# ---- what it tells


def test_the_memory_is_bounded_and_told_by_site_and_order() -> None:
    cache = TaylorSeer(3, 2)
    denoise, run = start(cache, guidance=ClassifierFree(2.0), steps=12)
    held = []
    for _ in run:
        held.append(cache.report(denoise.store)["bytes"])
    told = cache.report(denoise.store)
    site = 2 * 16 * 32 * 4  # two samples of 16 tokens of 32 float32
    assert told["sites"] == {
        f"{branch} blocks.{i}.{kind}": [site] * 3
        for i in (0, 1) for kind in ("attn", "mlp") for branch in ("cond", "uncond")
    }  # fmt: skip
    assert told["bytes"] == 8 * 3 * site == max(held) and held[-1] == held[-4]
    assert told["steps"] == [0, 1, 4, 7, 10]
    assert (told["computed"], told["answered"]) == (8 * 5, 8 * 7)
    assert 0 < told["error"] < 1
    assert json.loads(json.dumps(told)) == told


def test_lite_keeps_one_site() -> None:
    cache, probe = TaylorSeer(3, 1, lite=True), Probe()
    denoise, run = start(cache, probe)
    list(run)
    assert probe.steps == [0, 1, 4, 7]
    assert cache.report(denoise.store)["sites"] == {"cond blocks.0-2": [2 * 16 * 32 * 4] * 2}


def test_a_smoother_run_is_forecast_better() -> None:
    # Random weights are smooth in a time that runs from 0 to 1, where 0 to 1000 turns the embedding many times.
    pipe = Pipeline(modality=PIPE.modality, tokenizer=PIPE.tokenizer, conditioner=PIPE.conditioner,
                    backbone=PIPE.backbone, process=LinearFlow())  # fmt: skip

    def error(order: int, steps: int) -> float:
        cache = TaylorSeer(2, order)
        denoise, run = start(cache, steps=steps, pipe=pipe)
        list(run)
        return cache.report(denoise.store)["error"]

    assert error(1, 64) < error(1, 16) / 4
    assert error(1, 64) < error(0, 64) / 4


def test_noise_at_every_step_is_warned_of_with_the_figure() -> None:
    cache = TaylorSeer(3, 1)
    for sampler in (Ancestral(), DDIM(0.5)):
        denoise, run = start(cache, sampler=sampler)
        list(run)
        error = cache.report(denoise.store)["error"]
        with pytest.warns(UserWarning, match=f"{type(sampler).__name__} draws noise .*{error:.1%} off"):
            cache.report(denoise.store, sampler)
    denoise, run = start(cache, sampler=DDIM())
    list(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.report(denoise.store, DDIM())


def test_a_network_without_sub_layers_is_warned_of(cache: Any) -> None:
    with pytest.warns(UserWarning, match="nothing was cached"):
        cache.report({})


@pytest.mark.parametrize("made", list(CACHES))
def test_it_is_written_as_json_and_as_text_and_built_again(made: str) -> None:
    cache = CACHES[made]()
    described = components.describe("interceptor", cache)
    again = components.build("interceptor", json.loads(json.dumps(described)))
    assert components.describe("interceptor", again) == described
    spelt = components.build("interceptor", parse(spell(described), "interceptor"))
    assert torch.equal(sample(spelt), sample(cache))


def test_by_name_in_a_request() -> None:
    told = PIPE.generate(label=3, seed=0, steps=8, interceptors=["taylorseer:interval=3,order=1,sites=attn/mlp"])
    assert told.recipe["interceptors"][0] | {"interval": 3, "sites": ["attn", "mlp"]} == told.recipe["interceptors"][0]
    same = PIPE.generate(label=3, seed=0, steps=8, interceptors=[TaylorSeer(3, 1)])
    assert torch.equal(told.tensor, same.tensor)
    parts = PIPE.generate(label=[3, 1, 2], seed=0, steps=8, batch=1, interceptors=["taylorseer:interval=3"])
    whole = PIPE.generate(label=[3, 1, 2], seed=0, steps=8, interceptors=["taylorseer:interval=3"])
    torch.testing.assert_close(parts.tensor, whole.tensor, rtol=0, atol=1e-5)
    assert components.describe("interceptor", reuse(2))["type"] == "taylorseer"


# ---- what is refused


def test_an_unknown_site_is_answered_with_the_sites_there_are() -> None:
    with pytest.raises(InputError, match=r"sites: got 'mpl'; .*attn.*mlp.*blocks\.1\.attn.*did you mean 'mlp'"):
        sample(TaylorSeer(3, sites=["attn", "mpl"]))
    with pytest.raises(InputError, match=r"blocks\.7\.mlp"):
        sample(TaylorSeer(3, sites="blocks.7.mlp"))


def test_derivatives_are_refused(cache: Any) -> None:
    denoise = Denoiser(PIPE.backbone, PIPE.process, {"label": Condition(torch.tensor([3]))}, interceptors=[cache],
                       attention="math")  # fmt: skip
    t, x = torch.full((1,), 0.5, dtype=torch.float64), torch.zeros(1, 1, 8, 8)

    def predict(x: Tensor) -> Tensor:
        return denoise(x, t, StepInfo(0, STEPS)).velocity

    with pytest.raises(InputError, match="under differentiation"):
        predict(x)
    with torch.no_grad(), pytest.raises(InputError, match="under differentiation"):
        torch.func.jvp(predict, (x,), (x,))


def test_a_solver_with_steps_of_its_own_is_refused(cache: Any) -> None:
    with pytest.raises(InputError, match="sampler: got one that chooses its own steps"):
        sample(cache, sampler=Dopri5())
