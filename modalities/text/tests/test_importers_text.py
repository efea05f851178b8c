"""Checkpoints of MDLM and EDLM: every tensor finds its place, the average finds its names, nothing is run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gencore.cli import main
from gencore.context import Context
from gencore.errors import CheckpointError, InputError
from gencore.loading import load_folder
from gencore.weights.files import write_tensors
from gencore_text.backbones.ddit import DDiT
from gencore_text.importers.edlm_energy import import_edlm_energy
from gencore_text.importers.layout import KEYS
from gencore_text.importers.mdlm import import_mdlm
from gencore_text.importers.mdlm_ar import import_mdlm_ar

VOCAB, WIDTH, HEADS, COND, DEPTH, LENGTH = 28, 16, 2, 8, 11, 12


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))


class Rotary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        features = WIDTH // HEADS
        self.register_buffer("inv_freq", 10000.0 ** (-torch.arange(0, features, 2) / features))


class Published(nn.Module):
    """Parameters as the published modules own them: names, shapes and order."""

    def __init__(self, *, adaln: bool, out: int = VOCAB) -> None:
        super().__init__()
        self.vocab_embed = nn.Module()
        self.vocab_embed.embedding = nn.Parameter(torch.empty(VOCAB, WIDTH))
        if adaln:
            self.sigma_map = nn.Module()
            self.sigma_map.mlp = nn.Sequential(nn.Linear(256, COND), nn.SiLU(), nn.Linear(COND, COND))
        self.rotary_emb = Rotary()
        self.blocks = nn.ModuleList(self._block(adaln) for _ in range(DEPTH))
        self.output_layer = nn.Module()
        self.output_layer.norm_final = Norm()
        self.output_layer.linear = nn.Linear(WIDTH, out)
        if adaln:
            self.output_layer.adaLN_modulation = nn.Linear(COND, 2 * WIDTH)

    def _block(self, adaln: bool) -> nn.Module:
        block = nn.Module()
        block.norm1 = Norm()
        block.attn_qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        block.attn_out = nn.Linear(WIDTH, WIDTH, bias=False)
        block.norm2 = Norm()
        block.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        if adaln:
            block.adaLN_modulation = nn.Linear(COND, 6 * WIDTH)
        return block


class PublishedEnergy(Published):
    def __init__(self) -> None:
        super().__init__(adaln=True, out=WIDTH)
        self.vocab_proj = nn.Linear(2 * WIDTH, WIDTH)
        self.energy_head = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1, bias=False))


class Whole(nn.Module):
    """What is checkpointed: a network as `backbone`, and an energy as `ebm` and once more inside it."""

    def __init__(self, *, ar: bool = False, energy: bool = False, seed: int = 0) -> None:
        super().__init__()
        self.backbone = Published(adaln=not ar)
        if energy:
            self.ebm = PublishedEnergy()
            self.backbone.ebm = self.ebm
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def averaged(self, seed: int = 9) -> Whole:
        return Whole(ar="sigma_map" not in dict(self.backbone.named_children()), energy=hasattr(self, "ebm"), seed=seed)


def checkpoint(whole: Whole, average: Whole | None = None, **more: Any) -> dict[str, Any]:
    """As Lightning writes it; the average is a list without names, of what requires gradients."""
    saved: dict[str, Any] = {"state_dict": whole.state_dict(), "epoch": 3, "global_step": 7, **more}
    if average is not None:
        wanted = zip(whole.backbone.parameters(), average.backbone.parameters(), strict=True)
        shadow = [b.detach().clone() for a, b in wanted if a.requires_grad]
        saved["ema"] = {"decay": 0.9999, "num_updates": 7, "shadow_params": shadow}
    return saved


def saved(folder: Path, content: dict[str, Any], name: str = "last.ckpt") -> Path:
    torch.save(content, folder / name)
    return folder / name


def same(net: nn.Module, source: nn.Module, part: Any) -> bool:
    """Whether `net` holds exactly the tensors of a published module."""
    own = {k: v for k, v in source.state_dict().items() if not k.startswith("ebm.")}
    wanted, found = KEYS[part].rename(own), net.state_dict()
    return wanted.keys() == found.keys() and all(torch.equal(wanted[k], found[k]) for k in wanted)


def notes(pipe: Any) -> str:
    return "\n".join(pipe.card["imported"]["notes"])


def test_the_average_is_zipped_in_the_order_of_the_modules(tmp_path: Path) -> None:
    # Eleven blocks: in alphabetical order block 10 would come before block 2, and the shapes would not tell.
    whole = Whole()
    average = whole.averaged()
    pipe = import_mdlm(saved(tmp_path, checkpoint(whole, average)), length=LENGTH)
    assert same(pipe.backbone, average.backbone, "denoiser") and "the average (EMA" in notes(pipe)
    raw = import_mdlm(saved(tmp_path, checkpoint(whole, average)), length=LENGTH, weights="raw")
    assert same(raw.backbone, whole.backbone, "denoiser") and "raw weights" in notes(raw)


def test_the_order_is_that_of_the_modules_however_the_names_were_stored(tmp_path: Path) -> None:
    whole = Whole()
    average = whole.averaged()
    content = checkpoint(whole, average)
    content["state_dict"] = dict(sorted(content["state_dict"].items()))
    assert same(import_mdlm(saved(tmp_path, content), length=LENGTH).backbone, average.backbone, "denoiser")


def test_a_frozen_denoiser_is_not_in_the_average(tmp_path: Path) -> None:
    whole = Whole(energy=True)
    average = whole.averaged()
    for name, parameter in whole.backbone.named_parameters():
        parameter.requires_grad_(name.startswith("ebm."))
    path = saved(tmp_path, checkpoint(whole, average))
    assert same(import_mdlm(path, length=LENGTH).backbone, whole.backbone, "denoiser")
    assert same(import_edlm_energy(path, length=LENGTH).backbone, average.ebm, "energy")


def test_an_edlm_file_holds_two_networks_and_a_copy(tmp_path: Path) -> None:
    whole = Whole(energy=True)
    average = whole.averaged()
    path = saved(tmp_path, checkpoint(whole, average))
    denoiser, energy = import_mdlm(path, length=LENGTH), import_edlm_energy(path, length=LENGTH)
    assert same(denoiser.backbone, average.backbone, "denoiser") and same(energy.backbone, average.ebm, "energy")
    assert "backbone.ebm.* is left: another network (gencore convert edlm-energy)" in notes(denoiser)
    assert "ebm.* is the same network once more: read once" in notes(energy)
    assert energy.process.config() == denoiser.process.config()


def test_the_autoregressive_network(tmp_path: Path) -> None:
    whole = Whole(ar=True)
    average = whole.averaged()
    pipe = import_mdlm_ar(saved(tmp_path, checkpoint(whole, average)), length=LENGTH)
    assert same(pipe.backbone, average.backbone, "ar")
    assert pipe.backbone.config()["start"] == "none" and "token 0" in notes(pipe)
    out = pipe.generate(seed=3)
    assert out.tensor.shape == (1, LENGTH) and not (out.tensor == VOCAB - 1).any()


def test_an_average_of_another_length_is_refused(tmp_path: Path) -> None:
    content = checkpoint(Whole(), Whole(seed=9))
    content["ema"]["shadow_params"].pop()
    with pytest.raises(CheckpointError, match=r"ema: got \d+ averaged tensors for \d+ parameters.*--weights raw"):
        import_mdlm(saved(tmp_path, content))
    with pytest.raises(CheckpointError, match="no list of averaged tensors"):
        import_mdlm(saved(tmp_path, {**content, "ema": {"decay": 0.9}}), weights="ema")
    with pytest.raises(CheckpointError, match="no list of averaged tensors"):
        import_mdlm(saved(tmp_path, {"state_dict": content["state_dict"]}), weights="ema")


def test_the_published_folder_with_its_configuration(tmp_path: Path) -> None:
    whole = Whole()
    config = {"model_type": "mdlm", "n_heads": HEADS, "model_length": LENGTH, "time_conditioning": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    state = {f"backbone.{k}": v for k, v in whole.backbone.state_dict().items() if "inv_freq" not in k}
    write_tensors(tmp_path / "model.safetensors", state)
    pipe = import_mdlm(tmp_path)
    assert same(pipe.backbone, whole.backbone, "denoiser")
    assert pipe.tokenizer.spec().sizes == (LENGTH,) and pipe.backbone.config()["heads"] == HEADS
    assert pipe.process.config()["network_time"] == "sigma" and "the file says so" in notes(pipe)


def test_what_no_shape_tells_is_asked_for(tmp_path: Path) -> None:
    state = {k: v for k, v in Whole().backbone.state_dict().items() if "inv_freq" not in k}
    write_tensors(tmp_path / "bare.safetensors", state)
    with pytest.raises(InputError, match="no shape tells: --heads N"):
        import_mdlm(tmp_path / "bare.safetensors")
    pipe = import_mdlm(tmp_path / "bare.safetensors", heads=4, mask_id=4, schedule="cosinesqr", time_conditioning=True)
    assert pipe.backbone.config()["heads"] == 4 and pipe.backbone.prediction.mask_id == 4  # type: ignore[attr-defined]
    assert pipe.process.config()["schedule"] == "cosine-squared" and "context of 1024 tokens, assumed" in notes(pipe)
    write_tensors(tmp_path / "told.safetensors", Whole().backbone.state_dict())
    with pytest.raises(InputError, match="heads: got 4; accepted: 2, as the file's rotary frequencies tell"):
        import_mdlm(tmp_path / "told.safetensors", heads=4)


def test_rotary_frequencies_of_another_base_are_refused(tmp_path: Path) -> None:
    state = Whole().backbone.state_dict()
    half = {k: v.half() for k, v in state.items()}
    write_tensors(tmp_path / "half.safetensors", half)
    import_mdlm(tmp_path / "half.safetensors")
    write_tensors(tmp_path / "other.safetensors", {**state, "rotary_emb.inv_freq": state["rotary_emb.inv_freq"] * 1.1})
    with pytest.raises(CheckpointError, match="frequencies of base 10000"):
        import_mdlm(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: {**s, "backbone.blocks.0.attn_qkv.bias": torch.zeros(3 * WIDTH)},
            "unexpected: blocks.0.attn_qkv.bias",
        ),
        (lambda s: {**s, "backbone.teacher.weight": torch.zeros(2)}, "unexpected: backbone.teacher.weight"),
        (lambda s: {k: v for k, v in s.items() if "blocks.3.norm2" not in k}, "missing: blocks.3.norm2.weight"),
        (lambda s: {**s, "backbone.blocks.1.norm1.weight": torch.ones(3)}, "differing shapes: blocks.1.norm1.weight"),
        (lambda s: {**s, "backbone.blocks.1.norm1.weight": torch.full((WIDTH,), torch.nan)}, "not finite"),
    ],
)
def test_every_name_is_accounted_for(
    change: Callable[[Mapping[str, Tensor]], dict[str, Tensor]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        import_mdlm(saved(tmp_path, {"state_dict": change(Whole().state_dict())}))


def test_a_file_of_another_network_is_told_its_importer(tmp_path: Path) -> None:
    path = saved(tmp_path, checkpoint(Whole(ar=True)))
    with pytest.raises(CheckpointError, match=r"got ar only; accepted: a denoiser network.*gencore convert mdlm-ar"):
        import_mdlm(path)
    path = saved(tmp_path, checkpoint(Whole()))
    with pytest.raises(CheckpointError, match=r"got denoiser only; accepted: an energy network.*gencore convert mdlm"):
        import_edlm_energy(path)
    path = saved(tmp_path, {"state_dict": {"x_embedder.proj.weight": torch.zeros(3)}})
    with pytest.raises(CheckpointError, match=r"unexpected: x_embedder\.proj\.weight"):
        import_mdlm(path)


def test_a_tokenizer_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, checkpoint(Whole()))
    with pytest.raises(InputError, match="tokenizer: got 260 token ids with the mask; accepted: 28, the rows"):
        import_mdlm(path, tokenizer="bytes")
    with pytest.raises(InputError, match="mask_id: got 3; accepted: 27, the tokenizer's"):
        import_mdlm(path, tokenizer="alphabet27", mask_id=3)
    pipe = import_mdlm(path, tokenizer="alphabet27", length=LENGTH)
    assert set(pipe.generate(seed=1, steps=4).samples[0]) <= set(" abcdefghijklmnopqrstuvwxyz")


def test_a_tokenizer_of_the_transformers_layout_goes_with_the_model(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    for extra, folder in ((0, tmp_path / "fits"), (1, tmp_path / "more")):
        folder.mkdir()
        words = {f"w{i}": i for i in range(VOCAB - 1 + extra)}
        made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
        made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        made.save(str(folder / "tokenizer.json"))
    path = saved(tmp_path, checkpoint(Whole()))
    with pytest.raises(InputError, match="tokenizer: got 29 token ids with the mask; accepted: 28, the rows"):
        import_mdlm(path, tokenizer=str(tmp_path / "more"))
    pipe = import_mdlm(path, tokenizer=str(tmp_path / "fits"), length=LENGTH)
    assert pipe.tokenizer.mask_id == VOCAB - 1  # type: ignore[attr-defined]
    again = load_folder(pipe.save_pretrained(tmp_path / "model"))
    assert again.tokenizer.ids("w3 w26") == [3, 26]  # type: ignore[attr-defined]


def test_a_schedule_with_tensors_of_its_own_is_left_and_named(tmp_path: Path) -> None:
    whole = Whole()
    average = whole.averaged()
    content = checkpoint(whole, average)
    content["state_dict"]["noise.sigmas"] = torch.ones(2)
    content["ema"]["shadow_params"].append(torch.zeros(2))
    pipe = import_mdlm(saved(tmp_path, content), length=LENGTH)
    assert same(pipe.backbone, average.backbone, "denoiser") and "noise.* is left" in notes(pipe)


@pytest.fixture
def library() -> Iterator[Callable[[str, str], type]]:
    """Classes of a library that exists while a file is written and is gone when it is read."""
    made: list[str] = []

    def make(module: str, name: str) -> type:
        parts = module.split(".")
        for i in range(1, len(parts) + 1):
            where = ".".join(parts[:i])
            if where not in sys.modules:
                sys.modules[where] = ModuleType(where)
                made.append(where)
        kind = type(name, (), {"__module__": module, "__qualname__": name})
        setattr(sys.modules[module], name, kind)
        return kind

    def gone() -> None:
        while made:
            del sys.modules[made.pop()]

    make.gone = gone  # type: ignore[attr-defined]
    yield make
    gone()


def test_the_training_configuration_is_read_without_its_library(tmp_path: Path, library: Any) -> None:
    container, leaf = library("omegaconf.dictconfig", "DictConfig"), library("omegaconf.nodes", "AnyNode")

    def node(value: Any) -> Any:
        made = container() if isinstance(value, dict) else leaf()
        if isinstance(value, dict):
            made.__dict__.update(_content={k: node(v) for k, v in value.items()}, _metadata={"ref_type": dict})
        else:
            made.__dict__.update(_val=value)
        return made

    config = {"noise": {"type": "cosine"}, "time_conditioning": True, "parameterization": "subs",
              "model": {"length": LENGTH, "n_heads": HEADS}}  # fmt: skip
    path = saved(tmp_path, checkpoint(Whole(), hyper_parameters={"config": node(config)}))
    library.gone()
    pipe = import_mdlm(path)
    assert pipe.tokenizer.spec().sizes == (LENGTH,)
    assert pipe.process.config()["schedule"] == "cosine" and pipe.process.config()["network_time"] == "sigma"
    assert import_mdlm(path, schedule="linear").process.config()["schedule"] == "linear"


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, checkpoint(Whole(), hyper_parameters={"config": Evil()}))
    with pytest.raises(CheckpointError, match=r"asks to run \w+\.mkdir; refused"):
        import_mdlm(path)
    strange = library("somelibrary.things", "Thing")
    path = saved(tmp_path, checkpoint(Whole(), hyper_parameters={"config": strange()}))
    with pytest.raises(CheckpointError, match=r"asks to run somelibrary\.things\.Thing; refused"):
        import_mdlm(path)
    assert not (tmp_path / "ran").exists()


def test_a_converted_model_loads_and_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Whole()
    path = saved(tmp_path, checkpoint(whole, whole.averaged()))
    assert main(["convert", "mdlm", str(path), "-o", str(tmp_path / "model"), "--length", str(LENGTH)]) == 0
    told = capsys.readouterr().out
    assert "0 left over" in told and "loglinear schedule, network shown no time: assumed" in told
    net, again = import_mdlm(path, length=LENGTH).backbone, load_folder(tmp_path / "model").backbone
    assert isinstance(net, DDiT)
    x, t = torch.randint(VOCAB, (2, LENGTH), generator=torch.Generator().manual_seed(0)), torch.zeros(2)
    assert torch.equal(net(x, t, {}, Context()).pred, again(x, t, {}, Context()).pred)


def test_a_refused_file_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, checkpoint(Whole(ar=True)))
    before = sorted(tmp_path.iterdir())
    assert main(["convert", "mdlm", str(path), "-o", str(tmp_path / "model")]) == 2
    assert main(["convert", "mdlm-ar", str(path), "-o", str(tmp_path / "model"), "--tokenizer", "bytes"]) == 2
    cut = path.read_bytes()[:-5000]
    path.write_bytes(cut)
    assert main(["convert", "mdlm-ar", str(path), "-o", str(tmp_path / "model")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3 and all(line.startswith("gencore: error: ") for line in errors)
    assert sorted(tmp_path.iterdir()) == before
