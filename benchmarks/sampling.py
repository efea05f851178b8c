"""Ten DDIM steps of the same weights from the same noise, here and with diffusers' scheduler."""

from __future__ import annotations

from typing import Any

import torch
from pairs import interleave
from peer import build, require_equal
from torch import Tensor, nn

from gencore.condition import Condition
from gencore.denoiser import Denoiser
from gencore.noise import Keyed
from gencore.pipeline import Pipeline
from gencore.run import stream
from gencore.samplers.ddim import DDIM

CASES = [("DiT-S/2", 1), ("DiT-S/2", 4), ("DiT-B/2", 1)]
STEPS = 10


@torch.no_grad()
def measure(quick: bool) -> dict[str, Any]:
    """Ratios of whole samplings, noise to latent, by shape and batch; the goal is at most 1.

    Raises:
        Unequal: they do not arrive at the same latents.
    """
    rows: dict[str, Any] = {}
    for size, batch in [("tiny", 2)] if quick else CASES:
        pipe, theirs = build(size)

        def ours(pipe: Pipeline = pipe, batch: int = batch) -> Tensor:
            return _ours(pipe, batch)

        def peers(net: nn.Module = theirs, pipe: Pipeline = pipe, batch: int = batch) -> Tensor:
            return _theirs(net, pipe, batch)

        difference = require_equal(ours(), peers(), f"{STEPS} steps of {size}")
        compared = interleave(ours, peers, 2 if quick else 5)
        rows[f"{size} batch {batch}"] = {"steps": STEPS, "error": difference, "goal": 1.0, **compared.row()}
        print(f"sampling {size} batch {batch}: {compared}, error {difference:.1e}", flush=True)
    return rows


def _levels() -> list[int]:
    """diffusers' "leading" levels: 900, 800, ..., 0."""
    return list(range(0, 1000, 1000 // STEPS))[::-1]


def _ours(pipe: Pipeline, batch: int) -> Tensor:
    process: Any = pipe.process
    times = torch.cat([process.at(torch.tensor(_levels())), torch.zeros(1, dtype=torch.float64)])
    denoise = Denoiser(pipe.backbone, process, {"label": Condition(torch.arange(batch))})
    *_, last = stream(denoise, DDIM(), pipe.tokenizer.spec(), times, Keyed(range(batch)))
    return last.x


def _theirs(net: Any, pipe: Pipeline, batch: int) -> Tensor:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(STEPS)
    if scheduler.timesteps.tolist() != _levels():
        raise RuntimeError(f"diffusers steps through {scheduler.timesteps.tolist()}")
    x = Keyed(range(batch)).draw("normal", ("init",), pipe.tokenizer.spec().sizes)
    label = torch.arange(batch)
    for t in scheduler.timesteps:
        out = net(x, timestep=t.expand(batch), class_labels=label).sample
        x = scheduler.step(out[:, : x.shape[1]], t, x).prev_sample
    return x
