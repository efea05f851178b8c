"""The golden cases of RDT: the small ones that are versioned, and all of them where they are at hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from gencore.processes.tables import TableProcess
from gencore.samplers.dpm_solver import DPMSolver
from gencore.testing.cases import read_io
from gencore.testing.golden import FAIL, PASS, check_case, find_cases
from gencore.weights.files import read_tensors, write_tensors

ROOT = Path(__file__).resolve().parents[3]
SMALL = ROOT / "tests" / "golden_small"
LARGE = Path(os.environ.get("GENCORE_GOLDEN") or ROOT.parent / "shared" / "golden")


def large() -> list[Path]:
    return find_cases(LARGE, ["rdt-1b"]) if (LARGE / "rdt-1b").is_dir() else []


@pytest.mark.parametrize("case", find_cases(SMALL, ["rdt-1b"]), ids=lambda case: case.name)
def test_the_versioned_cases_pass(case: Path) -> None:
    outcome = check_case(case)
    assert outcome.status == PASS, str(outcome)


@pytest.mark.skipif(not large(), reason="needs the golden cases: set GENCORE_GOLDEN")
@pytest.mark.parametrize("case", large(), ids=lambda case: case.name)
def test_every_case_passes_and_every_tensor_is_accounted_for(case: Path) -> None:
    outcome = check_case(case)
    assert outcome.status == PASS, str(outcome)
    assert set(outcome.inputs) | set(outcome.compared) | set(outcome.unused) == set(read_io(case))


def copied(case: Path, folder: Path) -> Path:
    target = folder / "rdt-1b" / "renamed"
    target.parent.mkdir(exist_ok=True)
    shutil.copytree(case, target)
    for file in (target, *target.iterdir()):
        file.chmod(0o700)
    return target


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("norm-eps", "y"),
        ("norm-eps", "contrast/eps0"),
        ("scheduler", "dpm/20/sample/traj"),
        ("scheduler", "dpm/5/timesteps"),
        ("scheduler", "betas"),
    ],
)
def test_another_number_fails_and_is_named(name: str, tensor: str, tmp_path: Path) -> None:
    case = copied(SMALL / "rdt-1b" / name, tmp_path)
    io = read_io(case)
    value = io[tensor].clone()
    value.view(-1)[-1] += 1
    write_tensors(case / "io.safetensors", io | {tensor: value}, force=True)
    outcome = check_case(case)
    assert outcome.status == FAIL and outcome.faults[0].startswith(f"{tensor}: off by") and len(outcome.faults) == 1


@pytest.mark.skipif(not large(), reason="needs the golden cases: set GENCORE_GOLDEN")
@pytest.mark.parametrize(
    "weight", ["model.blocks.1.cross_attn.kv.weight", "model.blocks.0.norm2.weight", "model.freq_embedder.mlp.2.weight"]
)
def test_another_weight_fails(weight: str, tmp_path: Path) -> None:
    case = copied(LARGE / "rdt-1b" / "runner-tiny", tmp_path)
    weights, _ = read_tensors(case / "weights.safetensors")
    # Of fused keys and values these are the values: a scaled key is what the norm of keys undoes.
    weights[weight][len(weights[weight]) // 2 :] *= 1.5
    write_tensors(case / "weights.safetensors", weights, force=True)
    faults = {fault.partition(":")[0] for fault in check_case(case).faults}
    assert {"inter/block2", "grad/model.blocks.0.norm2.weight"} <= faults


def test_solver_noise_levels_hold_element_by_element() -> None:
    io = read_io(SMALL / "rdt-1b" / "scheduler")
    process = TableProcess.named("squaredcos_cap_v2", 1000, single=True)
    for steps in (1, 2, 3, 5, 10, 20):
        coeffs = process.coeffs(DPMSolver(spacing="open").times(process, "x0", steps))
        torch.testing.assert_close((coeffs.sigma / coeffs.alpha).float(), io[f"dpm/{steps}/sigmas"], rtol=2e-6, atol=0)
    torch.testing.assert_close(process.betas.float(), io["betas"], rtol=0, atol=0)
