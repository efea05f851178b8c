"""Golden cases of other sizes, schedules and times, made here from the equations in plain float64 code."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gencore.testing.cases import read_io
from gencore.testing.golden import PASS, check_case
from gencore.weights.files import write_tensors

EPS = 1e-3


def weights(seed: int, vocab: int, width: int, depth: int, heads: int, cond: int | None, out: int) -> dict[str, Tensor]:
    """A published state dict with random values; without `cond` one of an autoregressive network."""
    g, d = torch.Generator().manual_seed(seed), width
    shapes: dict[str, tuple[int, ...]] = {"vocab_embed.embedding": (vocab, width)}

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})

    for i in range(depth):
        b = f"blocks.{i}."
        shapes |= {f"{b}norm1.weight": (d,), f"{b}norm2.weight": (d,)}
        shapes |= {f"{b}attn_qkv.weight": (3 * d, d), f"{b}attn_out.weight": (d, d)}
        linear(f"{b}mlp.0", d, 2 * d)
        linear(f"{b}mlp.2", 2 * d, d)
        if cond:
            linear(f"{b}adaLN_modulation", cond, 6 * d)
    shapes["output_layer.norm_final.weight"] = (d,)
    linear("output_layer.linear", d, out)
    if cond:
        linear("output_layer.adaLN_modulation", cond, 2 * d)
        linear("sigma_map.mlp.0", 256, cond)
        linear("sigma_map.mlp.2", cond, cond)
    made = {name: 0.3 * torch.randn(shape, generator=g) for name, shape in shapes.items()}
    features = width // heads
    return {**made, "rotary_emb.inv_freq": 10000.0 ** (-torch.arange(0, features, 2) / features)}


def rotated(x: Tensor) -> Tensor:
    """(B, H, L, D) with the first half of D paired with the second."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2])[:, None].double() * 10000.0 ** (-torch.arange(half).double() / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def vector(w: dict[str, Tensor], sigma: Tensor) -> Tensor:
    """c (B, cond) from the noise level (B,)."""
    angle = sigma[:, None] * 10000.0 ** (-torch.arange(128).double() / 128)
    y = torch.cat([angle.cos(), angle.sin()], -1) @ w["sigma_map.mlp.0.weight"].T + w["sigma_map.mlp.0.bias"]
    return F.silu(F.silu(y) @ w["sigma_map.mlp.2.weight"].T + w["sigma_map.mlp.2.bias"])


def norm(x: Tensor, scale: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt() * scale


def trunk(w: dict[str, Tensor], x: Tensor, c: Tensor | None, heads: int, depth: int) -> Tensor:
    """Hidden states (B, L, d) to outputs (B, L, out); without `c` causal and not modulated."""
    shift = scale = shift2 = scale2 = torch.zeros(1, 1, 1, dtype=torch.float64)
    gate = gate2 = torch.ones(1, 1, 1, dtype=torch.float64)
    for i in range(depth):
        b = f"blocks.{i}."
        if c is not None:
            m = c @ w[f"{b}adaLN_modulation.weight"].T + w[f"{b}adaLN_modulation.bias"]
            shift, scale, gate, shift2, scale2, gate2 = m[:, None].chunk(6, -1)
        qkv = (norm(x, w[f"{b}norm1.weight"]) * (1 + scale) + shift) @ w[f"{b}attn_qkv.weight"].T
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, -1))
        scores = rotated(q) @ rotated(k).transpose(-1, -2) / math.sqrt(q.shape[-1])
        if c is None:
            scores = scores + torch.full(scores.shape[-2:], -torch.inf).triu(1)
        x = x + gate * ((scores.softmax(-1) @ v).transpose(1, 2).flatten(2) @ w[f"{b}attn_out.weight"].T)
        y = norm(x, w[f"{b}norm2.weight"]) * (1 + scale2) + shift2
        y = F.gelu(y @ w[f"{b}mlp.0.weight"].T + w[f"{b}mlp.0.bias"], approximate="tanh")
        x = x + gate2 * (y @ w[f"{b}mlp.2.weight"].T + w[f"{b}mlp.2.bias"])
    y = norm(x, w["output_layer.norm_final.weight"])
    if c is not None:
        m = c @ w["output_layer.adaLN_modulation.weight"].T + w["output_layer.adaLN_modulation.bias"]
        y = y * (1 + m[:, None].chunk(2, -1)[1]) + m[:, None].chunk(2, -1)[0]
    return y @ w["output_layer.linear.weight"].T + w["output_layer.linear.bias"]


