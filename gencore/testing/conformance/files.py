"""Files are whole, carry how they were made, and are never overwritten unasked."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

from gencore.recipe import read_recipe
from gencore.testing.conformance.refusals import refused
from gencore.testing.conformance.subject import Subject
from gencore.testing.failures import CheckFailed, require


def _folder(subject: Subject, name: str) -> Path:
    folder = subject.folder / name
    folder.mkdir()
    return folder


def files_carry_a_recipe_that_reproduces(subject: Subject) -> None:
    """Every file says how it was made, and ``gencore reproduce`` makes its content again and finds it equal."""
    from gencore.cli import main

    folder = _folder(subject, "recipe")
    model = subject.pipe.save_pretrained(folder / "model")
    path = folder / f"made{subject.modality.suffix}"
    subject.generate(2).save(path)
    recipe = read_recipe(path)
    require(recipe.get("modality") == subject.name, f"the recipe's modality is {recipe.get('modality')!r}")
    said, told = io.StringIO(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(told):
        code = main(["reproduce", str(path), "--model", str(model), "--device", "cpu", "--json", "--quiet"])
    *_, last = told.getvalue().strip().splitlines() or [""]
    require(code in (0, 1), f"gencore reproduce leaves with {code}: {last}")
    found = json.loads(said.getvalue())
    same = f"{found['equal']} of {found['samples']} samples are equal, {found['largest'] or 'no distance told'}"
    require(code == 0 and found["equal"] == found["samples"] == 2, f"made again, {same}")


def equal_results_are_equal_files(subject: Subject) -> None:
    """No clock time, path or process id gets into a file: equal runs give equal bytes, in any folder."""
    folder, other = _folder(subject, "one"), _folder(subject, "other")
    written = []
    for home in (folder, other):
        subject.generate(2).save(home / f"made{subject.modality.suffix}")
        written.append({f.name: f.read_bytes() for f in sorted(home.iterdir())})
    require(written[0].keys() == written[1].keys(), "equal runs write files of different names")
    differ = [name for name in written[0] if written[0][name] != written[1][name]]
    require(not differ, f"equal runs give different bytes in {', '.join(differ)}")
    inside = [name for name, content in written[0].items() if str(folder).encode() in content]
    require(not inside, f"{', '.join(inside)} holds the path it was written to")


def files_are_read_back(subject: Subject) -> None:
    """A file that was written can be given to the next run: it loads as data of the same shape."""
    path = _folder(subject, "read") / f"made{subject.modality.suffix}"
    out = subject.generate(1)
    files = out.save(path)
    require(files and all(Path(f).is_file() for f in files), "save() names files that do not exist")
    data = subject.modality.load(path, subject.pipe)
    require(data.shape == out.tensor.shape, f"{tuple(out.tensor.shape)} data are read back as {tuple(data.shape)}")
    require(len(out.samples) == 1, f"1 sample is held as {len(out.samples)}")
    require(getattr(out, subject.modality.alias) is out.samples, f"the samples are not under .{subject.modality.alias}")


def nothing_is_overwritten_or_half_written(subject: Subject) -> None:
    """A file that exists stays as it is without force; a place or suffix that cannot be used is refused; and a write
    that fails in the middle leaves nothing behind, not even under a temporary name."""
    folder, suffix = _folder(subject, "write"), subject.modality.suffix
    path, out = folder / f"made{suffix}", subject.generate(1)
    out.save(path)
    before = {f: f.read_bytes() for f in folder.iterdir()}
    other = subject.generate(1, seed=99)
    refused("saving over a file", lambda: other.save(path))
    require({f: f.read_bytes() for f in folder.iterdir()} == before, "a refused save changes the file that was there")
    refused("checking to save over a file", lambda: subject.modality.check_output(path, out.seeds))
    other.save(path, force=True)
    require(path.read_bytes() != before[path], "force does not overwrite")
    refused("saving into a folder that is not there", lambda: out.save(folder / "no" / f"made{suffix}"))
    require(not (folder / "no").exists(), "a refused save makes folders")
    refused("saving under another suffix", lambda: out.save(folder / "made.no-such-suffix"))
    kept = set(folder.iterdir())
    broken = replace(out, recipe={**out.recipe, "result": object()})
    try:
        broken.save(folder / f"broken{suffix}")
    except Exception:
        left = sorted(f.name for f in set(folder.iterdir()) - kept)
        require(not left, f"a save that fails leaves {', '.join(left)}")
    else:
        raise CheckFailed("a recipe that is no JSON is written")


CHECKS = (
    files_carry_a_recipe_that_reproduces, equal_results_are_equal_files, files_are_read_back,
    nothing_is_overwritten_or_half_written,
)  # fmt: skip
