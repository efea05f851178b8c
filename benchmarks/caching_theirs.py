"""diffusers' DiT with the weights of one of ours, as a backbone, and its TaylorSeer hook."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gencore.backbone import Backbone, Output
from gencore.backbones.dit import DiT
from gencore.condition import Conditions
from gencore.context import Context

SITES = [r"transformer_blocks\.\d+\.(attn1|ff)"]
"""What the published code caches.  The hook's own patterns fit no module of a DiT: they end in "attn"."""


class Theirs(Backbone):
    """diffusers' network as a backbone; `enable` attaches its hook, `fresh` forgets the last run."""

    def __init__(self, ours: DiT, side: int) -> None:
        from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

        super().__init__()
        c = ours.config()
        self.prediction, self.ports, self.time_axes = ours.prediction, ours.ports, ()
        self.net: Any = DiTTransformer2DModel(
            num_attention_heads=c["heads"], attention_head_dim=c["width"] // c["heads"], in_channels=c["channels"],
            out_channels=c["channels"] * ours.prediction.channels, num_layers=c["depth"], sample_size=side,
            patch_size=c["patch"][0], num_embeds_ada_norm=c["ports"]["label"]["classes"], norm_eps=1e-6,
        ).eval()  # fmt: skip
        self.net.load_state_dict(_renamed(ours.state_dict(), c["depth"], c["patch"]), strict=False)
        for block in self.net.transformer_blocks:
            # Theirs spaces time frequencies by 1/127, the official code and this network by 1/128.
            block.norm1.emb.time_proj.downscale_freq_shift = c["freq_shift"]

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> Output:
        return Output(self.net(x_t, timestep=t, class_labels=cond["label"].value).sample)

    def config(self) -> dict[str, Any]:
        return {}

    def enable(self, interval: int, order: int, warmup: int) -> None:
        from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig, apply_taylorseer_cache

        apply_taylorseer_cache(self.net, TaylorSeerCacheConfig(
            cache_interval=interval, disable_cache_before_step=warmup, max_order=order,
            taylor_factors_dtype=torch.float32, cache_identifiers=SITES))  # fmt: skip

    def fresh(self) -> None:
        from diffusers.hooks.hooks import CacheContext, HookRegistry, _set_cache_context

        HookRegistry.check_if_exists_or_initialize(self.net).reset_stateful_hooks()
        # Both guidance branches share a batch, whose state serves them together.
        _set_cache_context(self.net, CacheContext("both"))


def _renamed(state: dict[str, Tensor], depth: int, patch: list[int]) -> dict[str, Tensor]:
    """Our tensors under diffusers' names; what no block of ours holds is copied into each of its blocks."""
    out: dict[str, Tensor] = {}
    for part in ("weight", "bias"):
        out[f"pos_embed.proj.{part}"] = state[f"patch_embed.{part}"]
        out[f"proj_out_1.{part}"], out[f"proj_out_2.{part}"] = state[f"final_modulation.{part}"], state[f"final.{part}"]
        for i in range(depth):
            block, to = f"blocks.{i}.", f"transformer_blocks.{i}."
            q, k, v = state[f"{block}attn.qkv.{part}"].chunk(3)
            out |= {f"{to}attn1.to_{name}.{part}": value for name, value in (("q", q), ("k", k), ("v", v))}
            out[f"{to}attn1.to_out.0.{part}"] = state[f"{block}attn.proj.{part}"]
            out[f"{to}ff.net.0.proj.{part}"] = state[f"{block}mlp.fc1.{part}"]
            out[f"{to}ff.net.2.{part}"] = state[f"{block}mlp.fc2.{part}"]
            out[f"{to}norm1.linear.{part}"] = state[f"{block}modulation.{part}"]
            for j in (1, 2):
                source = state[f"time_embed.mlp.{2 * (j - 1)}.{part}"]
                out[f"{to}norm1.emb.timestep_embedder.linear_{j}.{part}"] = source
            out[f"{to}norm1.emb.class_embedder.embedding_table.weight"] = state["conditioners.label.table.weight"]
    out["pos_embed.proj.weight"] = out["pos_embed.proj.weight"].unflatten(1, (-1, *patch))
    return out