class Model:
    """A denoiser and its schedule.

    Args:
        timed: whether it is shown sigma, or 0.
    """

    def __init__(self, schedule: str, timed: bool, *, vocab: int, width: int, depth: int, heads: int, cond: int
                 ) -> None:  # fmt: skip
        self.schedule, self.timed, self.vocab, self.mask = schedule, timed, vocab, vocab - 1
        self.heads, self.depth = heads, depth
        self.stored = weights(1, vocab, width, depth, heads, cond, vocab)
        self.w = {k: v.double() for k, v in self.stored.items()}

    def sigma(self, t: Tensor, schedule: str = "") -> Tensor:
        match schedule or self.schedule:
            case "loglinear":
                return -torch.log1p(-(1 - EPS) * t)
            case "cosine":
                return -torch.log(EPS + (1 - EPS) * torch.cos(math.pi * t / 2))
            case "cosinesqr":
                return -torch.log(EPS + (1 - EPS) * torch.cos(math.pi * t / 2) ** 2)
            case "geometric":
                return 1e-3 ** (1 - t)
        return 1e-3 + t * (7 - 1e-3)

    def slope(self, t: Tensor, schedule: str = "") -> Tensor:
        t = t.clone().requires_grad_()
        return torch.autograd.grad(self.sigma(t, schedule).sum(), t)[0]

    def logits(self, x: Tensor, seen: Tensor) -> Tensor:
        return trunk(self.w, self.w["vocab_embed.embedding"][x], vector(self.w, seen), self.heads, self.depth)

    def log_p(self, x: Tensor, seen: Tensor, kind: str = "subs") -> Tensor:
        z = self.logits(x, seen if self.timed else torch.zeros_like(seen))
        if kind != "d3pm":
            z[..., self.mask] -= 1e6
        log_p = z.log_softmax(-1)
        if kind == "subs":
            certain = torch.full_like(log_p, -1e6).scatter(-1, x[..., None], 0.0)
            log_p = torch.where((x == self.mask)[..., None], log_p, certain)
        return log_p


def drawn(p: Tensor, u: Tensor) -> Tensor:
    return (p / (1e-10 - torch.log(u + 1e-10))).argmax(-1)


def case_of(folder: Path, config: dict[str, Any], stored: dict[str, Tensor], io: dict[str, Tensor]) -> Path:
    case = folder / "edlm" / "other"
    case.mkdir(parents=True)
    meta = {"config": config, "tolerance": {"atol": 3e-5, "rtol": 1e-4, "tokens": "exact"}}
    (case / "meta.json").write_text(json.dumps(meta))
    write_tensors(case / "weights.safetensors", stored)
    write_tensors(case / "io.safetensors", {k: v.float() if v.is_floating_point() else v for k, v in io.items()})
    return case


def passes(case: Path) -> None:
    outcome = check_case(case)
    assert outcome.status == PASS, outcome.faults
    assert not outcome.floors and set(outcome.compared) | set(outcome.inputs) | set(outcome.unused) == set(
        read_io(case)
    )


