"""The golden cases of EDLM, and further ones of the same kinds, made here by other means with other configurations."""

from __future__ import annotations

import json
import os
import shutil
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gencore.testing.cases import read_io
from gencore.testing.golden import FAIL, PASS, check_case, find_cases, main
from gencore.weights.files import read_tensors, write_tensors

ROOT = Path(__file__).resolve().parents[3]
SMALL = ROOT / "tests" / "golden_small"
LARGE = Path(os.environ.get("GENCORE_GOLDEN") or ROOT.parent / "shared" / "golden")
NEVER_COMPARED = {"is/weights_reference_code_sign"}


def large() -> list[Path]:
    return find_cases(LARGE, ("edlm",)) if (LARGE / "edlm").is_dir() else []


def test_the_versioned_cases_pass_through_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SMALL), "--system", "edlm"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "golden: 5 passed, 0 failed, 0 without adapter"


@pytest.mark.skipif(not large(), reason="needs the golden cases: set GENCORE_GOLDEN")
@pytest.mark.parametrize("case", large(), ids=lambda case: case.name)
def test_every_case_passes(case: Path) -> None:
    outcome = check_case(case)
    assert outcome.status == PASS, str(outcome)
    assert set(outcome.unused) <= NEVER_COMPARED and set(outcome.floors) <= {"noise/cosinesqr/dsigma"}
    told = set(outcome.inputs) | set(outcome.compared) | set(outcome.unused)
    assert set(outcome.inputs).isdisjoint(outcome.compared) and told == set(read_io(case))


def copied(name: str, folder: Path) -> Path:
    case = folder / "edlm" / "renamed"
    case.parent.mkdir(exist_ok=True)
    shutil.copytree(SMALL / "edlm" / name, case)
    return case


@pytest.mark.parametrize("name", ["mdlm-tiny", "edlm-trajectory", "cached-ancestral", "toy-exact"])
def test_cases_are_told_by_what_they_hold_and_not_by_their_name(name: str, tmp_path: Path) -> None:
    assert check_case(copied(name, tmp_path)).status == PASS


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("mdlm-tiny", "net/logits_sigma"),
        ("mdlm-tiny", "net/rotary_sin"),
        ("mdlm-tiny", "noise/geometric/dsigma"),
        ("mdlm-tiny", "noise/linear/is_t"),
        ("mdlm-tiny", "obj/d3pm_T100/nlls"),
        ("mdlm-tiny", "obj/subs_changevar/move_chance"),
        ("mdlm-tiny", "obj/sedd/xt"),
        ("mdlm-tiny", "step/cache/q_xs"),
        ("mdlm-tiny", "step/denoiser/probs"),
        ("edlm-trajectory", "window/weights"),
        ("edlm-trajectory", "window/chosen"),
        ("edlm-trajectory", "window/log_p_ar"),
        ("edlm-trajectory", "x_after_step"),
        ("cached-ancestral", "calls_cached"),
        ("cached-ancestral", "network_called"),
        ("toy-exact", "k3/dist"),
        ("toy-exact-temp", "k4/tv_limit"),
        ("toy-exact-temp", "states"),
    ],
)
def test_another_number_fails_and_is_named(name: str, tensor: str, tmp_path: Path) -> None:
    case = copied(name, tmp_path)
    io = read_io(case)
    value = io[tensor].flatten().clone()
    if value.is_floating_point():
        value[-1] += 0.01 * value.abs().max()
    else:
        value[-1] = ~value[-1] if value.dtype == torch.bool else value[-1] + 1
    write_tensors(case / "io.safetensors", io | {tensor: value.reshape(io[tensor].shape)}, force=True)
    outcome = check_case(case)
    assert outcome.status == FAIL and [fault.partition(":")[0] for fault in outcome.faults] == [tensor]


def test_another_weight_fails(tmp_path: Path) -> None:
    case = copied("mdlm-tiny", tmp_path)
    weights, _ = read_tensors(case / "weights.safetensors")
    weights["blocks.1.attn_qkv.weight"][0] *= 1.05
    write_tensors(case / "weights.safetensors", weights, force=True)
    faults = {fault.partition(":")[0] for fault in check_case(case).faults}
    assert {"net/block1", "net/logits_sigma0"} <= faults and "net/block0" not in faults


def test_the_other_sign_of_the_energy_fails(tmp_path: Path) -> None:
    # The published sampler takes softmax(+E / temperature).
    case = copied("edlm-trajectory", tmp_path)
    meta = json.loads((case / "meta.json").read_text())
    meta["config"]["is_temp"] *= -1
    (case / "meta.json").write_text(json.dumps(meta))
    assert check_case(case).status == FAIL


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def drawn(p: np.ndarray, u: np.ndarray) -> np.ndarray:
    return (p / (1e-10 - np.log(u + 1e-10))).argmax(-1)


