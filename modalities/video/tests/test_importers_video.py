"""VDT checkpoints and DiT image checkpoints: what is read, what is said about it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.cli import main
from gencore.condition import Condition
from gencore.context import Context
from gencore.denoised import Prediction
from gencore.errors import CheckpointError, InputError
from gencore.loading import load_folder
from gencore.nn.init import seeded
from gencore.pipeline import Pipeline
from gencore.weights.dit_layout import PATCH, POSITIONS, RULES
from gencore.weights.importer import looks_like
from gencore.weights.keymap import Keymap
from gencore_video.backbone import VDT
from gencore_video.conditioner import ConstantLabel
from gencore_video.importers.dit import import_vdt_from_dit
from gencore_video.importers.layout import write_official
from gencore_video.importers.vdt import import_vdt

SIZE = (5, 8, 8)
SETTINGS: dict[str, Any] = {"width": 24, "depth": 2, "heads": 3, "ports": {"label": {"kind": "label", "classes": 4}}}


def stirred(net: Any) -> Any:
    g = torch.Generator().manual_seed(0)
    for p in net.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=g)
    return net.eval()


def network(**options: Any) -> VDT:
    with seeded(0):
        return stirred(VDT(4, 2, **{**SETTINGS, "prediction": Prediction("epsilon", "learned_range"), **options}))


def image_file(path: Path) -> tuple[Path, DiT]:
    with seeded(0):
        net = stirred(DiT(4, (2, 2), prediction=Prediction("epsilon", "learned_range"), **SETTINGS))
    video = network(temporal="none")
    video.load_state_dict(net.state_dict())
    torch.save({"model": {}, "ema": write_official(video, (1, 8, 8)), "step": 3}, path)
    return path, net


def saved(path: Path, net: VDT, **extra: Tensor) -> Path:
    torch.save({**write_official(net, SIZE), **extra}, path)
    return path


@torch.no_grad()
def output(net: Any, frames: int = 3, label: int = 0) -> Tensor:
    x = torch.randn(2, 4, frames, 8, 8, generator=torch.Generator().manual_seed(1))
    return net(x, torch.tensor([3.0, 700.0]), {"label": Condition(torch.tensor([label, label]))}, Context()).pred


def said(pipe: Pipeline) -> str:
    return "\n".join(pipe.card["imported"]["notes"])


def test_every_tensor_finds_its_place_and_sizes_come_from_the_shapes(tmp_path: Path) -> None:
    net = network(mlp_ratio=2.5)
    pipe = import_vdt(saved(tmp_path / "a.pt", net), heads=3)
    assert torch.equal(output(pipe.backbone), output(net))
    config = pipe.backbone.config()
    assert {k: config[k] for k in ("channels", "patch", "width", "depth", "heads", "mlp_ratio", "temporal")} == {
        "channels": 4, "patch": 2, "width": 24, "depth": 2, "heads": 3, "mlp_ratio": 2.5, "temporal": "attention",
    }  # fmt: skip
    assert pipe.tokenizer.spec().sizes == (4, *SIZE)
    tensors = len(write_official(net, SIZE)) - 2
    assert f"{tensors} tensors mapped, 0 left over; bare state dict chosen" in said(pipe)
    assert "equal to the file's for 5 frames" in said(pipe) and "makes latents, no videos" in said(pipe)
    assert "label table of 5 rows kept; every sample is given row 0" in said(pipe)


def test_published_sampling_is_the_default(tmp_path: Path) -> None:
    pipe = import_vdt(saved(tmp_path / "a.pt", network()), heads=3)
    assert (pipe.defaults.sampler, pipe.defaults.steps, pipe.defaults.known_mode) == ("ddpm", 250, "compose_input")
    assert pipe.process.config() == {"schedule": "linear", "steps": 1000, "final": "clean"}
    assert pipe.conditioner({}, 3)[1]["label"].value.tolist() == [0, 0, 0]
    assert pipe.conditioner.targets({"data": torch.zeros(2, 1)})["label"].value.tolist() == [0, 0]
    plain = import_vdt(saved(tmp_path / "b.pt", network(prediction=Prediction("epsilon"))), heads=3)
    assert plain.defaults.sampler == "ddpm:variance=fixed_large"


def test_image_mode_is_told_by_its_tensors(tmp_path: Path) -> None:
    net = network(temporal="none")
    pipe = import_vdt(saved(tmp_path / "a.pt", net), heads=3)
    assert pipe.backbone.config()["temporal"] == "none" and pipe.tokenizer.spec().sizes == (4, 1, 8, 8)
    assert torch.equal(output(pipe.backbone), output(net)) and "image mode" in said(pipe)


def test_the_average_is_preferred_and_prefixes_are_removed(tmp_path: Path) -> None:
    net = network()
    state = {f"module.{name}": value for name, value in write_official(net, SIZE).items()}
    torch.save({"model": {name: 0 * value for name, value in state.items()}, "ema": state}, tmp_path / "a.pt")
    pipe = import_vdt(tmp_path / "a.pt", heads=3)
    assert torch.equal(output(pipe.backbone), output(net)) and "ema (prefix 'module.' removed) chosen" in said(pipe)


def test_published_widths_tell_their_heads(tmp_path: Path) -> None:
    pipe = import_vdt(saved(tmp_path / "a.pt", network(width=384, heads=6, depth=1)))
    assert pipe.backbone.config()["heads"] == 6
    with pytest.raises(InputError, match="--heads N"):
        import_vdt(saved(tmp_path / "b.pt", network()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("time_embed"), "temporal blocks without time_embed"),
        (lambda s: s.pop("blocks.1.temporal_fc.bias"), r"missing: blocks.1.temporal.fc.bias"),
        (lambda s: s.update({"blocks.0.temporal_norm2.weight": torch.zeros(1)}), "unexpected: blocks.0.temporal_norm2"),
        (lambda s: s.update(time_embed=s["time_embed"] * 2), "time_embed"),
        (lambda s: s.update(time_embed=s["time_embed"][0]), "time_embed"),
        (lambda s: s.update(pos_embed=s["pos_embed"].flip(1)), "pos_embed"),
        (lambda s: s.update({"blocks.0.temporal_fc.weight": torch.zeros(24, 12)}), "differing shapes"),
        (lambda s: s["blocks.0.temporal_fc.weight"].fill_(float("nan")), "not finite"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused_where_the_published_loader_drops(
    change: Any, said: str, tmp_path: Path
) -> None:
    state = write_official(network(), SIZE)
    change(state)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=said):
        import_vdt(tmp_path / "a.pt", heads=3)


def test_the_wrong_importer_names_the_right_one(tmp_path: Path) -> None:
    video = list(write_official(network(), SIZE))
    assert "gencore convert vdt)" in looks_like(video, "vdt-from-dit")
    with pytest.raises(CheckpointError, match="this looks like vdt"):
        import_vdt_from_dit(saved(tmp_path / "a.pt", network()), heads=3)


def test_files_run_no_code(tmp_path: Path) -> None:
    import os

    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"model": Bomb()}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="asks to run"):
        import_vdt(tmp_path / "a.pt", heads=3)
    assert not (tmp_path / "ran").exists()


# ---- from an image network


def test_an_image_network_becomes_the_spatial_part(tmp_path: Path) -> None:
    path, image = image_file(tmp_path / "dit.pt")
    pipe = import_vdt_from_dit(path, heads=3, frames=6)
    given, ours = image.state_dict(), pipe.backbone.state_dict()
    new = [name for name in ours if name not in given]
    assert all(torch.equal(ours[name], value) for name, value in given.items())
    assert len(new) == 2 * 8 and all(".temporal." in name for name in new)
    # Everything that the file does not hold is named.
    assert "16 tensors not in the file, new (xavier): blocks.0-1.temporal." in said(pipe)
    for name in ("attn.proj.bias", "attn.qkv.weight", "fc.weight", "norm.bias"):
        assert name in said(pipe)
    assert f"{len(given)} tensors mapped to the spatial part, 0 left over; ema chosen" in said(pipe)
    assert pipe.tokenizer.spec().sizes == (4, 6, 8, 8)
    assert Keymap(RULES).unmatched(k for k in write_official(network(temporal="none"), SIZE) if k != POSITIONS) == []


def test_a_temporal_part_of_nothing_leaves_every_frame_an_image(tmp_path: Path) -> None:
    path, image = image_file(tmp_path / "dit.pt")
    zero = import_vdt_from_dit(path, heads=3, temporal="zero").backbone
    table = network(temporal="table")
    table.load_state_dict(image.state_dict())
    torch.testing.assert_close(output(zero), output(table), rtol=0, atol=1e-6)
    assert "new (zero)" in said(import_vdt_from_dit(path, heads=3, temporal="zero"))
    mixed = import_vdt_from_dit(path, heads=3).backbone
    assert (output(mixed) - output(table)).abs().max() > 1e-2
    assert torch.equal(output(mixed), output(import_vdt_from_dit(path, heads=3).backbone))
    assert not torch.equal(output(mixed), output(import_vdt_from_dit(path, heads=3, seed=1).backbone))


def test_the_label_of_every_clip_is_a_row_of_the_table(tmp_path: Path) -> None:
    path, _ = image_file(tmp_path / "dit.pt")
    pipe = import_vdt_from_dit(path, heads=3, label=4)
    assert pipe.conditioner({}, 1)[1]["label"].value.tolist() == [4] and "given row 4" in said(pipe)
    for options in ({"label": 5}, {"label": -1}, {"frames": 0}):
        with pytest.raises(InputError, match=r"label|frames"):
            import_vdt_from_dit(path, heads=3, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="label"):
        ConstantLabel(-1)


def test_convert_writes_a_model_that_loads_and_samples_with_given_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = network()
    path = saved(tmp_path / "a.pt", net)
    assert main(["convert", "vdt", str(path), "--heads", "3", "-o", str(tmp_path / "model")]) == 0
    assert "0 left over" in capsys.readouterr().out
    pipe = load_folder(tmp_path / "model")
    assert torch.equal(output(pipe.backbone), output(net))
    assert pipe.config() == import_vdt(path, heads=3).config()
    assert main(["convert", "vdt-from-dit", str(image_file(tmp_path / "d.pt")[0]), "--heads", "3", "--temporal", "zero",
                 "--frames", "4", "-o", str(tmp_path / "start"), "--json"]) == 0  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert told["system"] == "vdt-from-dit" and told["modality"] == "video"
    assert load_folder(tmp_path / "start").tokenizer.spec().sizes == (4, 4, 8, 8)


def test_an_image_autoencoder_makes_clips_of_the_latents(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers", reason="needs gencore-video[vae]")
    pytest.importorskip("gencore_images", reason="needs gencore-video[vae]")
    with seeded(0):
        for channels in (4, 3):
            vae = diffusers.AutoencoderKL(block_out_channels=(4, 4), norm_num_groups=2, latent_channels=channels,
                                          down_block_types=("DownEncoderBlock2D",) * 2,
                                          up_block_types=("UpDecoderBlock2D",) * 2)  # fmt: skip
            vae.save_pretrained(tmp_path / f"vae{channels}")
    path = saved(tmp_path / "a.pt", network())
    pipe = import_vdt(path, heads=3, vae=tmp_path / "vae4")
    assert pipe.tokenizer.spec().sizes == (4, *SIZE) and "makes latents" not in said(pipe)
    clip = torch.zeros(1, 3, 5, 16, 16)
    latent = pipe.tokenizer.encode(clip)
    assert latent.value.shape == (1, 4, *SIZE) and pipe.tokenizer.decode(latent).shape == clip.shape
    with pytest.raises(InputError, match="3-channel latents"):
        import_vdt(path, heads=3, vae=tmp_path / "vae3")


def test_our_network_written_in_the_published_layout_reads_back(tmp_path: Path) -> None:
    net = network()
    state = write_official(net, SIZE)
    assert state[PATCH].shape == (24, 4, 2, 2) and state["time_embed"].shape == (1, 5, 24)
    assert {name.partition("blocks.0.")[2].rpartition(".")[0] for name in state if ".temporal_" in name} - {""} == {
        "temporal_norm1", "temporal_attn.qkv", "temporal_attn.proj", "temporal_fc",
    }  # fmt: skip
    torch.save(state, tmp_path / "a.pt")
    assert torch.equal(output(import_vdt(tmp_path / "a.pt", heads=3).backbone), output(net))