@pytest.mark.parametrize(
    ("schedule", "timed", "size"),
    [
        ("cosine", True, {"vocab": 9, "width": 24, "depth": 3, "heads": 3, "cond": 8}),
        ("loglinear", True, {"vocab": 5, "width": 8, "depth": 1, "heads": 1, "cond": 6}),
        ("geometric", False, {"vocab": 40, "width": 16, "depth": 2, "heads": 4, "cond": 16}),
    ],
)
def test_denoisers_of_other_configurations(schedule: str, timed: bool, size: dict[str, int], tmp_path: Path) -> None:
    model, g = Model(schedule, timed, **size), torch.Generator().manual_seed(5)
    batch, length, n, mask = 4, 7, 5, model.mask
    x0 = torch.randint(mask, (batch, length), generator=g)
    attention = torch.ones(batch, length)
    attention[1, 2:4] = 0
    u_t, u_mask = torch.rand(batch, generator=g), torch.rand(batch, length, generator=g)
    io: dict[str, Tensor] = {"x0": x0, "attention_mask": attention, "u_t": u_t, "u_mask": u_mask}
    plain = (1 - EPS) * u_t.double() + EPS
    spread = (1 - EPS) * ((u_t.double() / batch + torch.arange(batch) / batch) % 1) + EPS

    def keep(name: str, nll: Tensor, move: Tensor, xt: Tensor) -> None:
        nll = nll * attention
        io.update({f"{name}/nlls": nll, f"{name}/loss": nll.sum() / attention.sum(), f"{name}/xt": xt,
                   f"{name}/move_chance": move[:, None]})  # fmt: skip

    def masked(move: Tensor) -> Tensor:
        return torch.where(u_mask < move[:, None], mask, x0)

    def own(log_p: Tensor) -> Tensor:
        return log_p.gather(-1, x0[..., None])[..., 0]

    # The case's own objective, not antithetic, with everything on the way.
    sigma, slope = model.sigma(plain), model.slope(plain)
    xt = masked(-torch.expm1(-sigma))
    log_p = model.log_p(xt, sigma)
    keep("subs", -own(log_p) * (slope / torch.expm1(sigma))[:, None], -torch.expm1(-sigma), xt)
    io |= {"subs/t": plain, "subs/sigma": sigma, "subs/dsigma": slope, "subs/log_p": log_p}
    io |= {"subs/ppl": io["subs/loss"].exp(), "net/logits_sigma": model.logits(xt, sigma),
           "net/logits_sigma0": model.logits(xt, 0 * sigma)}  # fmt: skip
    # T levels, on the schedule's noise, with the published weights in t.
    for kind, levels in (("subs", 30), ("d3pm", 10)):
        t = torch.floor(plain * levels) / levels + 1 / levels
        sigma = model.sigma(t)
        xt = masked(-torch.expm1(-sigma))
        log_p, tau, dt = model.log_p(xt, sigma, kind), t.clamp(max=1 - 1e-4)[:, None], 1 / levels
        p_m = log_p[..., mask].exp()
        a, b = torch.log1p((1 - tau) * p_m / tau), torch.log1p((1 - (tau - dt)) * p_m / (tau - dt))
        each = (dt / tau) * (a - own(log_p)) + torch.where(tau - dt > 1e-9, (1 - dt / tau) * (a - b), 0.0)
        nll = levels * torch.where(xt == mask, each, 0.0)
        if kind == "d3pm":
            nll = nll - own(model.log_p(x0, model.sigma(torch.zeros(batch).double()), "d3pm"))
        keep(f"obj/{kind}_T{levels}", nll, -torch.expm1(-sigma), xt)
    # Antithetic is off in this case's configuration, as it is in a variant that says so.
    sigma = model.sigma(plain, "linear")
    xt = masked(-torch.expm1(-sigma))
    weight = model.slope(plain, "linear") / torch.expm1(sigma)
    keep("obj/subs_linear_noanti", -own(model.log_p(xt, sigma)) * weight[:, None], -torch.expm1(-sigma), xt)
    # Times in equal steps of the log move chance: log f runs from that of sigma_min to that of sigma_max.
    f0, f1 = (math.log1p(-math.exp(-s)) for s in (1e-3, 7.0))
    xt = masked((f0 + plain * (f1 - f0)).exp())
    keep("obj/subs_linear_changevar", f0 * own(model.log_p(xt, plain)), (f0 + plain * (f1 - f0)).exp(), xt)
    noise = -torch.log1p(-(plain * f1 + (1 - plain) * f0).exp())
    xt = masked(-torch.expm1(-noise))
    keep("obj/subs_linear_importance", f0 * own(model.log_p(xt, noise)), -torch.expm1(-noise), xt)
    # Every schedule, and the two maps of its times, in float64: no floor is needed where nothing was float32.
    grid = torch.linspace(0, 1, 21).double()
    io["noise/t"] = grid
    for name in ("loglinear", "cosine", "cosinesqr", "linear", "geometric"):
        io |= {f"noise/{name}/sigma": model.sigma(grid, name), f"noise/{name}/dsigma": model.slope(grid, name)}
    noise = -torch.log1p(-(grid * f1 + (1 - grid) * f0).exp())
    io["noise/linear/is_t"] = (noise - 1e-3) / (7 - 1e-3)
    g0, g1 = (math.log1p(-math.exp(-s)) for s in (EPS, -math.log(EPS)))
    io["noise/loglinear/is_t"] = (grid * g1 + (1 - grid) * g0).exp() / (1 - EPS)
    # One step of every sampler.
    x = torch.where(torch.rand(batch, length, generator=g) < 0.6, mask, x0)
    t, dt = torch.tensor([0.9, 0.35, 0.6, 0.5]).double(), 0.2
    io |= {"step/x": x, "step/t": t[:, None], "step/dt": torch.tensor(dt)}
    io |= {f"step/{k}": v for k, v in one_step(model, x, t, t - dt).items()}
    # Whole runs.
    for name in ("ddpm", "ddpm_cache", "analytic"):
        u = torch.rand(n + 1, 2, length, model.vocab, generator=g)
        out, calls = whole_run(model, name, u)
        io |= {f"traj/{name}/uniforms": u, f"traj/{name}/out": out, f"traj/{name}/calls": torch.tensor(calls)}
    config = {"vocab_size": model.vocab, "mask_index": mask, "n_heads": model.heads, "time_conditioning": timed,
              "parameterization": "subs", "T": 0, "noise": f"{schedule}", "antithetic": False, "sampling_eps": EPS,
              "sampler_eps": 1e-5, "steps": n, "length": length}  # fmt: skip
    assert not torch.allclose(plain, spread)
    passes(case_of(tmp_path, config, model.stored, io))


