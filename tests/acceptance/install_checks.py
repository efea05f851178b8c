"""Checks of what comes from outside: foreign checkpoints, broken plug-ins, wheels, a plug-in made from nothing."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from textwrap import dedent

import wheelhouse
from harness import THREES, World, check, nothing_in

MAKE_CHECKPOINTS = """
import torch

class Payload:
    def __reduce__(self):
        return open, ("RAN", "w")

torch.save({"model": {"x": torch.zeros(3)}, "ema": Payload()}, "evil.pt")
torch.save({"x": torch.zeros(5000)}, "whole.pt")
with open("whole.pt", "rb") as file:
    start = file.read()
with open("truncated.pt", "wb") as file:
    file.write(start[: len(start) // 2])
names = ("attn.qkv.weight", "attn.proj.weight", "temporal_attn.qkv.weight", "temporal_attn.proj.weight")
state = {f"blocks.{i}.{name}": torch.zeros(4, 4) for i in range(2) for name in names}
torch.save(state | {"x_embedder.proj.weight": torch.zeros(4, 4, 2, 2)}, "vdt.pt")
names = ("norm1.linear.weight", "attn1.to_q.weight", "attn1.to_k.weight", "ff.net.2.weight")
torch.save({f"transformer_blocks.{i}.{name}": torch.zeros(4, 4) for i in range(2) for name in names}, "peer.pt")
"""


@check("U16", "checkpoints that are evil, torn or of another kind")
def checkpoints(world: World) -> str:
    folder = world.fresh("convert")
    world.code(MAKE_CHECKPOINTS, cwd=folder).ok()
    before = sorted(path.name for path in folder.iterdir())
    evil = world.gencore("convert", "dit", "evil.pt", "-o", "d", cwd=folder).refused("evil.pt")
    world.gencore("convert", "dit", "truncated.pt", "-o", "d", cwd=folder).refused("truncated.pt")
    other = world.gencore("convert", "dit", "vdt.pt", "-o", "d", cwd=folder).refused("temporal_attn")
    world.gencore("convert", "dit", "peer.pt", "-o", "d", cwd=folder).refused("gencore convert diffusers-dit")
    nothing_in(folder, *before)
    listed = json.loads(world.gencore("list", "--json", cwd=folder).ok().out)
    importers = {name for plugin in listed["plugins"] for name in plugin["provides"].get("importer", ())}
    if "vdt" not in importers:
        return f"payload not run: {evil.err.strip()}; (no vdt importer is installed that could be named)"
    assert "gencore convert vdt" in other.err, other.err
    return f"payload not run: {evil.err.strip()}; {other.err.strip()}"


def _plugin(folder: Path, name: str, manifest: str, code: str) -> Path:
    """The source of a distribution ``lab-NAME`` with a plug-in, ready for pip."""
    source = folder / f"lab-{name}"
    source.mkdir()
    project = f"""
        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "lab-{name}"
        version = "0.3"
        [project.entry-points."gencore.plugins"]
        {name} = "lab_{name}:manifest"
        [tool.setuptools]
        py-modules = ["lab_{name}", "lab_{name}_code"]
    """
    (source / "pyproject.toml").write_text(dedent(project))
    (source / f"lab_{name}.py").write_text(dedent(manifest))
    (source / f"lab_{name}_code.py").write_text(dedent(code))
    return source


@check("U17", "a plug-in that raises, and one that sleeps")
def bad_plugins(world: World) -> str:
    folder = world.fresh("plugins")
    declared = "from gencore.manifest import Manifest\nmanifest = Manifest(name='slow', summary='', provides=" \
               "{'sampler': {'doze': 'lab_slow_code:Doze'}})\n"  # fmt: skip
    raising = _plugin(folder, "sick", "raise RuntimeError('no such device')\n", "")
    slow = _plugin(folder, "slow", declared, "import time\ntime.sleep(5)\nclass Doze: pass\n")
    target = folder / "site"
    world.run(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
              "--target", str(target), str(raising), str(slow), cwd=folder).ok()  # fmt: skip
    shutil.rmtree(raising), shutil.rmtree(slow)
    seen = {"PYTHONPATH": ":".join(filter(None, (str(target), world.path)))}
    runs = [world.gencore("list", cwd=folder, env=seen).ok() for _ in range(3)]
    rows = {line.split()[0]: line for line in runs[0].out.splitlines() if line[:1].strip()}
    for word in ("broken", "lab-sick", "0.3", "RuntimeError", "no such device"):
        assert word in rows["sick"], f"{word!r} not in: {rows['sick']}"
    world.gencore(*THREES, "-o", "a.png", "--quiet", cwd=folder, env=seen).ok()
    assert (folder / "a.png").read_bytes() == world.threes()[0].read_bytes(), "the plug-ins changed the picture"
    report = world.gencore("doctor", cwd=folder, env=seen)
    told = {line.split()[0]: line for line in report.out.splitlines() if line[:1].strip()}
    assert report.code == 1, f"doctor: exit {report.code}"
    for name, words in (("sick", ("lab-sick", "0.3", "no such device")), ("slow", ("lab-slow", "0.3", "slow"))):
        assert all(word in told[name] for word in words), told[name]
    seconds = next(float(word) for word in told["slow"].split() if word.replace(".", "", 1).isdigit() and word != "0.3"
                   and float(word) >= 5)  # fmt: skip
    return f"{world.within('list', min(run.seconds for run in runs), 0.5)}; doctor tells {seconds} s for the sleeper"


@check("U18", "gencore and gencore-images from their wheels alone")
def wheels(world: World) -> str:
    folder = world.fresh("wheels")
    alone = wheelhouse.installed(["gencore", "gencore-images"], folder)
    here = World(world.fresh("wheel-only"), alone.command, alone.python, path="")
    (here.folder / "f").mkdir()
    train = here.gencore("train", "images", "--data", "f", "-o", "r", cwd=here.folder)
    train.refused('pip install "gencore[train]"')
    rollout = here.gencore("rollout", "robot", cwd=here.folder)
    rollout.refused("no verb 'rollout' installed", "gencore-robot")
    nothing_in(here.folder, "f")
    here.gencore(*THREES, "-o", "a.png", cwd=here.folder).ok()
    if not world.path:
        assert (here.folder / "a.png").read_bytes() == world.threes()[0].read_bytes(), "the wheel makes other pictures"
    return f"{train.err.strip()} | {rollout.err.strip()}"


@check("U19", "a plug-in from nothing")
def scaffold(world: World) -> str:
    folder, started = world.fresh("new"), time.perf_counter()
    packages = next(Path(sys.prefix, "lib").glob("python3*")) / "site-packages"
    own = wheelhouse.on_top_of(packages, world.fresh("new-environment") / "environment")
    here = World(folder, (own.python, "-m", "gencore"), own.python)
    here.gencore("new", "drums", "--kind", "discrete", cwd=folder).ok()
    files = {path: path.read_bytes() for path in (folder / "gencore-drums").rglob("*") if path.is_file()}
    assert 0 < len(files) < 15, f"{len(files)} files"
    here.gencore("new", "drums", "--kind", "discrete", cwd=folder).refused("gencore-drums")
    assert files == {path: path.read_bytes() for path in (folder / "gencore-drums").rglob("*") if path.is_file()}
    own.pip("install", "--quiet", "--no-deps", "--no-build-isolation", "-e", str(folder / "gencore-drums"))
    listed = here.gencore("list", cwd=folder).ok()
    assert "drums" in listed.out and "(editable)" in listed.out, listed.out
    checked = here.gencore("check", "drums", cwd=folder, timeout=600).ok()
    here.gencore("train", "drums", "--steps", "50", "-o", "r", cwd=folder, timeout=600).ok()
    made = here.gencore("generate", "drums", "--model", "r", "--seed", "0", cwd=folder).ok()
    output = made.out.split("  ")[0]
    again = here.gencore("reproduce", output, "--model", "r", cwd=folder).ok()
    assert "equal" in again.out, again.out
    *_, last = checked.out.strip().splitlines()
    return f"{world.within('in all', time.perf_counter() - started, 300)}; {len(files)} files; check: {last}"
