"""Foreign checkpoints: what is read, what is said about it, and what is refused."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.cli import main
from gencore.condition import Condition
from gencore.context import Context
from gencore.errors import CheckpointError, InputError
from gencore.manifest import Manifest
from gencore.models import CONFIG, WEIGHTS
from gencore.nn.embed import sincos_grid
from gencore.pipeline import Pipeline
from gencore.plugins import registered
from gencore.processes.flows import Clock, LinearFlow, TrigFlow, VariancePreserving
from gencore.weights.importer import looks_like, recognised_by
from gencore.weights.keymap import Keymap
from gencore_images.importers.dit import import_dit
from gencore_images.importers.official_dit import size_name, write_official
from gencore_images.importers.sit import import_sit
from gencore_images.presets import SIZES

WIDTH, DEPTH, HEADS, PATCH, SIDE, CLASSES = 24, 2, 3, 2, 4, 5


def official(
    channels: int = 4, outputs: int = 8, rows: int = CLASSES + 1, seed: int = 0, width: int = WIDTH
) -> dict[str, Tensor]:
    """A state dict in DiT's published layout with random weights."""
    g = torch.Generator().manual_seed(seed)

    def linear(name: str, out: int, into: int) -> dict[str, Tensor]:
        return {
            f"{name}.weight": torch.randn(out, into, generator=g) / into**0.5,
            f"{name}.bias": torch.randn(out, generator=g) / 5,
        }

    state = {
        "x_embedder.proj.weight": torch.randn(width, channels, PATCH, PATCH, generator=g) / 4,
        "x_embedder.proj.bias": torch.randn(width, generator=g),
        "pos_embed": sincos_grid((SIDE, SIDE), width)[None],
        "y_embedder.embedding_table.weight": torch.randn(rows, width, generator=g),
        **linear("t_embedder.mlp.0", width, 256),
        **linear("t_embedder.mlp.2", width, width),
        **linear("final_layer.linear", PATCH * PATCH * outputs, width),
        **linear("final_layer.adaLN_modulation.1", 2 * width, width),
    }
    for i in range(DEPTH):
        state |= linear(f"blocks.{i}.attn.qkv", 3 * width, width) | linear(f"blocks.{i}.attn.proj", width, width)
        state |= linear(f"blocks.{i}.mlp.fc1", 4 * width, width) | linear(f"blocks.{i}.mlp.fc2", width, 4 * width)
        state |= linear(f"blocks.{i}.adaLN_modulation.1", 6 * width, width)
    return state


def saved(path: Path, checkpoint: Any) -> Path:
    torch.save(checkpoint, path)
    return path


@torch.no_grad()
def output(pipe: Pipeline, seed: int = 1) -> Tensor:
    channels = pipe.backbone.config()["channels"]
    x = torch.randn(2, channels, PATCH * SIDE, PATCH * SIDE, generator=torch.Generator().manual_seed(seed))
    return pipe.backbone(x, torch.tensor([3.0, 700.0]), {"label": Condition(torch.tensor([0, 2]))}, Context()).pred


def said(pipe: Pipeline) -> str:
    return "\n".join(pipe.card["imported"]["notes"])


# ---- the official layout


def test_sizes_come_from_the_shapes_and_the_defaults_are_the_published_ones(tmp_path: Path) -> None:
    pipe = import_dit(saved(tmp_path / "a.pt", official()), heads=HEADS)
    config = pipe.backbone.config()
    assert {k: config[k] for k in ("channels", "patch", "width", "depth", "heads", "mlp_ratio")} == {
        "channels": 4,
        "patch": [2, 2],
        "width": WIDTH,
        "depth": DEPTH,
        "heads": HEADS,
        "mlp_ratio": 4.0,
    }
    assert pipe.backbone.prediction.config() == {"kind": "epsilon", "extra": "learned_range", "reverse": False}
    assert pipe.process.config() == {"schedule": "linear", "steps": 1000, "final": "clean"}
    assert (pipe.defaults.sampler, pipe.defaults.steps, pipe.defaults.guidance) == (
        "ddpm",
        250,
        "cfg:scale=4.0,channels=3",
    )
    assert "read as DiT (epsilon + learned range); SiT files look the same" in said(pipe)
    assert f"{len(official()) - 1} tensors mapped, 0 left over; bare state dict chosen" in said(pipe)
    assert pipe.tokenizer.spec().sizes == (4, PATCH * SIDE, PATCH * SIDE)


