"""Checks of generate, reproduce and info, by what ends up in files and on the terminal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from harness import THREES, Run, World, cells, check, nothing_in, pixels
from PIL import Image

RECOGNISE = """
import sys
import torch
from gencore_images.features import load_classifier
from gencore_images.modality import Images
from PIL import Image
import numpy as np
made = torch.from_numpy(np.load(sys.argv[1])).float()[:, None] / 127.5 - 1
eye = load_classifier("digit-cnn-b")
print(int(eye.recognised(made, torch.full((len(made),), int(sys.argv[2]))).sum()))
"""


def _recognised(world: World, folder: Path, pictures: list[np.ndarray], label: int) -> int:
    """How many of `pictures` the packaged recogniser takes for `label`."""
    np.save(folder / "cells.npy", np.stack(pictures).astype(np.uint8))
    return int(world.code(RECOGNISE, "cells.npy", str(label), cwd=folder).ok().out)


@check("U03", "sixteen threes")
def sixteen_threes(world: World) -> str:
    path, run = world.threes()
    *_, closing = run.out.strip().splitlines()
    for word in ("a.png", "16 samples", "seeds 0..15", "network calls", "next unused seed: 16"):
        assert word in closing, f"{word!r} not in the closing line: {closing}"
    made = cells(pixels(path), world.facts()["size"])
    assert len(made) == 16, f"{len(made)} cells on the sheet"
    right = _recognised(world, world.fresh("seen"), made, 3)
    assert right >= 14, f"only {right} of 16 are recognised as 3"
    return f"{right} of 16 recognised as 3; {world.within('command', run.seconds, 10)}"


@check("U04", "nothing is overwritten unasked")
def overwriting(world: World) -> str:
    path, _ = world.threes()
    before = path.read_bytes()
    again = world.gencore(*THREES, "-o", "a.png", cwd=path.parent).refused("--force", "a.png")
    assert path.read_bytes() == before, "a.png changed without --force"
    nothing_in(path.parent, "a.png")
    world.gencore(*THREES, "-o", "a.png", "--force", cwd=path.parent).ok()
    assert path.read_bytes() == before, "the same command made other bytes"
    return f"refused in {again.seconds:.1f} s, then identical bytes"


@check("U05", "a sample alone is the sample in a batch")
def alone(world: World) -> str:
    folder = world.fresh("alone")
    single = ["1" if word == "16" else "5" if word == "0" else word for word in THREES]
    world.gencore(*single, "-o", "b.png", cwd=folder).ok()
    sixth = cells(pixels(world.threes()[0]), world.facts()["size"])[5]
    gap = int(np.abs(pixels(folder / "b.png") - sixth).max())
    assert gap <= 1, f"seed 5 alone differs from seed 5 of sixteen by {gap} of 255"
    return f"largest difference {gap} of 255"


@check("U06", "reproduce from the file alone")
def reproduced(world: World) -> str:
    folder = world.fresh("reproduce")
    (folder / "a.png").write_bytes(world.threes()[0].read_bytes())
    run = world.gencore("reproduce", "a.png", "-o", "c.png", cwd=folder).ok()
    assert "16 of 16 samples bit-equal" in run.out, run.out
    assert (pixels(folder / "a.png") == pixels(folder / "c.png")).all(), "c.png has other pixels"
    return run.out.strip()


@check("U07", "a label that does not exist")
def wrong_label(world: World) -> str:
    folder = world.fresh("label")
    past = world.facts()["classes"] + 2
    run = world.gencore("generate", "images", "--label", str(past), "-o", "x.png", cwd=folder)
    run.refused("label", str(past), f"0..{world.facts()['classes'] - 1}")
    nothing_in(folder)
    return run.err.strip()


@check("U08", "misspelt names and senseless values")
def misspelt(world: World) -> str:
    folder = world.fresh("misspelt")

    def varied(**changes: str) -> Run:
        words = [changes.get(word, word) for word in THREES]
        return world.gencore(*words, "-o", "y.png", cwd=folder)

    varied(dpmpp="dpmp").refused("dpmp", "dpmpp")
    varied(**{"--steps": "--stpes", "50": "5"}).refused("--stpes", "--steps")
    run = varied(**{"50": "0"}).refused("steps", "0")
    nothing_in(folder)
    return run.err.strip()


@check("U09", "a log without bars, and silence on request")
def log(world: World) -> str:
    folder = world.fresh("log")
    _, run = world.threes()
    lines = run.err.splitlines()
    assert "\r" not in run.err and len(lines) <= 12, f"{len(lines)} lines on stderr: {run.err[:500]!r}"
    quiet = world.gencore(*THREES, "-o", "q.png", "--quiet", cwd=folder).ok()
    assert quiet.err == "", f"--quiet, yet stderr says {quiet.err[:500]!r}"
    return f"{len(lines)} lines on stderr, none with --quiet"


@check("U15", "given pixels")
def given(world: World) -> str:
    folder = world.fresh("given")
    (height, width), count = world.facts()["size"], world.facts()["cells"]
    photo = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    kept = np.zeros(count, bool)
    kept[: round(0.63 * count)] = True
    kept = kept.reshape(height, width)
    Image.fromarray(photo).save(folder / "photo.png")
    Image.fromarray(np.where(kept, 0, 255).astype(np.uint8)).save(folder / "mask.png")
    Image.fromarray(np.full((height, width - 1), 255, np.uint8)).save(folder / "narrow.png")
    words = ("generate", "images", "--label", "3", "--seed", "0", "--known", "photo.png", "--mask")
    run = world.gencore(*words, "mask.png", "-o", "m.png", cwd=folder).ok()
    assert f"keeps 63 % of {count} cells" in run.out, run.out
    made = pixels(folder / "m.png")
    made = made if made.ndim == 2 else made[..., 0]
    assert (made[kept] == photo[kept]).all(), "given pixels changed"
    assert (made[~kept] != photo[~kept]).any(), "nothing was made anew"
    again = world.gencore("reproduce", "m.png", "--known", "photo.png", "--mask", "mask.png", cwd=folder).ok()
    assert "1 of 1 samples bit-equal" in again.out, again.out
    narrow = world.gencore(*words, "narrow.png", "-o", "n.png", cwd=folder)
    narrow.refused("mask", f"{width - 1}x{height}", f"{width}x{height}")
    nothing_in(folder, "photo.png", "mask.png", "narrow.png", "m.png")
    return f"{int(kept.sum())} given pixels identical; {narrow.err.strip()}"


@check("U24", "two processes make what one makes")
def parallel(world: World) -> str:
    folder = world.fresh("parallel")
    words = ["64" if word == "16" else word for word in THREES]
    torchrun = str(Path(world.python).with_name("torchrun"))
    both = world.run(torchrun, "--nproc-per-node", "2", "-m", "gencore", *words, "--parallel", "dp=2", "-o", "two/",
                     cwd=folder, env={"OMP_NUM_THREADS": "1"})  # fmt: skip
    both.ok()
    single = world.gencore(*words, "-o", "one/", cwd=folder).ok()
    names = [sorted(path.name for path in (folder / name).iterdir()) for name in ("one", "two")]
    assert names[0] == names[1] and len(names[0]) == 64, f"{len(names[0])} and {len(names[1])} files"
    gap = max(int(np.abs(pixels(folder / "one" / n) - pixels(folder / "two" / n)).max()) for n in names[0])
    assert gap <= 1, f"pixels differ by {gap} of 255"
    closing = [line for line in both.out.splitlines() if "next unused seed: 64" in line]
    assert len(closing) == 1 and len(both.out.splitlines()) == len(single.out.splitlines()), both.out
    told = [line for line in both.err.splitlines() if "steps" in line]
    assert len(told) == len(set(told)) <= 12, f"progress is told more than once: {both.err[:1000]}"
    return f"64 files, largest difference {gap} of 255; {both.seconds:.1f} s, one process {single.seconds:.1f} s"
