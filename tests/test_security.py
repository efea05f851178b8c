"""Files from strangers run no code and reach no other file: checkpoints, settings, recipes, pictures, archives."""

from __future__ import annotations

import ast
import io
import json
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gencore.cli import main
from gencore.errors import CheckpointError, GencoreError, InputError
from gencore.loading import load_folder
from gencore.recipe import embed_png, read_recipe
from gencore.testing.tiny import tiny_pipeline
from gencore.weights.files import read_checkpoint, write_tensors

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for folder in ("gencore", "kernels/src", "modalities", "examples", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if "tests" not in path.relative_to(ROOT).parts
)
LOADERS = {
    "gencore/__init__.py": "its own public names",
    "gencore/cli/__init__.py": "the core's own verbs",
    "gencore/plugins.py": "what an installed manifest names",
    "gencore/testing/__init__.py": "its own public names",
    "gencore/testing/conformance/discovery.py": "the package that is checked",
    "benchmarks/run.py": "the benchmarks beside it",
    "modalities/robot/src/gencore_robot/environments.py": "the environment typed after --env, as gymnasium does",
    "modalities/robot/src/gencore_robot/experts/library.py": "the function typed after --expert",
}
"""The only files that import by a name they are given, and whose names these are."""
NOT_TYPES = [
    "os:system", "os.system", "builtins:eval", "subprocess:Popen", "../core/dit", "core/../os", "__class__", "", 3,
    None, ["dit"], {"type": "dit"},
]  # fmt: skip


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Every call in `path` with the dotted name of what is called."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def keyword(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(k.value) for k in call.keywords if k.arg == name), None)


