"""The golden cases of VDT: the small ones that are versioned, and all of them where they are at hand."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from gencore.testing.cases import read_io
from gencore.testing.golden import FAIL, PASS, check_case, find_cases, main
from gencore.weights.files import read_tensors, write_tensors

ROOT = Path(__file__).resolve().parents[3]
SMALL = ROOT / "tests" / "golden_small"
LARGE = Path(os.environ.get("GENCORE_GOLDEN") or ROOT.parent / "shared" / "golden")


def large() -> list[Path]:
    return find_cases(LARGE, ["vdt"]) if (LARGE / "vdt").is_dir() else []


def test_the_versioned_cases_pass_through_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SMALL), "--system", "vdt"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "golden: 2 passed, 0 failed, 0 without adapter"


@pytest.mark.skipif(not large(), reason="needs the golden cases: set GENCORE_GOLDEN")
@pytest.mark.parametrize("case", large(), ids=lambda case: case.name)
def test_every_case_passes(case: Path) -> None:
    outcome = check_case(case)
    assert outcome.status == PASS, str(outcome)
    assert not outcome.unused
    assert set(outcome.inputs) | set(outcome.compared) == set(read_io(case))
    assert set(outcome.inputs).isdisjoint(outcome.compared)


def copied(name: str, folder: Path) -> Path:
    case = folder / "vdt" / "renamed"
    case.parent.mkdir(exist_ok=True)
    shutil.copytree(SMALL / "vdt" / name, case)
    return case


@pytest.mark.parametrize("name", ["mask_facts", "loss_gradients"])
def test_cases_are_told_by_what_they_hold_and_not_by_their_name(name: str, tmp_path: Path) -> None:
    assert check_case(copied(name, tmp_path)).status == PASS


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("mask_facts", "8x4x6.spatial"),
        ("mask_facts", "16x16x16.random_frames"),
        ("loss_gradients", "vb"),
        ("loss_gradients", "mse"),
        ("loss_gradients", "grad_norms"),
        ("loss_gradients", "grad.blocks.0.temporal_fc.weight"),
    ],
)
def test_another_number_fails_and_is_named(name: str, tensor: str, tmp_path: Path) -> None:
    case = copied(name, tmp_path)
    io = read_io(case)
    value = io[tensor].flatten().clone()
    value[-1] += 1 if value.dtype == torch.uint8 else 0.01 * value.abs().max()
    write_tensors(case / "io.safetensors", io | {tensor: value.reshape(io[tensor].shape)}, force=True)
    outcome = check_case(case)
    assert outcome.status == FAIL and outcome.faults[0].startswith(f"{tensor}: off by") and len(outcome.faults) == 1


@pytest.mark.parametrize(
    "weight", ["blocks.0.temporal_attn.qkv.weight", "blocks.0.temporal_norm1.weight", "blocks.0.attn.proj.weight"]
)
def test_another_weight_fails(weight: str, tmp_path: Path) -> None:
    case = copied("loss_gradients", tmp_path)
    weights, _ = read_tensors(case / "weights.safetensors")
    weights[weight][: len(weights[weight]) // 2] *= 1.5
    write_tensors(case / "weights.safetensors", weights, force=True)
    faults = [fault.partition(":")[0] for fault in check_case(case).faults]
    assert {"grad_norms", "grad.x_embedder.proj.weight"} <= set(faults)


def test_what_the_case_says_of_its_masks_is_compared(tmp_path: Path) -> None:
    case = copied("mask_facts", tmp_path)
    meta = json.loads((case / "meta.json").read_text())
    meta["facts"][0]["generated_cells"]["spatial"] += 1
    (case / "meta.json").write_text(json.dumps(meta))
    assert len(check_case(case).faults) == 1 and check_case(case).faults[0].startswith("facts: ")


def test_a_table_of_frames_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    case = copied("loss_gradients", tmp_path)
    weights, _ = read_tensors(case / "weights.safetensors")
    write_tensors(case / "weights.safetensors", weights | {"time_embed": weights["time_embed"].flip(1)}, force=True)
    assert "time_embed" in check_case(case).faults[0]
