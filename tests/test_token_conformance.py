"""The conformance suite on tokens: a sound discrete modality passes, and faults of tokens are caught."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gencore import plugins
from gencore.noise import Keyed
from gencore.testing.conformance import discovery
from gencore.testing.conformance.run import CHECKS, run_checks

sys.path.append(str(Path(__file__).with_name("toy")))
import tokens_manifest
import tokens_modality
import tokens_sampler

Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    with plugins.registered(tokens_manifest.manifest):
        yield


def test_a_sound_discrete_modality_passes_every_check() -> None:
    # How a plug-in is found and imported does not depend on its kind of data.
    report = run_checks("tokens", only=[name for name, check in CHECKS.items() if check not in discovery.CHECKS])
    assert [(r.id, r.cause) for r in report.results if r.status != "passed"] == []


def data_that_hold_the_mask(patch: Patch) -> None:
    whole = tokens_modality.Words.__getitem__
    patch.setattr(tokens_modality.Words, "__getitem__", lambda self, i: {**whole(self, i), "data": torch.full((6,), 4)})


def data_outside_the_vocabulary(patch: Patch) -> None:
    whole = tokens_modality.Words.__getitem__
    patch.setattr(tokens_modality.Words, "__getitem__", lambda self, i: {**whole(self, i), "data": torch.full((6,), 9)})


def samples_with_masks_left(patch: Patch) -> None:
    from gencore.samplers.masked import MaskedAncestral

    def step(self: Any, state: Any, noise: Any) -> Any:
        from gencore.sampler import Query

        d = yield Query(state.x, state.now)
        return state.advance(state.x, d)

    patch.setattr(MaskedAncestral, "step", step)


def ids_that_are_floats(patch: Patch) -> None:
    from gencore.tokenizer import Latent

    patch.setattr(tokens_modality.Letters, "encode", lambda self, data, noise=None: Latent(data.float()))


def given_tokens_of_any_value(patch: Patch) -> None:
    def known(self: Any, source: Any, pipe: Any, field: str = "known") -> torch.Tensor:
        return pipe.tokenizer.spec().check(source, field)

    patch.setattr(tokens_modality.Tokens, "known", known)


def first_step_depends_on_the_batch(patch: Patch) -> None:
    patch.setattr("gencore.pipeline.Keyed", lambda seeds, **how: Keyed([s + 99 * len(seeds) for s in seeds], **how))


def a_word_of_the_modality_takes_anything(patch: Patch) -> None:
    patch.setattr(tokens_modality.Tokens, "asked", lambda self, words, options, pipe: {})


def draws_in_single_precision_of_the_wrong_law(patch: Patch) -> None:
    patch.setattr(tokens_sampler, "draw", lambda weights, eps: (weights / (0.3 + eps)).argmax(-1))


def likeliest_tokens_declared_exact(patch: Patch) -> None:
    patch.setattr(tokens_sampler, "draw", lambda weights, eps: weights.argmax(-1))


FAULTS: dict[Callable[[Patch], None], tuple[str, str]] = {
    data_that_hold_the_mask: ("spec-matches-shapes", "clean data hold the mask token 4"),
    data_outside_the_vocabulary: ("spec-matches-shapes", "token ids 9..9 leave the vocabulary of 5"),
    samples_with_masks_left: ("spec-matches-shapes", "clean data hold the mask token 4"),
    ids_that_are_floats: ("spec-matches-shapes", "discrete latents are torch.float32"),
    given_tokens_of_any_value: ("unusable-given-data-are-refused", "known with token -1 is accepted"),
    first_step_depends_on_the_batch: ("noise-alone-equals-noise-in-a-batch", "starts elsewhere alone"),
    a_word_of_the_modality_takes_anything: ("values-out-of-range-are-refused", "initial given as an object"),
    draws_in_single_precision_of_the_wrong_law: ("added-samplers-keep-their-contract", "LeftToRight: law: "),
    likeliest_tokens_declared_exact: ("added-samplers-keep-their-contract", "another law: total variation"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_of_tokens_is_caught(monkeypatch: Patch, fault: Callable[[Patch], None]) -> None:
    check, says = FAULTS[fault]
    fault(monkeypatch)
    (result,) = run_checks("tokens", only=[check]).results
    assert result.status == "failed" and says in result.cause, result