class Payload:
    """Pickles to a call that would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.mark), "w")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that loads."""
    return tiny_pipeline().save_pretrained(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.strip()
    assert error.startswith("gencore: error: ") and "\n" not in error, error
    return error


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_what_a_file_holds(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "trust_remote_code" not in text
    for name, call in calls(path):
        if name.endswith(("torch.load", "hub.load_state_dict_from_url")):
            assert keyword(call, "weights_only") is True, ast.unparse(call)
        assert keyword(call, "weights_only") in (None, True), ast.unparse(call)
        assert keyword(call, "allow_pickle") in (None, False), ast.unparse(call)
        assert keyword(call, "shell") in (None, False), ast.unparse(call)
        assert name not in {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}, ast.unparse(call)
        assert name.partition(".")[0] not in {"cloudpickle", "dill", "joblib", "marshal", "shelve"}, ast.unparse(call)
        assert name not in {"pickle.load", "pickle.loads", "pickle.Unpickler"}, ast.unparse(call)
        if name in {"import_module", "importlib.import_module", "__import__", "runpy.run_path", "runpy.run_module"}:
            assert str(path.relative_to(ROOT)) in LOADERS, ast.unparse(call)


@pytest.mark.parametrize("name", NOT_TYPES, ids=repr)
@pytest.mark.parametrize("part", ["tokenizer", "conditioner", "backbone", "process"])
def test_a_configuration_cannot_name_code(model: Path, tmp_path: Path, part: str, name: object) -> None:
    config = json.loads((model / "config.json").read_text())
    config[part] = {**config[part], "type": name}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    with pytest.raises(GencoreError) as caught:
        load_folder(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["tokenizer", "backbone", "modality", "defaults", "card"])
@pytest.mark.parametrize("value", ["os:system", 3, None, ["dit"]], ids=repr)
def test_a_configuration_of_other_types_is_refused(model: Path, tmp_path: Path, key: str, value: object) -> None:
    config = json.loads((model / "config.json").read_text()) | {key: value}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    with pytest.raises(GencoreError) as caught:
        load_folder(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["sampler", "guidance"])
@pytest.mark.parametrize("text", ["os:system", "os.system:command=ls", "builtins:eval"])
def test_no_option_names_code(option: str, text: str) -> None:
    with pytest.raises(InputError):
        tiny_pipeline().generate(label=1, seed=0, **{option: text})


@pytest.fixture(scope="module")
def picture(model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A PNG with a recipe that can be followed."""
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    load_folder(model).generate(label=1, seed=0).save(path)
    return path.read_bytes()


def test_the_recipe_that_the_next_test_spoils_is_good(
    model: Path, picture: bytes, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.png").write_bytes(picture)
    assert main(["reproduce", "a.png", "--model", str(model), "--quiet"]) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"sampler": {"type": "os:system", "command": "touch ran"}},
        {"sampler": {"type": "os.system", "command": "touch ran"}},
        {"sampler": {"type": "core/../os:system"}},
        {"sampler": {"type": 3}},
        {"sampler": {}},
        {"guidance": {"type": "builtins:eval", "source": "open('ran', 'w')"}},
        {"interceptors": ["os:system"]},
        {"attention": "os:system"},
        {"modality": "os:system"},
        {"words": {"label": 1, "__class__": "os:system"}},
        {"seeds": ["__import__('os')"]},
        {"size": ["8", None]},
        {"steps": 10**9, "callback": "os:system"},
    ],
    ids=lambda change: json.dumps(change)[:50],
)
def test_a_recipe_cannot_name_code(model: Path, picture: bytes, here: Path, change: dict[str, object],
                                   capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    Path("a.png").write_bytes(picture)
    Path("a.png").write_bytes(embed_png(picture, read_recipe("a.png") | change))
    assert main(["reproduce", "a.png", "--model", str(model), "-o", "b.png", "--quiet"]) == 2
    one_line(capsys)
    assert [path.name for path in here.iterdir()] == ["a.png"]


def test_pickles_beside_a_model_are_never_read(model: Path, tmp_path: Path) -> None:
    for path in model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(Payload(tmp_path / "ran"), tmp_path / "pytorch_model.bin")
    (tmp_path / "modeling.py").write_text("open('ran', 'w')")
    load_folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError):
        load_folder(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_an_autoencoder_folder_with_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    from gencore_images.vae import SDVAE

    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    torch.save({"x": Payload(tmp_path / "ran")}, tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(GencoreError):
        SDVAE.from_folder(tmp_path, (32, 32))
    assert not (tmp_path / "ran").exists()


def test_the_checkpoint_of_a_run_may_not_run_code(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    from gencore.testing.tiny import tiny_items, tiny_training
    from gencore.training.run import LAST, fit
    from gencore_images.items import open_items

    images, labels = tiny_items(8)
    np.savez(tmp_path / "items.npz", images=images.numpy(), labels=labels.numpy())
    items = open_items(tmp_path / "items.npz", (8, 8), 1)
    torch.save({"state_dict": {}, "x": Payload(tmp_path / "ran")}, tmp_path / LAST)
    with pytest.raises(Exception, match=r"weights_only|unsafe|refused|Unsupported"):
        fit(tiny_training(items, steps=1), items, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_hub_is_asked_for_no_pickle_and_no_code() -> None:
    from fnmatch import fnmatch

    from gencore.weights.hub import PATTERNS

    for name in ("pytorch_model.bin", "model.pt", "model.ckpt", "modeling.py", "vae/x.py", "data.pkl", "model.pth"):
        assert not [pattern for pattern in PATTERNS if fnmatch(name, pattern)]


@pytest.mark.parametrize("name", ["../secret.safetensors", "/secret.safetensors", "..", ""])
def test_an_index_of_shards_cannot_point_outside_its_folder(tmp_path: Path, name: str) -> None:
    write_tensors(tmp_path / "secret.safetensors", {"x": torch.ones(1)})
    folder = tmp_path / "model"
    folder.mkdir()
    given = str(tmp_path / name[1:]) if name.startswith("/") else name
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": given}}))
    with pytest.raises(CheckpointError):
        read_checkpoint(folder)


def png(width: int, height: int) -> bytes:
    """A small file that says it is a grey picture of these sides."""
    packed = zlib.compress(b"\0" * 100_000)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", packed), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_decompression_bomb_is_refused_wherever_pictures_are_read(
    model: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gencore_images.data import open_dataset

    Path("photos").mkdir()
    Path("photos", "bomb.png").write_bytes(png(60_000, 60_000))
    Image.new("L", (8, 8), 255).save("mask.png")
    words = ["generate", "images", "--model", str(model), "--label", "1", "--seed", "0", "-o", "out.png", "--quiet"]
    for known, mask in (("photos/bomb.png", "mask.png"), ("mask.png", "photos/bomb.png")):
        assert main([*words, "--known", known, "--mask", mask]) == 2
        assert "bomb.png" in one_line(capsys)
    assert not Path("out.png").exists()
    with pytest.raises(InputError, match=r"bomb\.png"):
        _ = open_dataset("photos", 8, 1, on_bad="raise")[0]


def shard(path: Path, *names: str) -> Path:
    """A tar shard of one grey picture under each of `names`, each with label 0."""
    picture = io.BytesIO()
    Image.new("L", (8, 8), 200).save(picture, "PNG")
    with tarfile.open(path, "w") as tar:
        for name in names:
            for suffix, content in ((".png", picture.getvalue()), (".cls", b"0")):
                member = tarfile.TarInfo(name + suffix)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "a/../../escaped"])
def test_names_in_a_shard_lead_nowhere(tmp_path: Path, name: str) -> None:
    from gencore_images.data import open_dataset

    folder = tmp_path / "in" / "side"
    folder.mkdir(parents=True)
    items = open_dataset(shard(folder / "a.tar", name), 8, 1)
    assert len(items) == 1 and float(items[0][0].max()) == pytest.approx(200 / 127.5 - 1)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "in", "side"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_shard_are_not_followed(tmp_path: Path, kind: bytes) -> None:
    from gencore_images.data import open_dataset

    Image.new("L", (8, 8), 77).save(tmp_path / "secret.png")
    path = shard(tmp_path / "a.tar", "one")
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo("two.png")
        member.type, member.linkname = kind, str(tmp_path / "secret.png")
        tar.addfile(member)
    assert len(open_dataset(path, 8, 1)) == 1


@pytest.mark.parametrize("name", ["objects.npz", "objects.npy", "labels.npz"])
def test_arrays_of_objects_are_refused_and_not_run(tmp_path: Path, name: str) -> None:
    from gencore_images.data import open_dataset

    objects = np.array([Payload(tmp_path / "ran")] * 4, dtype=object)
    plain = np.zeros((4, 8, 8), np.uint8)
    match name:
        case "objects.npy":
            np.save(tmp_path / name, objects, allow_pickle=True)
        case "objects.npz":
            np.savez(tmp_path / name, images=objects)
        case _:
            np.savez(tmp_path / name, images=plain, labels=objects)
    with pytest.raises(InputError, match="pickled"):
        open_dataset(tmp_path / name, 8, 1)
    assert not (tmp_path / "ran").exists()


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    from gencore_images.data import open_dataset

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)})
    (tmp_path / "huge.npy").write_bytes(header.getvalue() + b"\0" * 100)
    with pytest.raises(InputError, match=r"huge\.npy"):
        open_dataset(tmp_path / "huge.npy", 28, 1)
