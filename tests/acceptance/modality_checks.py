"""Checks that other modalities speak the same words as images do."""

from __future__ import annotations

import json
from pathlib import Path

from harness import Run, World, check, nothing_in

SAME = ("--seed", "0", "--steps", "6", "--sampler")


def _closing(run: Run, name: str) -> None:
    *_, line = run.out.strip().splitlines()
    for word in (name, "1 sample", "seed 0", "network calls", "next unused seed: 1"):
        assert word in line, f"{word!r} not in the closing line: {line}"


def _again(world: World, folder: Path, name: str, *inputs: str) -> None:
    told = world.gencore("reproduce", name, *inputs, "--json", cwd=folder).ok()
    facts = json.loads(told.out)
    assert facts["equal"] == facts["samples"] == 1, facts


@check("U13", "video and text through the same words")
def other_modalities(world: World) -> str:
    folder = world.fresh("others")
    world.gencore("generate", "video", "--clip", "1", "--task", "predict", "--frames", "8", *SAME, "ddim",
                  "-o", "clip.mp4", cwd=folder).ok()  # fmt: skip
    video = world.gencore("generate", "video", "--task", "predict", "--given", "clip.mp4", "--frames", "8", *SAME,
                          "heun", "-o", "v.mp4", cwd=folder).ok()  # fmt: skip
    _closing(video, "v.mp4")
    assert (folder / "v.mp4").read_bytes()[4:8] == b"ftyp", "v.mp4 is no MP4 file"
    _again(world, folder, "v.mp4", "--given", "clip.mp4")
    text = world.gencore("generate", "text", "--prompt", "In the", "--length", "200", *SAME, "ancestral",
                         "-o", "t.txt", cwd=folder).ok()  # fmt: skip
    _closing(text, "t.txt")
    written = (folder / "t.txt").read_text(encoding="utf-8")
    assert written.startswith("In the"), written[:40]
    _again(world, folder, "t.txt")
    empty = world.fresh("refused")
    wrong = ("--prompt", "In the", "--sampler", "ddim", "-o", "x.txt")
    world.gencore("generate", "text", *wrong, cwd=empty).refused("DDIM", "discrete", "ancestral")
    world.gencore("generate", "video", "--task", "predikt", "-o", "x.mp4", cwd=empty).refused("predikt", "predict")
    nothing_in(empty)
    return f"v.mp4 in {video.seconds:.1f} s, t.txt in {text.seconds:.1f} s, both reproduced"
