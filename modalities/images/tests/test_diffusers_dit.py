"""DiT in diffusers' layout, against diffusers' own network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gencore.condition import Condition
from gencore.context import Context
from gencore.errors import CheckpointError
from gencore.pipeline import Pipeline
from gencore.weights.files import read_tensors, write_tensors
from gencore_images.importers.diffusers_dit import import_diffusers_dit

CLASSES = 5


def said(pipe: Pipeline) -> str:
    return "\n".join(pipe.card["imported"]["notes"])


def diffusers_net(folder: Path, **changes: Any) -> Any:
    diffusers = pytest.importorskip("diffusers", reason="compares with diffusers' own network")
    sizes = {
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "num_layers": 3,
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 8,
        "num_embeds_ada_norm": CLASSES,
        "norm_eps": 1e-6,
    }
    net = diffusers.DiTTransformer2DModel(**{**sizes, **changes}).eval()
    g = torch.Generator().manual_seed(3)
    state = {k: torch.randn(v.shape, generator=g) / max(v[0].numel(), 4) ** 0.5 for k, v in net.state_dict().items()}
    net.load_state_dict(
        {k: state[k.replace(f"blocks.{k.split('.')[1]}.norm1.emb", "blocks.0.norm1.emb")] for k in state}
    )
    net.save_pretrained(folder)
    return net


@torch.no_grad()
def compare_with_diffusers(net: Any, pipe: Pipeline) -> float:
    x, t, y = torch.randn(3, 4, 8, 8), torch.tensor([0, 37, 999]), torch.tensor([1, 4, CLASSES])
    ours = pipe.backbone(x, t, {"label": Condition(y)}, Context()).pred
    theirs = net(x, timestep=t, class_labels=y).sample
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def test_a_diffusers_folder_computes_what_diffusers_computes(tmp_path: Path) -> None:
    net = diffusers_net(tmp_path / "net")
    pipe = import_diffusers_dit(tmp_path / "net")
    assert compare_with_diffusers(net, pipe) < 1e-5
    assert "the embedders of all 3 blocks are equal" in said(pipe)
    assert pipe.defaults.guidance == "cfg:scale=4.0,channels=4"
    # DiT's own frequencies, on which published checkpoints were trained, are another network.
    assert compare_with_diffusers(net, import_diffusers_dit(tmp_path / "net", frequencies="dit")) > 1e-3


def test_the_second_norms_constant_of_diffusers_is_told(tmp_path: Path) -> None:
    net = diffusers_net(tmp_path / "net", norm_eps=1e-5)
    pipe = import_diffusers_dit(tmp_path / "net")
    assert "second norms with 1e-06" in said(pipe) and compare_with_diffusers(net, pipe) < 1e-4


def test_blocks_with_embedders_of_their_own_are_refused(tmp_path: Path) -> None:
    diffusers_net(tmp_path / "net")
    file = tmp_path / "net" / "diffusion_pytorch_model.safetensors"
    state, _ = read_tensors(file)
    name = "transformer_blocks.2.norm1.emb.timestep_embedder.linear_2.bias"
    write_tensors(file, state | {name: state[name] + 1e-3}, force=True)
    with pytest.raises(CheckpointError, match=r"different time_embed\.mlp\.2\.bias"):
        import_diffusers_dit(tmp_path / "net")
    del state["transformer_blocks.1.attn1.to_k.weight"]
    write_tensors(file, state, force=True)
    with pytest.raises(CheckpointError, match=r"qkv\.weight of q, v only"):
        import_diffusers_dit(tmp_path / "net")


def test_other_diffusers_networks_are_refused(tmp_path: Path) -> None:
    diffusers_net(tmp_path / "net")
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    for change, told in [
        ({"_class_name": "UNet2DModel"}, "UNet2DModel"),
        ({"activation_fn": "geglu"}, "activation_fn=geglu"),
        ({"num_layers": None}, "num_layers"),
    ]:
        (tmp_path / "net" / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(CheckpointError, match=told):
            import_diffusers_dit(tmp_path / "net")
    (tmp_path / "net" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        import_diffusers_dit(tmp_path / "net")
