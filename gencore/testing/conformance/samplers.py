"""Samplers the plug-in adds are held against exact solutions."""

from __future__ import annotations

from gencore.testing.conformance.subject import Subject
from gencore.testing.failures import CheckFailed, Skipped
from gencore.testing.orders import check_sampler


def added_samplers_keep_their_contract(subject: Subject) -> None:
    """A sampler works for every modality, so it is checked on data whose predictions are exact: order or law, end
    point, resuming, batches, given cells."""
    own = subject.samplers(own=True)
    if not own:
        raise Skipped("the plug-in adds no sampler")
    for name, sampler in own.items():
        try:
            check_sampler(sampler)
        except CheckFailed as fault:
            raise CheckFailed(f"sampler '{name}': {fault}") from fault


CHECKS = (added_samplers_keep_their_contract,)