def one_step(model: Model, x: Tensor, t: Tensor, s: Tensor, *, timed_by: Tensor | None = None) -> dict[str, Tensor]:
    sigma, later = model.sigma(t), model.sigma(s)
    p = model.log_p(x, sigma if timed_by is None else timed_by).exp()
    hidden, onehot = (x == model.mask)[..., None], F.one_hot(x, model.vocab).double()
    column = F.one_hot(torch.tensor(model.mask), model.vocab).bool()
    found = {}
    for name, here, there in (("ddpm", -torch.expm1(-sigma), -torch.expm1(-later)), ("cache", t, s)):
        found[f"{name}/q_xs"] = torch.where(column, there[:, None, None], p * (here - there)[:, None, None])
    k = torch.expm1(sigma)[:, None, None]
    score = torch.where(hidden, torch.where(column, 1.0, p / k), torch.where(column, k, onehot))
    for name, gap in (("analytic", sigma - later), ("denoiser", sigma)):
        d = gap[:, None, None]
        staggered = d.exp() * score + torch.where(column, (1 - d.exp()) * score.sum(-1, keepdim=True), 0.0)
        row = (-d).exp() * onehot + torch.where(hidden, -torch.expm1(-d), 0.0)
        probs = staggered * row
        found[f"{name}/probs"] = probs if name == "analytic" else probs.masked_fill(column, 0.0)
    return {**found, "cache/p_x0": p, "score": score}


def whole_run(model: Model, name: str, u: Tensor) -> tuple[Tensor, int]:
    n, batch, length = len(u) - 1, u.shape[1], u.shape[2]
    x, times, calls, fresh = torch.full((batch, length), model.mask), torch.linspace(1, 1e-5, n + 1).double(), 1, True
    key = {"ddpm": "ddpm/q_xs", "ddpm_cache": "cache/q_xs", "analytic": "analytic/probs"}[name]
    for i in range(n):
        t, s = (times[j].expand(batch) for j in (i, i + 1))
        calls += fresh or name != "ddpm_cache" or model.timed
        new = drawn(one_step(model, x, t, s)[key], u[i].double())
        new = new if name == "analytic" else torch.where(x == model.mask, new, x)
        fresh, x = not torch.equal(new, x), new
    found = one_step(model, x, times[-1].expand(batch), times[-1].expand(batch))
    if name == "analytic":
        return drawn(found["denoiser/probs"], u[n].double()), calls
    return found["cache/p_x0"].argmax(-1), calls


