"""The public sampler check passes sound methods and names what is wrong with broken ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from gencore import testing
from gencore.noise import Keyed, Noise, Recorded
from gencore.processes.flows import LinearFlow
from gencore.sampler import Query, Sampler, State, Steps
from gencore.samplers.ddim import DDIM
from gencore.samplers.runge_kutta import RungeKutta, heun
from gencore.samplers.sde import StochasticInterpolant
from gencore.spec import LatentSpec, broadcast_time
from gencore.testing.failures import CheckFailed
from gencore.testing.orders import SAMPLER_CHECKS, Silent, check_sampler


@dataclass(frozen=True)
class Euler(Sampler):
    """A sound sampler, written as a third party would; the broken ones below differ in one line."""

    order: int = 1

    def move(self, state: State, d: Any) -> torch.Tensor:
        h = broadcast_time(state.time(state.i + 1) - state.time(state.i), state.x).to(state.x.dtype)
        return state.x + h * d.velocity

    def step(self, state: State, noise: Noise) -> Steps:
        d = yield Query(state.x, state.time(state.i))
        return state.advance(self.move(state, d), d)

    def config(self) -> dict[str, Any]:
        return {"order": self.order}


class StopsEarly(Euler):
    def times(self, process, kind, steps):
        return torch.linspace(1, 0.4, steps + 1, dtype=torch.float64)


class HalfSteps(Euler):
    def move(self, state, d):
        return (state.x + super().move(state, d)) / 2


class Remembers(Euler):
    """Multistep extrapolation whose history lives in the sampler."""

    def move(self, state, d):
        kept = self.__dict__.setdefault("_kept", [torch.zeros_like(d.velocity)])
        was, kept[0] = kept[0], d.velocity
        slope = d.velocity + (0.1 * (d.velocity - was) if was.shape == d.velocity.shape else 0)
        h = broadcast_time(state.time(state.i + 1) - state.time(state.i), state.x)
        return state.x + h * slope


class InPlace(Euler):
    def move(self, state, d):
        state.x.add_(super().move(state, d) - state.x)
        return state.x.clone()


class MeanOfBatch(Euler):
    def move(self, state, d):
        x = super().move(state, d)
        return x + 1e-3 * (x.mean(0, keepdim=True) - x)


class MixesCells(Euler):
    def move(self, state, d):
        x = super().move(state, d)
        return x + 1e-3 * x.mean(-1, keepdim=True)


class DrawsUndeclared(Euler):
    def step(self, state: State, noise: Noise) -> Steps:
        d = yield Query(state.x, state.time(state.i))
        z = noise.draw("normal", ("step", state.i), tuple(state.x.shape[1:]))
        return state.advance(self.move(state, d) + 1e-3 * z, d)


class GlobalNoise(Euler):
    def move(self, state, d):
        return super().move(state, d) + 1e-3 * torch.randn_like(state.x)


class NoisyMoments(Euler):
    draws = "normal"

    def step(self, state: State, noise: Noise) -> Steps:
        d = yield Query(state.x, state.time(state.i))
        z = noise.draw("normal", ("step", state.i), tuple(state.x.shape[1:]))
        return state.advance(self.move(state, d) + 0.2 * z, d)


class Forgetful(Euler):
    def config(self):
        return {"ordre": 1}


BROKEN = {
    "overstated order": (Euler(order=2), "order: declares order 2, measured 1."),
    "half steps": (HalfSteps(), "order"),
    "stops early": (StopsEarly(), "end-point"),
    "history in the sampler": (Remembers(), "repeat"),
    "history breaks resuming": (Remembers(), "resume"),
    "changes its input": (InPlace(), "resume: step 2 changes the state it was given"),
    "samples of a batch talk": (MeanOfBatch(), "batch"),
    "cells talk": (MixesCells(), "known: independent free cells move"),
    "draws undeclared noise": (DrawsUndeclared(), "draws normal noise for ('step', 0) but declares draws = None"),
    "global noise": (GlobalNoise(order=0), "repeat"),
    "wrong noise": (NoisyMoments(order=0), "moments"),
    "config of another": (Forgetful(), "config"),
}


def test_a_sound_sampler_passes_and_the_name_is_public() -> None:
    testing.check_sampler(Euler())
    assert testing.check_sampler is check_sampler


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_sampler_is_told_what_is_wrong(name: str) -> None:
    sampler, text = BROKEN[name]
    with pytest.raises(CheckFailed) as caught:
        check_sampler(sampler)
    assert text in str(caught.value), str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_every_check_catches_something() -> None:
    told = {text.partition(":")[0] for _, text in BROKEN.values()}
    assert set(SAMPLER_CHECKS) <= told


def test_several_faults_are_told_at_once() -> None:
    with pytest.raises(CheckFailed, match=r"resume.*repeat"):
        check_sampler(Remembers())


def test_a_silent_source_gives_only_the_start() -> None:
    noise = Silent(Keyed([0]))
    assert noise.draw("normal", ("init",), (3,)).shape == (1, 3)
    with pytest.raises(CheckFailed, match="declares draws = None"):
        noise.draw("uniform", ("step", 0), (3,))


def test_declared_orders_are_the_methods_own() -> None:
    assert [s.order for s in (DDIM(), DDIM(eta=0.5), heun(), RungeKutta("rk4"), StochasticInterpolant())] == [
        1,
        0,
        2,
        4,
        0,
    ]
    assert DDIM().draws is None and DDIM(eta=0.5).draws == "normal"
    assert LinearFlow().prior(LatentSpec("b n", (1,)), Recorded([torch.ones(1, 1)])) == 1
