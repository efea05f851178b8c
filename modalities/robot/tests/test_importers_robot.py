"""RDT checkpoints: what is read, what is said about it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gencore.condition import Condition
from gencore.context import Context
from gencore.denoised import Prediction
from gencore.errors import CheckpointError
from gencore.nn.init import seeded
from gencore.weights.files import write_tensors
from gencore_robot.backbones.rdt import RDT
from gencore_robot.importers.layout import KEYS
from gencore_robot.importers.rdt import network as imported_network
from gencore_robot.importers.rdt import read_rdt

CONFIG: dict[str, Any] = {
    "action_dim": 6, "pred_horizon": 5, "rdt": {"hidden_size": 24, "depth": 3, "num_heads": 2},
    "lang_pos_embed_config": [["lang", -8]], "img_pos_embed_config": [["image", [2, 3, -2]]],
    "noise_scheduler": {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"},
}  # fmt: skip


def network(language: str = "mlp2x_gelu", images: str = "linear", state: str = "mlp3x_gelu", **options: Any) -> RDT:
    streams = {
        "language": {"dims": 7, "length": 8, "grid": [-8], "adaptor": language},
        "images": {"dims": 3, "length": 12, "grid": [2, 3, -2], "adaptor": images},
    }
    with seeded(0):
        net = RDT(width=24, depth=3, heads=2, horizon=5, slots=6, streams=streams, state_adaptor=state, **options)
        for p in net.parameters():
            p.data += 0.2 * torch.randn(p.shape)
    return net.eval()


def published(net: RDT) -> dict[str, Tensor]:
    # The adaptor rules read from right to left: the numbered names are told from the plain one by their shape.
    return KEYS.invert().rename(net.state_dict())


def folder(path: Path, state: dict[str, Tensor], config: dict[str, Any] | None = CONFIG, name: str = "model") -> Path:
    path.mkdir()
    write_tensors(path / f"{name}.safetensors", state)
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    return path


@torch.no_grad()
def output(net: RDT) -> Tensor:
    g = torch.Generator().manual_seed(1)
    shapes = {"state": (2, 1, 6), "indicator": (2, 1, 6), "frequency": (2,), "language": (2, 5, 7),
              "images": (2, 12, 3)}  # fmt: skip
    cond = {name: Condition(torch.randn(shape, generator=g)) for name, shape in shapes.items()}
    return net(torch.randn(2, 5, 6, generator=g), torch.tensor([3.0, 700.0]), cond, Context()).pred


@pytest.mark.parametrize("adaptors", [("mlp2x_gelu", "linear", "mlp3x_gelu"), ("linear", "mlp1x_gelu", "mlp4x_gelu")])
def test_every_tensor_finds_its_place_and_sizes_come_from_the_shapes(adaptors: tuple[str, ...], tmp_path: Path) -> None:
    net = network(*adaptors)
    state = published(net)
    assert len(state) == len(net.state_dict())
    again, process, notes = read_rdt(folder(tmp_path / "hub", state))
    assert torch.equal(output(again.eval()), output(net)) and again.config() == net.config()
    assert process.config() == {"schedule": "squaredcos_cap_v2", "steps": 1000, "final": "clean", "single": True}
    assert f"{len(state)} tensors mapped, 0 left over; bare state dict chosen" in notes[0]
    assert "timm 1.0.3" in notes[2]


@pytest.mark.parametrize("wrap", ["module", "bare", "bin"])
def test_deepspeed_and_hub_files_hold_the_same(wrap: str, tmp_path: Path) -> None:
    net = network()
    state = {name: value.to(torch.bfloat16) for name, value in published(net).items()}
    file = tmp_path / {"module": "mp_rank_00_model_states.pt", "bare": "ema.pt", "bin": "pytorch_model.bin"}[wrap]
    torch.save({"module": state, "dp_world_size": 8, "optimizer": None} if wrap == "module" else state, file)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    found, _, notes = read_rdt(file)
    net.load_state_dict({name: value.to(torch.bfloat16).float() for name, value in net.state_dict().items()})
    assert torch.equal(output(found.eval()), output(net))
    assert ("module chosen" in notes[0]) == (wrap == "module")
    assert torch.equal(output(read_rdt(tmp_path)[0].eval()), output(net))


def test_what_no_shape_tells_comes_from_the_configuration() -> None:
    state = published(network())
    epsilon = {**CONFIG, "noise_scheduler": {"prediction_type": "epsilon", "num_train_timesteps": 100}}
    net, process, _ = imported_network(state, epsilon)
    assert net.prediction == Prediction("epsilon") and process.steps == 100
    bare, _, notes = imported_network(state, {})
    assert bare.prediction == Prediction("x0") and "no config.json found" in notes[-1]
    ordinary, _, _ = imported_network(state, {"lang_pos_embed_config": None})
    assert ordinary.config()["streams"]["language"]["grid"] is None
    rms, _, notes = imported_network(state, CONFIG, "rms")
    assert rms.config()["norm"] == "rms" and "norm read as rms" in notes[2]
    with torch.no_grad():
        assert (output(rms.eval()) - output(network())).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s | {"model.blocks.0.gate": torch.zeros(1)}, "unexpected: model.blocks.0.gate"),
        (lambda s: {n: s[n] for n in s if n != "model.blocks.1.ffn.fc2.bias"}, "missing: blocks.1.mlp.fc2.bias"),
        (lambda s: {n: v for n, v in s.items() if n != "model.x_pos_embed"}, "without model.x_pos_embed"),
        (lambda s: s | {"model.blocks.2.norm3.weight": torch.zeros(5)}, "differing shapes"),
        (lambda s: {n: v for n, v in s.items() if not n.startswith("img_adaptor")}, "without img_adaptor"),
        (lambda s: s | {"model.blocks.2.norm3.weight": torch.full((24,), torch.nan)}, "24 of 24 values not finite"),
    ],
)
def test_weights_that_do_not_fit_are_named(change: Any, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        imported_network(change(published(network())), CONFIG)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"noise_scheduler": {"prediction_type": "v_prediction"}}, "v_prediction; accepted: sample, epsilon"),
        ({"img_pos_embed_config": [["image", [2, 3, -3]]]}, "12 tokens, as the table has"),
        ({"img_pos_embed_config": [["a", 6], ["b", 6]]}, r"one \[name, sizes\]"),
        ({"rdt": {"depth": 4}}, "depth 4; accepted: 3 as the weights"),
        ({"pred_horizon": 64}, "pred_horizon 64"),
    ],
)
def test_configurations_at_odds_with_the_weights_are_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        imported_network(published(network()), CONFIG | config)


def test_sections_that_a_configuration_leaves_empty_are_as_published() -> None:
    net, *_ = imported_network(published(network()), CONFIG | {"rdt": None, "noise_scheduler": None})
    assert net.prediction.kind == "x0"


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "hub", published(network()))
    (path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="a JSON file"):
        read_rdt(path)
    (path / "config.json").unlink()
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="a complete"):
        read_rdt(path)
