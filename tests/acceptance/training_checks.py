"""Checks of train: what is said before a run, and that an interrupted run loses nothing."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import numpy as np
from harness import World, check, environment, nothing_in
from PIL import Image

from gencore.recipe import content_hash

STEPS = "20"


def photos(folder: Path, broken: bool = False) -> Path:
    """Twelve JPEGs of noise in three classes, of sizes that no model has."""
    draw = np.random.default_rng(0)
    for i in range(12):
        home = folder / "photos" / ("cats", "dogs", "owls")[i % 3]
        home.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(draw.integers(0, 256, (40 + i, 36, 3), dtype=np.uint8))
        picture.save(home / f"{i:02}.jpg")
    if broken:
        whole = (folder / "photos" / "dogs" / "01.jpg").read_bytes()
        (folder / "photos" / "dogs" / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    return folder / "photos"


@check("U20", "a training before it starts")
def dry_run(world: World) -> str:
    folder = world.fresh("dry-run")
    photos(folder)
    words = ("train", "images", "--data", "photos/", "--from", "images", "-o", "r", "--dry-run")
    run = world.gencore(*words, cwd=folder).ok()
    for word in ("cats", "dogs", "owls", "12", "memory", "seconds a step", "hours"):
        assert word in run.out, f"{word!r} is not told: {run.out}"
    nothing_in(folder, "photos")
    photos(folder, broken=True)
    torn = world.gencore(*words, cwd=folder)
    assert "torn.jpg" in torn.out + torn.err, f"the broken file is not named: {torn.out}{torn.err}"
    assert torn.code in (0, 2) and "Traceback" not in torn.err, torn.err
    nothing_in(folder, "photos")
    return f"{run.seconds:.1f} s; broken file named, exit {torn.code}"


@check("U21", "an interrupted training ends like an uninterrupted one")
def resumed(world: World) -> str:
    folder = world.fresh("resume")
    photos(folder)
    words = ["train", "images", "--data", "photos/", *f"--preset digits --steps {STEPS} --batch 4 --seed 0".split()]
    world.gencore(*words, "-o", "whole", cwd=folder, timeout=600).ok()
    said = _interrupted(world, [*words, "-o", "r"], folder)
    assert "gencore train images --resume r" in said, f"no command to go on with: {said[-1000:]}"
    world.gencore("train", "images", "--resume", "r", cwd=folder, timeout=600).ok()
    sums = {}
    for name in ("whole", "r"):
        home = folder / name
        sums[name] = {str(p.relative_to(home)): content_hash(p) for p in home.rglob("*.safetensors")}
    assert sums["whole"] and sums["whole"] == sums["r"], f"weights differ: {sums}"
    return f"{len(sums['r'])} weights files with equal checksums"


def _interrupted(world: World, words: list[str], folder: Path) -> str:
    """Run until about half its steps are done, send one Ctrl-C, and return what was said."""
    process = subprocess.Popen(
        [*world.command, *words], cwd=folder, env=environment(world.path), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if f"10/{STEPS}" in line:
            process.send_signal(signal.SIGINT)
    code = process.wait(timeout=120)
    assert f"10/{STEPS}" in said, f"no progress was told: {said[-2000:]}"
    assert code == 130, f"exit {code}, not 130: {said[-2000:]}"
    assert f"{STEPS}/{STEPS}" not in said, "it ended before the interrupt was noticed"
    return said
