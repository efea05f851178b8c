"""DiT as diffusers stores it (``DiTTransformer2DModel``): split q, k, v and one copy of the embedders a block.

diffusers computes this network with two constants of its own: time frequencies 10000^(-k/127) where DiT has k/128,
and 1e-5 under the root of each block's second norm where DiT has 1e-6.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.denoised import Prediction
from gencore.errors import CheckpointError
from gencore.loading import load_strict
from gencore.nn.init import seeded
from gencore.pipeline import Pipeline
from gencore.processes.tables import TableProcess
from gencore.weights.files import read_checkpoint
from gencore.weights.importer import imported, looks_like, recognised_by
from gencore.weights.keymap import Keymap
from gencore_images.importers.assembly import WITHOUT_VAE, assemble
from gencore_images.importers.dit import LICENCE
from gencore_images.importers.official_dit import Read, label_note, label_rows, size_name

_BLOCK = r"transformer_blocks\.(\d+)\."
KEYS = Keymap(
    [
        (r"pos_embed\.proj\.(weight|bias)", r"patch_embed.\1"),
        (_BLOCK + r"norm1\.emb\.timestep_embedder\.linear_1\.(weight|bias)", r"\1/time_embed.mlp.0.\2"),
        (_BLOCK + r"norm1\.emb\.timestep_embedder\.linear_2\.(weight|bias)", r"\1/time_embed.mlp.2.\2"),
        (_BLOCK + r"norm1\.emb\.class_embedder\.embedding_table\.weight", r"\1/conditioners.label.table.weight"),
        (_BLOCK + r"norm1\.linear\.(weight|bias)", r"blocks.\1.modulation.\2"),
        (_BLOCK + r"attn1\.to_(q|k|v)\.(weight|bias)", r"blocks.\1.attn.qkv.\3/\2"),
        (_BLOCK + r"attn1\.to_out\.0\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
        (_BLOCK + r"ff\.net\.0\.proj\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
        (_BLOCK + r"ff\.net\.2\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
        (r"proj_out_1\.(weight|bias)", r"final_modulation.\1"),
        (r"proj_out_2\.(weight|bias)", r"final.\1"),
    ],
    ignore={r"pos_embed\.pos_embed": "rebuilt for any grid"},
)
_FIXED = {"norm_type": "ada_norm_zero", "activation_fn": "gelu-approximate", "attention_bias": True,
          "norm_elementwise_affine": False}  # fmt: skip


@recognised_by(KEYS)
def import_diffusers_dit(
    path: str | Path,
    *,
    frequencies: Literal["diffusers", "dit"] = "diffusers",
    classes: int | None = None,
    vae: Path | None = None,
) -> Pipeline:
    """The pipeline of a diffusers DiT folder, with DiT's published sampling as default.

    Args:
        path: folder with config.json and weights, or a pipeline's folder with transformer/ (and vae/) inside.
        frequencies: of the time embedding: "diffusers" gives what diffusers computes, "dit" what a checkpoint
            trained with the official code was trained on.
        classes: number of classes, where it is not that of the configuration.
        vae: diffusers folder of the autoencoder, where it is not beside the transformer.

    Raises:
        CheckpointError: files that are missing or damaged, another network, or blocks with different embedders.
    """
    path = Path(path)
    if (path / "transformer").is_dir():
        vae = vae or (path / "vae" if (path / "vae").is_dir() else None)
        path = path / "transformer"
    config = _config(path)
    state = read_checkpoint(path)
    hint = looks_like(state, "diffusers-dit")
    if KEYS.unmatched(state) or not state:
        KEYS.apply(state, {}, hint)
    tensors = _joined(KEYS.rename(state))
    rows = len(tensors.get("conditioners.label.table.weight", ()))
    count, null = label_rows(rows, config["num_embeds_ada_norm"] if classes is None else classes)
    patch, channels, heads = config["patch_size"], config["in_channels"], config["num_attention_heads"]
    width = heads * config["attention_head_dim"]
    doubled = config["out_channels"] == 2 * channels
    with seeded(0):
        net = DiT(channels, (patch, patch), width=width, depth=config["num_layers"], heads=heads,
                  ports={"label": {"kind": "label", "classes": count, "null": null}},
                  prediction=Prediction("epsilon", "learned_range" if doubled else None),
                  freq_shift=int(frequencies == "diffusers"))  # fmt: skip
    load_strict(net, tensors)
    notes = [
        f"{len(state)} tensors mapped, 0 left over; size {size_name(net)} by {path.name}/config.json",
        f"the embedders of all {config['num_layers']} blocks are equal: kept once",
        label_note(rows, count, null),
        f"time frequencies as {frequencies} computes them (--frequencies)",
        *([] if vae else [WITHOUT_VAE]),
    ]
    if config["norm_eps"] != 1e-6:
        notes.append(f"second norms with 1e-06 under the root, as in DiT; the configuration has {config['norm_eps']:g}")
    size = (config["sample_size"], config["sample_size"])
    sampler = "ddpm" if doubled else "ddpm:variance=fixed_large"
    return assemble(Read(net, count, null, size, notes), TableProcess.named("linear", 1000), sampler=sampler, steps=250,
                    channels=channels, vae=vae, card=imported("diffusers-dit", path, notes, LICENCE))  # fmt: skip


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config.get("_class_name")
    except (OSError, ValueError, AttributeError) as fault:
        raise CheckpointError("checkpoint", f"{folder} ({fault})", "a folder with config.json and weights") from None
    if kind not in ("DiTTransformer2DModel", "Transformer2DModel"):
        raise CheckpointError("checkpoint", f"{folder} of a {kind}", "a DiTTransformer2DModel")
    config = {"norm_eps": 1e-5, "patch_size": 2, "in_channels": 4, "num_embeds_ada_norm": 1000, **_FIXED, **config}
    if strange := [f"{key}={config[key]}" for key, value in _FIXED.items() if config[key] != value]:
        raise CheckpointError("checkpoint", f"a network with {', '.join(strange)}", "the DiT of its paper")
    sizes = ("num_layers", "num_attention_heads", "attention_head_dim", "sample_size", "out_channels")
    if missing := [key for key in sizes if not isinstance(config.get(key), int)]:
        raise CheckpointError("checkpoint", f"{folder}/config.json without {', '.join(missing)}", "its sizes")
    return config


def _joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values as one projection, the blocks' embedders as one, the patch convolution as a linear."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    copies: dict[str, list[Tensor]] = defaultdict(list)
    joined: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        left, slash, right = name.partition("/")
        if not slash:
            joined[name] = tensor.flatten(1) if name == "patch_embed.weight" else tensor
        elif left.isdecimal():
            copies[right].append(tensor)
        else:
            parts[left][right] = tensor
    for name, qkv in parts.items():
        if set(qkv) != {"q", "k", "v"}:
            raise CheckpointError("checkpoint", f"{name} of {', '.join(sorted(qkv))} only", "queries, keys and values")
        joined[name] = torch.cat([qkv["q"], qkv["k"], qkv["v"]])
    for name, found in copies.items():
        if not all(torch.equal(found[0], other) for other in found[1:]):
            raise CheckpointError("checkpoint", f"blocks with different {name}", "one embedder for all, as in DiT",
                                  "it was trained as another architecture")  # fmt: skip
        joined[name] = found[0]
    return joined
