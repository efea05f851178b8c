"""The plug-in contract moves on purpose only: its surface is written down, and old plug-ins keep working."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import gencore
from gencore import plugins
from gencore.loading import load_folder
from gencore.pipeline import Pipeline
from gencore.testing.tiny import tiny_pipeline

HERE = Path(__file__).parent / "api"
HOW = """
    A name that is gone or changed breaks plug-ins: keep the old one with a DeprecationWarning that names the new one
    through a minor version of gencore.manifest.API_VERSION, and take it away with a major one.  A new name moves the
    minor.  Then: python tests/api/dump.py --write"""


def _dump() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_dump", HERE / "dump.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _by_name(lines: list[str]) -> dict[str, str]:
    return {line.partition(" ")[0] if not line.startswith("core ") else line: line for line in lines}


def difference(then: list[str], now: list[str]) -> str:
    """What changed between two surfaces, one line a name; empty when nothing did."""
    old, new = _by_name(then), _by_name(now)
    gone = [f"gone     {old[name]}" for name in old if name not in new]
    changed = [f"changed  {old[name]}\n      to {new[name]}" for name in old if name in new and old[name] != new[name]]
    added = [f"new      {new[name]}" for name in new if name not in old]
    return "\n".join([*gone, *changed, *added])


def test_the_surface_is_as_written_down() -> None:
    version, *then = (HERE / "surface.txt").read_text(encoding="utf-8").splitlines()
    told = difference(then, _dump().surface())
    assert not told, f"\n{told}{HOW}"
    assert version == f"API {_dump().api_version()}", f"surface.txt is of {version}{HOW}"


def test_every_kind_of_change_is_told() -> None:
    then = ["gencore.a.f (x: int)", "gencore.a.g ()", "core sampler ddim"]
    told = difference(then, ["gencore.a.f (x: float)", "gencore.a.h ()"])
    assert told.splitlines() == [
        "gone     gencore.a.g ()",
        "gone     core sampler ddim",
        "changed  gencore.a.f (x: int)",
        "      to gencore.a.f (x: float)",
        "new      gencore.a.h ()",
    ]
    assert difference(then, then) == ""


def test_the_surface_holds_what_plugins_build_on() -> None:
    names = _by_name(_dump().surface())
    for name in (
        "sampler.Sampler.step",
        "context.Interceptor.around",
        "manifest.Manifest.provides",
        "modality.Modality.save",
    ):
        assert f"gencore.{name}" in names
    assert "core sampler dpmpp" in names and "gencore.InputError" in names
    private = [name for name in names if "._" in name and not name.endswith(("__init__", "__call__", "__version__"))]
    assert not private


@pytest.fixture(params=sorted(HERE.glob("plugin_*.txt")), ids=lambda path: path.stem)
def frozen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A plug-in as somebody wrote it for an earlier API, registered in this process."""
    module = ModuleType(request.param.stem)
    monkeypatch.setitem(sys.modules, request.param.stem, module)
    exec(compile(request.param.read_text(encoding="utf-8"), request.param.name, "exec"), module.__dict__)
    with plugins.registered(module.manifest):
        yield module


@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_a_frozen_plugin_adds_parts_to_any_pipeline(frozen: ModuleType) -> None:
    pipe = tiny_pipeline()
    plain = pipe.generate(label=3, seed=0, sampler="euler", steps=4)
    stepped = pipe.generate(label=3, seed=0, sampler="frozen-euler", steps=4)
    assert stepped.recipe["sampler"] == {"type": "frozen-euler", "stretch": 1.0}
    assert torch.allclose(plain.tensor, stepped.tensor, atol=1e-6)
    guided = pipe.generate(label=3, seed=0, sampler="euler", steps=4, guidance="frozen-plain")
    assert torch.equal(plain.tensor, guided.tensor)
    recorder = frozen.Counter()
    seen = pipe.generate(label=3, seed=0, sampler="euler", steps=4, interceptors=[recorder])
    assert torch.equal(plain.tensor, seen.tensor)
    assert recorder.calls == {"embed": 4, "attn": 8, "mlp": 8, "head": 4}


@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_a_frozen_modality_generates_saves_and_comes_back(frozen: ModuleType, tmp_path: Path) -> None:
    pipe: Pipeline = frozen.pipeline()
    out = pipe.generate(pitch=2, n=3, seed=5, steps=4)
    assert out.tensor.shape == (3, 1, 8) and out.curves == out.samples
    assert torch.allclose(pipe.generate(pitch=2, seed=6, steps=4).tensor[0], out.tensor[1], atol=1e-5)
    with pytest.raises(gencore.InputError, match=r"'pich'.*did you mean 'pitch'"):
        pipe.generate(pich=2, seed=5)
    (saved,) = out.save(tmp_path / "out.csv")
    assert pipe.modality.difference(out, saved, out.recipe).equal == 3
    again = load_folder(pipe.save_pretrained(tmp_path / "model"))
    assert torch.equal(again.generate(pitch=2, n=3, seed=5, steps=4).tensor, out.tensor)
    assert frozen.train_step(pipe) > 0