@pytest.mark.parametrize(
    ("schedule", "timed", "k", "temp", "batch"),
    [("loglinear", False, 2, 1.0, 1), ("cosine", True, 5, 0.4, 4), ("linear", False, 3, 3.0, 2)],
)
@pytest.mark.parametrize("kind", ["ar", "dit"])
def test_energies_of_other_configurations(
    kind: str, schedule: str, timed: bool, k: int, temp: float, batch: int, tmp_path: Path
) -> None:
    model = Model(schedule, timed, vocab=7, width=12, depth=2, heads=2, cond=6)
    g, length, mask, ar = torch.Generator().manual_seed(3), 6, model.mask, kind == "ar"
    x0 = torch.randint(mask, (batch, length), generator=g)
    attention = (torch.rand(batch, length, generator=g) < 0.8).float()
    u_t, u_mask = torch.rand(batch, generator=g), torch.rand(batch, length, generator=g)
    u_neg, u_is = (torch.rand(batch, *n, length, model.vocab, generator=g) for n in ((), (k,)))
    t = (1 - EPS) * ((u_t.double() / batch + torch.arange(batch) / batch) % 1) + EPS
    sigma, slope = model.sigma(t), model.slope(t)
    xt = torch.where(u_mask < -torch.expm1(-sigma)[:, None], mask, x0)
    log_p = model.log_p(xt, sigma)
    negative, candidates = drawn(log_p.exp(), u_neg.double()), drawn(log_p.exp()[:, None], u_is.double())
    second = weights(2, 7, 12, 2, 2, None if ar else 6, 7 if ar else 12)
    if not ar:
        second |= {"vocab_proj.weight": 0.3 * torch.randn(12, 24, generator=g), "vocab_proj.bias": torch.ones(12),
                   "energy_head.0.weight": torch.randn(12, 12, generator=g), "energy_head.0.bias": torch.ones(12),
                   "energy_head.2.weight": torch.randn(1, 12, generator=g)}  # fmt: skip
    w = {name: value.double() for name, value in second.items()}

    def next_token(x: Tensor) -> Tensor:
        z = trunk(w, w["vocab_embed.embedding"][x[:, :-1]], None, 2, 2)
        z[..., mask] = -1000
        return z.log_softmax(-1)

    def energy(x: Tensor, carry: bool) -> Tensor:
        """(B,) of one candidate each."""
        if ar:
            terms = next_token(x).gather(-1, x[:, 1:, None])[..., 0]
            terms = torch.where((xt[:, 1:] != mask) & torch.tensor(carry), 0.0, terms)
            return log_p.gather(-1, x[..., None])[..., 0].sum(1) - terms.sum(1)
        e = w["vocab_embed.embedding"]
        y = torch.cat([e[xt], e[x]], -1) @ w["vocab_proj.weight"].T + w["vocab_proj.bias"]
        y = trunk(w, y, vector(w, sigma if timed else 0 * sigma), 2, 2).mean(1)
        y = torch.relu(y @ w["energy_head.0.weight"].T + w["energy_head.0.bias"])
        return (y @ w["energy_head.2.weight"].T)[:, 0]

    io = {"x0": x0, "attention_mask": attention, "u_t": u_t, "u_mask": u_mask, "u_neg": u_neg, "t": t, "sigma": sigma,
          "is/candidates": candidates, "dsigma": slope, "xt": xt, "x0_neg": negative, "log_p_x0": log_p}  # fmt: skip
    if ar:
        io["ar/logp"] = next_token(x0)
    for prefix, carry in (("carry0/", False), ("carry1/", True)) if ar else (("", False),):
        of_data, of_negative = (energy(x, carry)[:, None] for x in (x0, negative))
        nce = -(torch.sigmoid(-of_data) + 1e-8).log() - (torch.sigmoid(of_negative) + 1e-8).log()
        log_z = 0.0 if ar else -of_negative
        own = log_p.gather(-1, x0[..., None])[..., 0] + (-of_data - log_z) / length
        nll = -own * (slope / torch.expm1(sigma))[:, None] * attention
        io |= {f"{prefix}energy_pos": of_data, f"{prefix}energy_neg": of_negative, f"{prefix}val/nlls_or_nce": nll,
               f"{prefix}nce_mean_over_batch": nce.mean(), f"{prefix}train/nlls_or_nce": nce * attention,
               f"{prefix}train/loss": (nce * attention).sum() / attention.sum(),
               f"{prefix}val/loss": nll.sum() / attention.sum()}  # fmt: skip
    of_all = torch.stack([energy(candidates[:, j], True) for j in range(k)], dim=1)
    lower = (-of_all).logsumexp(1) - math.log(k)
    left_out = torch.stack([(-of_all[:, [i for i in range(k) if i != j]]).logsumexp(1) for j in range(k)], dim=1)
    left_out = (left_out - math.log(k - 1)).mean(1)
    io |= {"is/energy": of_all, "is/weights": (-of_all / temp).softmax(1), "z/log_z_lower": lower,
           "z/log_z_leave_one_out_mean": left_out, "z/log_z_upper": (2 * k - 1) * lower - 2 * (k - 1) * left_out,
           "is/weights_reference_code_sign": (of_all / temp).softmax(1)}  # fmt: skip
    config = {"kind": kind, "vocab_size": 7, "mask_index": mask, "n_heads": 2, "time_conditioning": timed, "is_size": k,
              "is_temp": temp, "noise": schedule, "length": length}  # fmt: skip
    stored = {f"denoiser.{name}": value for name, value in model.stored.items()}
    stored |= {f"{'ar' if ar else 'ebm'}.{name}": value for name, value in second.items()}
    passes(case_of(tmp_path, config, stored, io))