def test_published_widths_tell_their_heads(tmp_path: Path) -> None:
    pipe = import_dit(saved(tmp_path / "a.pt", official(width=384)))
    assert pipe.backbone.config()["heads"] == 6 and "size width 384 depth 2 heads 6 patch 2" in said(pipe)
    whole = DiT(4, (8, 8), **SIZES["s"])
    assert size_name(whole) == "S/8"


def test_other_widths_need_heads_that_divide_them(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", official())
    for heads in (None, 5, 0):
        with pytest.raises(InputError, match="--heads N"):
            import_dit(path, heads=heads)


def test_a_training_file_gives_its_ema_and_its_args(tmp_path: Path) -> None:
    ema, model = official(rows=CLASSES, seed=1), official(rows=CLASSES, seed=2)
    args = argparse.Namespace(num_classes=CLASSES, model="DiT-XL/2", results_dir=Path("results"))
    whole = saved(tmp_path / "whole.pt", {"model": model, "ema": ema, "opt": {"state": {}}, "args": args})
    pipe = import_dit(whole, heads=HEADS)
    assert torch.equal(output(pipe), output(import_dit(saved(tmp_path / "ema.pt", ema), heads=HEADS, classes=CLASSES)))
    assert "ema chosen" in said(pipe)
    assert pipe.defaults.guidance is None and "no guidance" in said(pipe)
    wrapped = {f"module.{name}": tensor for name, tensor in model.items()}
    other = import_dit(saved(tmp_path / "model.pt", {"model": wrapped}), heads=HEADS, classes=CLASSES)
    assert "module." in said(other) and not torch.equal(output(pipe), output(other))


def test_the_label_table_is_read_as_classes_and_a_null_row_unless_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", official())
    assert import_dit(path, heads=HEADS).conditioner.config() == {"classes": CLASSES, "names": None, "null": True}
    without = import_dit(path, heads=HEADS, classes=CLASSES + 1)
    assert without.conditioner.config()["null"] is False and without.defaults.guidance is None
    with pytest.raises(InputError, match="the label table has 6 rows"):
        import_dit(path, heads=HEADS, classes=3)
    one = import_dit(saved(tmp_path / "one.pt", official(rows=1)), heads=HEADS)
    assert one.conditioner.config() == {"classes": 1, "names": None, "null": False}


def test_without_variance_channels_sampling_takes_the_published_fixed_variance(tmp_path: Path) -> None:
    pipe = import_dit(saved(tmp_path / "a.pt", official(channels=3, outputs=3)), heads=HEADS)
    assert pipe.backbone.prediction.extra is None and pipe.defaults.sampler == "ddpm:variance=fixed_large"


def test_sit_shares_the_file_and_not_its_meaning(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", official())
    dit, sit = import_dit(path, heads=HEADS), import_sit(path, heads=HEADS)
    assert torch.equal(output(dit), output(sit))
    assert sit.backbone.prediction.config() == {"kind": "velocity", "extra": "drop", "reverse": True}
    assert sit.process == LinearFlow(Clock(reverse=True)) and sit.defaults.sampler == "dopri5"
    assert "DiT files look the same" in said(sit)
    other = import_sit(path, heads=HEADS, trained_on="gvp", predicts="noise")
    assert other.process == TrigFlow(Clock(reverse=True)) and other.backbone.prediction.kind == "epsilon"
    assert import_sit(path, heads=HEADS, trained_on="vp").process == VariancePreserving(Clock(reverse=True))


def test_a_written_checkpoint_is_the_one_that_was_read(tmp_path: Path) -> None:
    state = official()
    pipe = import_dit(saved(tmp_path / "a.pt", state), heads=HEADS)
    assert isinstance(pipe.backbone, DiT)
    written = write_official(pipe.backbone, (PATCH * SIDE, PATCH * SIDE))
    assert written.keys() == state.keys() and all(torch.equal(written[k], state[k]) for k in state)


def test_what_the_layout_has_no_names_for_is_not_written() -> None:
    net = DiT(1, (2, 2), width=8, depth=1, heads=2, qk_norm="layer")
    with pytest.raises(CheckpointError, match="q_norm"):
        write_official(net, (4, 4))


# ---- what is refused


def test_leftovers_are_named_on_both_sides(tmp_path: Path) -> None:
    state = official()
    state["blocks.0.temporal_attn.qkv.weight"] = state.pop("blocks.1.attn.qkv.weight")
    with pytest.raises(CheckpointError, match=r"unexpected: blocks\.0\.temporal_attn\.qkv\.weight"):
        import_dit(saved(tmp_path / "a.pt", state), heads=HEADS)
    del state["blocks.0.temporal_attn.qkv.weight"]
    with pytest.raises(CheckpointError, match=r"missing: blocks\.1\.attn\.qkv\.weight"):
        import_dit(saved(tmp_path / "b.pt", state), heads=HEADS)
    del state["pos_embed"]
    with pytest.raises(CheckpointError, match="missing: pos_embed"):
        import_dit(saved(tmp_path / "c.pt", state), heads=HEADS)


def test_a_trained_position_table_is_not_replaced_in_silence(tmp_path: Path) -> None:
    state = official()
    half = {name: tensor.half() for name, tensor in state.items()}
    assert import_dit(saved(tmp_path / "half.pt", half), heads=HEADS).dtype == torch.float32
    plain = import_dit(saved(tmp_path / "plain.pt", state), heads=HEADS)
    state["pos_embed"] = state["pos_embed"] + 1e-2
    pipe = import_dit(saved(tmp_path / "a.pt", state), heads=HEADS)
    assert torch.equal(pipe.backbone.state_dict()["table"], state["pos_embed"][0])
    assert any("trained: kept" in note for note in pipe.card["imported"]["notes"])
    again = write_official(pipe.backbone, (SIDE * PATCH, SIDE * PATCH))  # type: ignore[arg-type]
    assert all(torch.equal(again[name], state[name]) for name in state)
    x, t, cond = torch.zeros(1, 4, SIDE * PATCH, SIDE * PATCH), torch.zeros(1), {"label": Condition(torch.tensor([1]))}
    outputs = [made.backbone(x, t, cond, Context()).pred for made in (plain, pipe)]
    assert not torch.allclose(*outputs)
    with pytest.raises(InputError, match="positions were trained"):
        pipe.backbone(torch.cat([x, x], dim=2), t, cond, Context())
    state["pos_embed"] = sincos_grid((3, 5), WIDTH)[None]
    with pytest.raises(CheckpointError, match="square grid"):
        import_dit(saved(tmp_path / "b.pt", state), heads=HEADS)


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("final_layer.linear.weight", (PATCH * PATCH * 12, WIDTH), "4 or 8 channels"),
        ("x_embedder.proj.weight", (WIDTH, 4, 2, 3), "patch, patch"),
        ("blocks.1.attn.proj.weight", (WIDTH, WIDTH + 1), r"blocks\.1\.attn\.proj\.weight"),
    ],
)
def test_shapes_that_cannot_be(tmp_path: Path, name: str, shape: tuple[int, ...], told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        import_dit(saved(tmp_path / "a.pt", official() | {name: torch.zeros(shape)}), heads=HEADS)


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    state = official()
    state["blocks.1.mlp.fc1.bias"][3] = torch.nan
    with pytest.raises(CheckpointError, match="1 of 96 values not finite"):
        import_dit(saved(tmp_path / "a.pt", state), heads=HEADS)


@recognised_by(
    Keymap(
        [
            (r"blocks\.(\d+)\.(?:attn|mlp|adaLN|audio_attn).*", r"\1"),
            (r"[a-z]_embedder\..*", "x"),
            (r"final.*", "y"),
        ],
        {"pos_embed": "a table"},
    )
)
def import_clips(path: Path) -> Pipeline:
    raise AssertionError("only recognised, never read")


def test_the_importer_that_fits_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clips_module", sys.modules[__name__])
    state = official() | {"blocks.0.audio_attn.qkv.weight": torch.zeros(3)}
    manifest = Manifest(name="clips", summary="-", provides={"importer": {"clips": "clips_module:import_clips"}})
    with registered(manifest), pytest.raises(CheckpointError, match=r"this looks like clips \(gencore convert clips\)"):
        import_dit(saved(tmp_path / "a.pt", state), heads=HEADS)
    assert looks_like(official(), "dit") == ""
    assert looks_like(official(), "diffusers-dit").startswith("this looks like dit")
    assert looks_like(["alpha", "beta"], "dit") == ""


# ---- the command


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {MARK}",)


MARK = "ran"


def test_convert_writes_a_model_that_is_the_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "a.pt", official())
    assert main(["convert", "dit", str(path), "-o", str(tmp_path / "m"), "--heads", str(HEADS)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert "read as DiT (epsilon + learned range); SiT files look the same" in told
    assert any(line.startswith("no autoencoder given") for line in told)
    pipe = Pipeline.from_pretrained(tmp_path / "m")
    assert torch.equal(output(pipe), output(import_dit(path, heads=HEADS)))
    assert pipe.card["imported"]["file"] == "a.pt" and str(tmp_path) not in (tmp_path / "m" / CONFIG).read_text()
    with pytest.raises(InputError, match="--vae FOLDER"):
        pipe.generate(label=3, seed=0, steps=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt", "m"]


def test_convert_with_an_autoencoder_makes_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    diffusers = pytest.importorskip("diffusers", reason="the SD autoencoder needs diffusers")
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        norm_num_groups=2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        scaling_factor=0.2,
    )
    vae.save_pretrained(tmp_path / "vae")
    path, out = str(saved(tmp_path / "a.pt", official())), str(tmp_path / "m")
    assert main(["convert", "sit", path, "-o", out, "--heads", "3", "--vae", str(tmp_path / "vae"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["system"] == "sit"
    made = Pipeline.from_pretrained(out).generate(label=1, seed=0, sampler="euler", steps=2)
    assert made.samples[0].size == (2 * PATCH * SIDE, 2 * PATCH * SIDE)
    wrong = str(saved(tmp_path / "b.pt", official(channels=3, outputs=6)))
    assert (
        main(["convert", "dit", wrong, "-o", str(tmp_path / "n"), "--heads", "3", "--vae", str(tmp_path / "vae")]) == 2
    )
    assert "vae: got 4-channel latents; accepted: 3 channels" in capsys.readouterr().err


def test_nothing_is_written_on_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = saved(tmp_path / "whole.pt", official()).read_bytes()
    Path("cut.pt").write_bytes(whole[: len(whole) // 2])
    saved(Path("evil.pt"), {"model": Evil()})
    saved(Path("other.pt"), {"layer.weight": torch.zeros(2)})
    Path("folder").mkdir()
    before = sorted(os.listdir())
    for words, told in [
        (["dit", "cut.pt", "-o", "d"], "cut.pt"),
        (["dit", "evil.pt", "-o", "d"], "asks to run"),
        (["dit", "other.pt", "-o", "d"], "unexpected: layer.weight; missing: x_embedder.proj.weight"),
        (["dit", "absent.pt", "-o", "d"], "absent.pt"),
        (["dit", "folder", "-o", "d"], "holds no weights"),
        (["dit", "whole.pt", "-o", "d"], "--heads N"),
        (["dit", "whole.pt", "-o", "d", "--heads", "3", "--vae", "folder"], "vae"),
        (["dit", "whole.pt", "-o", "no/where", "--heads", "3"], "mkdir -p no"),
        (["dit", "whole.pt", "-o", "cut.pt", "--heads", "3"], "a folder"),
        (["diffusers-dti", "whole.pt", "-o", "d"], "did you mean 'diffusers-dit'?"),
        (["sit", "whole.pt", "-o", "d", "--trained-on", "cosine"], "linear, gvp, vp"),
        (["sit", "whole.pt", "-o", "d", "--schedule", "linear"], "--schedule: not an option of 'gencore convert'"),
        (["dit", "whole.pt", "-o", "d", "--heads", "3", "--schedule", "liner"], "did you mean 'linear'?"),
    ]:
        assert main(["convert", *words]) == 2, words
        err = capsys.readouterr().err
        assert told in err and err.count("\n") == 1, err
    assert sorted(os.listdir()) == before


def test_an_existing_model_is_kept_without_force_and_replaced_whole_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m"
    words = ["convert", "dit", str(saved(tmp_path / "a.pt", official(seed=5))), "-o", str(out), "--heads", "3"]
    assert main(words) == 0
    (out / "mine.txt").write_text("a note")
    first = {file.name: file.read_bytes() for file in out.iterdir()}
    words[2] = str(saved(tmp_path / "b.pt", official(seed=6)))
    assert main(words) == 2 and "--force" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in out.iterdir()} == first
    assert main([*words, "--force"]) == 0
    assert (out / WEIGHTS).read_bytes() != first[WEIGHTS] and (out / "mine.txt").read_bytes() == first["mine.txt"]
    (out / CONFIG).unlink()
    assert main([*words, "--force"]) == 2 and "holds other files" in capsys.readouterr().err


def test_the_importers_docstring_is_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["convert", "sit", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "--trained-on {linear,gvp,vp} the interpolant's path (default: linear)" in told
    assert "--heads INT attention heads, where the width is not a published one" in told
