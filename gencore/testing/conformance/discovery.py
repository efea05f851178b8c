"""Finding and importing a plug-in costs what it must and no more."""

from __future__ import annotations

import doctest
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType

from gencore import plugins
from gencore.errors import GencoreError, MissingDependency
from gencore.installed import GROUP
from gencore.testing.conformance.subject import Subject
from gencore.testing.failures import CheckFailed, Skipped, require

HEAVY = frozenset({
    "accelerate", "av", "cv2", "datasets", "diffusers", "gymnasium", "h5py", "imageio", "jax", "lightning",
    "matplotlib", "moviepy", "numba", "open3d", "pandas", "pytorch_lightning", "scipy", "sentencepiece",
    "skimage", "sklearn", "soundfile", "tensorboard", "tensorflow", "timm", "torchaudio", "torchcodec",
    "torchmetrics", "torchvision", "transformers", "trimesh", "wandb", "webdataset",
})  # fmt: skip
"""Packages that take long to import and that only some functions need; they belong inside those."""


def manifest_imports_standard_library_only(subject: Subject) -> None:
    """``gencore list``, help texts and shell completion read every manifest, so one that imports torch costs every
    user seconds at every command.  A manifest and its package's ``__init__`` import the standard library alone."""
    loaded = _modules(f"import {_manifest_module(subject)}")
    own = _manifest_module(subject).partition(".")[0]
    stray = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - {"gencore", own} - _always()
    require(not stray, f"importing {_manifest_module(subject)} imports {', '.join(sorted(stray))}")


def listing_imports_no_implementation(subject: Subject) -> None:
    """Implementations are imported when they are asked for by name and not before: a fault or slowness in one must
    not be met by those who never use it."""
    home = _manifest_module(subject)
    loaded = _modules(f"import {home}\nfrom gencore.plugins import discover\ndiscover()")
    targets = {target.partition(":")[0] for names in subject.manifest.provides.values() for target in names.values()}
    early = sorted(targets & loaded - {home})
    require(not early, f"listing imports {', '.join(early)}")


def loading_imports_nothing_heavy(subject: Subject) -> None:
    """Loading a modality takes torch and what every run needs; libraries for single functions (readers, metrics,
    codecs, training) are imported inside those, or everyone waits for them."""
    loaded = _modules(
        "from importlib import import_module\nimport gencore.pipeline\n"
        f"module, _, name = {_target(subject)!r}.partition(':')\ngetattr(import_module(module), name)()"
    )
    heavy = sorted({name.partition(".")[0] for name in loaded} & HEAVY)
    require(not heavy, f"loading '{subject.name}' imports {', '.join(heavy)}; import them where they are used")


def everything_provided_can_be_imported(subject: Subject) -> None:
    """A name in a manifest is a promise: whatever it stands for can be imported, or names the extra that is missing."""
    for kind, names in subject.manifest.provides.items():
        for name in names:
            try:
                part = plugins.resolve(kind, f"{subject.plugin.name}/{name}")
            except MissingDependency:
                continue
            except GencoreError as fault:
                raise CheckFailed(str(fault)) from fault
            text = part.func.__doc__ if hasattr(part, "func") else part.__doc__
            require(text and text.strip(), f"{kind} '{name}' ({names[name]}) has no docstring")


def options_and_words_agree(subject: Subject) -> None:
    """An option the manifest declares but no run reads is dropped in silence, and a word the conditioner reads but the
    manifest does not declare cannot be said on the command line."""
    from gencore.request import OPTIONS

    declared = {option.name for option in subject.manifest.options}
    words = {*subject.pipe.conditioner.words, *subject.modality.words}
    require(words <= declared, f"the manifest declares no option for {', '.join(sorted(words - declared))}")
    dead = {o.name for o in subject.manifest.options if o.name not in words and o.name not in OPTIONS}
    if subject.manifest.default or subject.model is None:
        require(not dead, f"no run reads the option {', '.join(sorted(dead))}")


def docstring_examples_run(subject: Subject) -> None:
    """An example that does not run misleads at the moment it is needed: those of every module are tried."""
    failed, tried = [], 0
    for module in _package(subject):
        runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
        for test in doctest.DocTestFinder(exclude_empty=True).find(module, module.__name__):
            said: list[str] = []
            result = runner.run(test, out=said.append)
            tried += result.attempted
            if result.failed:
                failed.append(f"{test.name} (line {(test.lineno or 0) + 1})")
    require(not failed, f"docstring examples fail: {', '.join(failed)}; python -m doctest shows how")
    if not tried:
        raise Skipped("no docstring of the package holds an example")


def _package(subject: Subject) -> Iterator[ModuleType]:
    """Every module of the modality's package that can be imported without further extras."""
    top = import_module(_target(subject).partition(":")[0].partition(".")[0])
    yield top
    for found in pkgutil.walk_packages(getattr(top, "__path__", []), f"{top.__name__}."):
        if found.name.rpartition(".")[2] == "__main__":
            continue
        try:
            yield import_module(found.name)
        except ImportError:
            continue


def _target(subject: Subject) -> str:
    return subject.manifest.provides["modality"][subject.name.rpartition("/")[2]]


def _manifest_module(subject: Subject) -> str:
    for entry in entry_points(group=GROUP):
        if entry.name == subject.plugin.name and subject.plugin.distribution != "in-process":
            return entry.module
    for name, module in list(sys.modules.items()):
        if getattr(module, "manifest", None) is subject.manifest and not name.startswith("__"):
            return name
    raise Skipped("the manifest was made in this process and lies in no module")


def _modules(code: str) -> set[str]:
    """The modules of a new interpreter after `code`."""
    paths = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": paths}, timeout=300,
    )  # fmt: skip
    if done.returncode:
        *_, last = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise CheckFailed(f"a new interpreter cannot import it: {last}")
    return set(json.loads(done.stdout.strip().splitlines()[-1]))


def _always() -> set[str]:
    """Modules that editable installs and site hooks bring into any interpreter of this environment."""
    return {name.partition(".")[0] for name in _modules("pass")}


CHECKS = (
    manifest_imports_standard_library_only, listing_imports_no_implementation, loading_imports_nothing_heavy,
    everything_provided_can_be_imported, options_and_words_agree, docstring_examples_run,
)  # fmt: skip
