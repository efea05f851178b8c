"""The same network twice: diffusers' DiT with random weights, and this project's import of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gencore import plugins
from gencore.condition import Condition
from gencore.context import Context
from gencore.nn.init import seeded
from gencore.pipeline import Pipeline

SHAPES: Mapping[str, tuple[int, int, int, int]] = {
    "DiT-S/2": (384, 12, 6, 32), "DiT-B/2": (768, 12, 12, 32), "tiny": (64, 2, 2, 8),
}  # fmt: skip
"""Width, depth, heads and latent side by name; patches of 2, latents of 4 channels (arXiv:2212.09748)."""

TOLERANCE = 1e-5
"""How far two float32 results may differ, as a share of the largest value."""


class Unequal(AssertionError):
    """Two computations that are compared do not give the same result."""


class Query(NamedTuple):
    """One network call: states (B, 4, H, W), training levels (B,) and labels (B,)."""

    x: Tensor
    t: Tensor
    label: Tensor

    @classmethod
    def random(cls, size: str, batch: int) -> Query:
        side = SHAPES[size][3]
        generator = torch.Generator().manual_seed(0)
        return cls(torch.randn(batch, 4, side, side, generator=generator), torch.full((batch,), 500),
                   torch.arange(batch))  # fmt: skip


def build(size: str, classes: int = 1000) -> tuple[Pipeline, nn.Module]:
    """This project's pipeline and diffusers' network with equal weights, in evaluation mode.

    The weights are random, but not adaLN-Zero: every block acts on the result.
    """
    from diffusers import DiTTransformer2DModel

    width, depth, heads, side = SHAPES[size]
    with seeded(0):
        theirs: Any = DiTTransformer2DModel(
            num_attention_heads=heads, attention_head_dim=width // heads, in_channels=4, out_channels=8,
            num_layers=depth, sample_size=side, patch_size=2, num_embeds_ada_norm=classes, norm_eps=1e-6,
        ).eval()  # fmt: skip
    embedder = theirs.transformer_blocks[0].norm1.emb.state_dict()
    for block in theirs.transformer_blocks:
        block.norm1.emb.load_state_dict(embedder)
    importer: Any = plugins.resolve("importer", "diffusers-dit")
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        return importer(folder), theirs


def our_call(net: Callable[..., Any], query: Query) -> Callable[[], Tensor]:
    """A forward of this project's network."""
    conditions = {"label": Condition(query.label)}
    return lambda: net(query.x, query.t, conditions, Context()).pred


def peer_call(net: Callable[..., Any], query: Query) -> Callable[[], Tensor]:
    """A forward of diffusers' network."""
    return lambda: net(query.x, timestep=query.t, class_labels=query.label).sample


def error(got: Tensor, wanted: Tensor) -> float:
    """Largest difference as a share of the largest wanted value."""
    return float((got - wanted).abs().max() / wanted.abs().max())


def require_equal(got: Tensor, wanted: Tensor, what: str) -> float:
    """Their `error`.

    Raises:
        Unequal: it is more than `TOLERANCE`.
    """
    if not (found := error(got, wanted)) <= TOLERANCE:
        raise Unequal(f"{what}: differs by {found:.1e} of the largest value, more than {TOLERANCE:.0e}")
    return found
