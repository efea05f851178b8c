"""SiT: the network, its paths, intervals, losses, samplers and likelihoods.

Published names carry SiT's own time s = 1 - t, in which noise is at 0; ``velocity`` there is minus ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gencore.backbones.dit import DiT
from gencore.testing.cases import WEIGHTS, Got, read_io
from gencore_images.golden import interpolants, networks, transport
from gencore_images.importers.sit import import_sit


def adapter(case: Path, meta: dict[str, Any]) -> Got | None:
    """By what the case holds: weights, intervals, paths, losses, trajectories, or likelihoods."""
    io = read_io(case)
    got = Got({})
    if "axes" in meta:
        return interpolants.intervals(meta, io)
    if "model_case" in meta or (case / WEIGHTS).exists():
        net = networks.pipeline(case, meta, import_sit).backbone
        assert isinstance(net, DiT)
        if (case / WEIGHTS).exists():
            got |= networks.model(net, meta, io)
        if "x1" in io:
            got |= interpolants.losses(net, io)
        if "z" in io and "cfg_scale" in meta:
            got |= transport.guided(net, meta, io)
        if any(name.startswith("net.") for name in io):
            got |= transport.reversed_runs(net, meta, io)
    if "x1_data" in io:
        got |= interpolants.paths(meta, io)
    if "toy.z" in io:
        got |= transport.toys(meta, io)
    if "solver" in meta:
        got |= transport.likelihoods(meta, io)
    return got if got.tensors else None