class ByHand:
    """A table denoiser and its runs in numpy, sequence by sequence."""

    def __init__(self, seed: int, vocab: int, mask: int, length: int, batch: int, steps: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.vocab, self.mask, self.length, self.batch, self.steps = vocab, mask, length, batch, steps
        self.table, self.context = self.rng.normal(size=(length, vocab)), self.rng.normal(size=(vocab, vocab))
        self.u_step = self.rng.random((steps, batch, length, vocab))
        self.times = np.linspace(1, 1e-5, steps + 1)

    def p_theta(self, x: np.ndarray) -> np.ndarray:
        """(L, V) for one sequence (L,)."""
        z = self.table + self.context[x].mean(0)
        z[:, self.mask] = -np.inf
        p = softmax(z)
        p[x != self.mask] = np.eye(self.vocab)[x[x != self.mask]]
        return p

    def step(self, x: np.ndarray, p: np.ndarray, i: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        q = p * (self.times[i] - self.times[i + 1])
        q[:, self.mask] = self.times[i + 1]
        return q, np.where(x == self.mask, drawn(q, self.u_step[i, b]), x)

    def config(self) -> dict[str, Any]:
        return {"vocab_size": self.vocab, "mask_index": self.mask, "length": self.length, "batch": self.batch,
                "steps": self.steps, "sampler_eps": 1e-5}  # fmt: skip


def written(folder: Path, config: dict[str, Any], io: dict[str, Any]) -> Path:
    case = folder / "edlm" / "other"
    case.mkdir(parents=True)
    (case / "meta.json").write_text(json.dumps({"config": config, "tolerance": {"float64": 1e-9, "tokens": "exact"}}))
    write_tensors(case / "io.safetensors", {k: torch.as_tensor(np.array(v)) for k, v in io.items()})
    return case


@pytest.mark.parametrize(
    ("batch", "k", "start", "end", "temp", "carry", "mask"),
    [(3, 4, 1.0, 0.5, 1.0, False, 4), (1, 2, 0.6, 0.4, 0.5, True, 0), (2, 1, 1.0, 0.0, 2.0, True, 2),
     (4, 5, 0.95, 1e-6, 0.7, True, 4)],
)  # fmt: skip
def test_full_runs_of_other_configurations(
    batch: int, k: int, start: float, end: float, temp: float, carry: bool, mask: int, tmp_path: Path
) -> None:
    run = ByHand(batch + k, 5, mask, 6, batch, 9)
    others = [v for v in range(run.vocab) if v != mask]
    init = np.log(softmax(run.rng.normal(size=4)))
    trans = np.log(softmax(run.rng.normal(size=(4, 4))))
    u_cand, u_pick = run.rng.random((9, batch, k, 6, 5)), run.rng.random((9, batch, k))
    x, kept = np.full((batch, 6), mask), {name: [] for name in ("p", "q", "x")}
    seen: dict[str, list[Any]] = {name: [] for name in ("candidates", "energy", "log_p_ar", "log_p_theta", "weights",
                                                        "chosen")}  # fmt: skip
    inside = [end <= t <= start for t in run.times[:-1]]
    for i in range(run.steps):
        rows: dict[str, list[Any]] = {name: [] for name in (*seen, "p", "q", "x")}
        for b in range(batch):
            p = run.p_theta(x[b])
            rows["p"].append(p)
            if inside[i]:
                candidates = drawn(p[None], u_cand[i, b])
                log_ar, log_theta = [], []
                for c in candidates:
                    ids = [others.index(v) for v in c]
                    terms = [init[ids[0]], *(trans[a, z] for a, z in pairwise(ids))]
                    log_ar.append(sum(term for term, v in zip(terms, x[b], strict=True) if v == mask or not carry))
                    log_theta.append(sum(np.log(p[place, v]) for place, v in enumerate(c)))
                energy = np.array(log_theta) - np.array(log_ar)
                weights = softmax(-energy / temp)
                chosen = int(drawn(weights, u_pick[i, b]))
                p = np.eye(run.vocab)[candidates[chosen]]
                for name, value in (("candidates", candidates), ("energy", energy), ("log_p_ar", log_ar),
                                    ("log_p_theta", log_theta), ("weights", weights), ("chosen", chosen)):  # fmt: skip
                    rows[name].append(value)
            q, new = run.step(x[b], p, i, b)
            rows["q"].append(q)
            rows["x"].append(new)
        x = np.stack(rows["x"])
        for name in kept:
            kept[name].append(np.stack(rows[name]))
        for name in seen:
            seen[name] += [np.stack(rows[name])] if inside[i] else []
    final = np.stack([np.where(row == mask, run.p_theta(row).argmax(-1), row) for row in x])
    config = {**run.config(), "is_size": k, "is_temp": temp, "is_start": start, "is_end": end, "ar_carry_over": carry,
              "predictor": "ddpm_cache formulas"}  # fmt: skip
    case = written(tmp_path, config, {
        "logit_table": run.table, "logit_context": run.context, "ar_init_logp": init, "ar_trans_logp": trans,
        "u_step": run.u_step, "u_candidate": u_cand, "u_pick": u_pick, "in_window": np.array(inside),
        "timesteps": run.times, "p_theta": np.stack(kept["p"]), "q_xs": np.stack(kept["q"]),
        "x_after_step": np.stack(kept["x"]), "x_final": final,
        **{f"window/{name}": np.stack(values) for name, values in seen.items()},
    })  # fmt: skip
    outcome = check_case(case)
    assert outcome.status == PASS, outcome.faults
    assert not outcome.unused


@pytest.mark.parametrize(("steps", "length", "batch", "timed"), [(40, 3, 1, False), (7, 9, 4, False), (25, 2, 3, True)])
def test_cached_runs_of_other_configurations(steps: int, length: int, batch: int, timed: bool, tmp_path: Path) -> None:
    run = ByHand(steps, 6, 5, length, batch, steps)
    x, after, changed = np.full((batch, length), 5), [], []
    for i in range(steps):
        new = np.stack([run.step(x[b], run.p_theta(x[b]), i, b)[1] for b in range(batch)])
        changed.append(bool((new != x).any()))
        after.append(new)
        x = new
    # A network with a time is shown another one at every step.
    called = [timed or i == 0 or changed[i - 1] for i in range(steps)]
    case = written(tmp_path, {**run.config(), "time_conditioning": timed}, {
        "logit_table": run.table, "logit_context": run.context, "u_step": run.u_step, "timesteps": run.times,
        "x_after_step": np.stack(after), "changed": np.array(changed), "network_called": np.array(called),
        "x_final": np.stack([np.where(row == 5, run.p_theta(row).argmax(-1), row) for row in x]),
        "calls_cached": np.array(sum(called) + 1), "calls_uncached": np.array(steps + 1),
    })  # fmt: skip
    outcome = check_case(case)
    assert outcome.status == PASS, outcome.faults


@pytest.mark.parametrize(
    ("vocab", "length", "temp", "ks"), [(4, 2, 1.0, (1, 2, 3)), (2, 4, 0.5, (1, 3)), (5, 1, 2.0, (2, 4))]
)
def test_exact_laws_of_other_configurations(
    vocab: int, length: int, temp: float, ks: tuple[int, ...], tmp_path: Path
) -> None:
    rng = np.random.default_rng(vocab)
    states = np.array(list(product(range(vocab), repeat=length)))
    joint = rng.dirichlet(np.ones(len(states)))
    marginals = np.stack([[joint[states[:, i] == v].sum() for v in range(vocab)] for i in range(length)])
    proposal = np.prod([marginals[i, states[:, i]] for i in range(length)], axis=0)
    energy = np.log(proposal) - np.log(joint)
    limit = proposal ** (1 - 1 / temp) * joint ** (1 / temp)
    limit /= limit.sum()
    io = {"states": states, "joint": joint, "marginals": marginals, "proposal": proposal, "energy": energy,
          "limit": limit}  # fmt: skip
    for k in ks:
        law = np.zeros(len(states))
        for some in product(range(len(states)), repeat=k):
            for j, weight in enumerate(softmax(-energy[list(some)] / temp)):
                law[some[j]] += np.prod(proposal[list(some)]) * weight
        io |= {f"k{k}/dist": law, f"k{k}/sum": np.array(law.sum()), f"k{k}/tv": np.array(np.abs(law - joint).sum() / 2),
               f"k{k}/tv_limit": np.array(np.abs(law - limit).sum() / 2)}  # fmt: skip
    case = written(tmp_path, {"vocab": vocab, "length": length, "temp": temp}, io)
    outcome = check_case(case)
    assert outcome.status == PASS, outcome.faults


def test_more_candidates_come_closer_to_the_joint() -> None:
    io = read_io(SMALL / "edlm" / "toy-exact")
    distances = [round(float(io[f"k{k}/tv"]), 3) for k in (1, 2, 3)]
    assert distances == [0.206, 0.112, 0.076] and check_case(SMALL / "edlm" / "toy-exact").status == PASS
