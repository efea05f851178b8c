"""EDLM and MDLM: networks, schedules, losses, steps, runs, energies and exact laws, told apart by what a case holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gencore.testing.cases import WEIGHTS, Got, read_io, weights_file
from gencore_text.backbones.ddit import DDiT
from gencore_text.golden.denoiser import denoiser
from gencore_text.golden.energies import energies
from gencore_text.golden.table import cached, corrected
from gencore_text.golden.toy import toy
from gencore_text.importers.mdlm import import_mdlm


def adapter(case: Path, meta: dict[str, Any]) -> Got | None:
    """The golden numbers of one case, or None for one of an unknown kind."""
    io = read_io(case)
    if "joint" in io:
        return toy(meta, io)
    if "logit_table" in io:
        return corrected(meta, io) if "u_candidate" in io else cached(meta, io)
    if "model_case" not in meta and not (case / WEIGHTS).exists():
        return None
    config = meta["config"]
    net = import_mdlm(weights_file(case, meta), heads=config["n_heads"], mask_id=config["mask_index"]).backbone
    assert isinstance(net, DDiT)
    return energies(net, case, meta, io) if "u_neg" in io else denoiser(net, meta, io)
