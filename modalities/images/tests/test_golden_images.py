"""The golden cases of DiT and SiT: the small ones that are versioned, and all of them where they are at hand."""

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
SYSTEMS = ("dit", "sit")


def large(*systems: str) -> list[Path]:
    return find_cases(LARGE, systems) if all((LARGE / system).is_dir() for system in systems) else []


def test_the_versioned_cases_pass_through_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SMALL), "--system", "dit", "--system", "sit"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "golden: 6 passed, 0 failed, 0 without adapter"


@pytest.mark.skipif(not large(*SYSTEMS), reason="needs the golden cases: set GENCORE_GOLDEN")
@pytest.mark.parametrize("case", large(*SYSTEMS), ids=lambda case: f"{case.parent.name}/{case.name}")
def test_every_case_passes(case: Path) -> None:
    outcome = check_case(case)
    assert outcome.status == PASS, str(outcome)
    assert not outcome.unused
    # Nothing is both fed in and compared, and most of a case is compared.
    assert set(outcome.inputs).isdisjoint(outcome.compared) and set(outcome.inputs) | set(outcome.compared) == set(
        read_io(case)
    )


def copied(name: str, folder: Path, rename: str = "renamed") -> Path:
    case = folder / name.partition("/")[0] / rename
    case.parent.mkdir(exist_ok=True)
    shutil.copytree(SMALL / name, case)
    return case


@pytest.mark.parametrize("name", ["dit/model_nosigma_nodrop", "dit/respacing_sections", "sit/intervals", "sit/paths"])
def test_cases_are_told_by_what_they_hold_and_not_by_their_name(name: str, tmp_path: Path) -> None:
    assert check_case(copied(name, tmp_path)).status == PASS


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("dit/model_nosigma_nodrop", "out"),
        ("dit/model_nosigma_nodrop", "mid.blocks.0.attn"),
        ("dit/model_nosigma_nodrop", "tfreq"),
        ("dit/respacing_sections", "T1000.3_1_7.betas"),
        ("dit/respacing_sections", "T10.2_1_2.steps"),
        ("sit/intervals", "eval.user"),
        ("sit/paths", "VP.drift_var"),
        ("sit/paths", "GVP.diffusion.inccreasing-decreasing"),
        ("sit/likelihood_toy", "logp"),
        ("sit/likelihood_paths", "VP.loose.z"),
    ],
)
def test_another_number_fails_and_is_named(name: str, tensor: str, tmp_path: Path) -> None:
    case = copied(name, tmp_path)
    io = read_io(case)
    value = io[tensor].flatten().clone()
    value[-1] += 1 if value.dtype == torch.int64 else 0.01 * value.abs().max()
    write_tensors(case / "io.safetensors", io | {tensor: value.reshape(io[tensor].shape)}, force=True)
    outcome = check_case(case)
    assert outcome.status == FAIL and outcome.faults[0].startswith(f"{tensor}: off by") and len(outcome.faults) == 1


def test_another_weight_fails(tmp_path: Path) -> None:
    case = copied("dit/model_nosigma_nodrop", tmp_path)
    weights, _ = read_tensors(case / "weights.safetensors")
    weights["blocks.0.attn.qkv.weight"][0] *= 1.05
    write_tensors(case / "weights.safetensors", weights, force=True)
    faults = [fault.partition(":")[0] for fault in check_case(case).faults]
    assert "mid.blocks.0.attn" in faults and "out" in faults and "mid.x_embedder" not in faults


def test_counts_and_refusals_are_facts_of_the_case(tmp_path: Path) -> None:
    case = copied("sit/likelihood_paths", tmp_path)
    meta = json.loads((case / "meta.json").read_text())
    meta["nfe"]["Linear.default"] += 6
    (case / "meta.json").write_text(json.dumps(meta))
    assert check_case(case).faults == [
        f"nfe/Linear.default: {meta['nfe']['Linear.default'] - 6} for {meta['nfe']['Linear.default']}"
    ]
    case = copied("dit/respacing_sections", tmp_path)
    meta = json.loads((case / "meta.json").read_text())
    meta["must_raise"]["fine"] = {"T": 10, "respacing": "5", "error": "ValueError"}
    (case / "meta.json").write_text(json.dumps(meta))
    assert check_case(case).faults == ["must_raise/fine/error: 'kept [0, 2, 4, 7, 9]' for 'ValueError'"]
