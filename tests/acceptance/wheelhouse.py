"""Wheels of this repository, and environments that hold nothing else but what those wheels ask for."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
BASE = ("torch", "numpy", "safetensors", "pillow", "einops", "tqdm", "rotary-embedding-torch")
"""All that a wheel-only environment has besides the wheels, with what these need themselves."""


def distributions() -> dict[str, Path]:
    """Every distribution of the repository: ``{name: folder}``."""
    folders = [ROOT, ROOT / "kernels", *sorted(path.parent for path in ROOT.glob("modalities/*/pyproject.toml"))]
    return {tomllib.loads((f / "pyproject.toml").read_text("utf-8"))["project"]["name"]: f for f in folders}


def build(names: list[str], folder: Path) -> list[Path]:
    """The wheels of `names`, built from copies so that nothing is written into the source tree."""
    wheels = []
    for name in names:
        source = folder / "source" / name
        if not source.exists():
            _copy(distributions()[name], source)
            _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder), str(source))
        wheels += folder.glob(f"{name.replace('-', '_')}-[0-9]*.whl")
    return wheels


@dataclass(frozen=True)
class Environment:
    """A virtual environment in `folder`."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    @property
    def command(self) -> tuple[str, ...]:
        return (str(self.folder / "bin" / "gencore"),)

    @property
    def packages(self) -> Path:
        return next((self.folder / "lib").glob("python3*")) / "site-packages"

    def pip(self, *words: str) -> str:
        """Run pip on it, from outside: the environment has none that could shadow what a package needs."""
        return _run(sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", *words)


def base(names: Iterable[str] = ()) -> Path:
    """A folder with `BASE`, what the distributions `names` require, and what these need, linked from the environment
    that runs the checks: nothing is fetched.

    It is made once and kept in ``$GENCORE_ACCEPTANCE_CACHE``, by default in the folder for temporary files.
    """
    wanted = _closure([*BASE, *_required(names)])
    home = Path(os.environ.get("GENCORE_ACCEPTANCE_CACHE") or Path(tempfile.gettempdir(), "gencore-acceptance"))
    key = "\n".join([sys.prefix, *sorted(f"{dist.name} {dist.version}" for dist in wanted)])
    folder = home / hashlib.blake2b(key.encode(), digest_size=6).hexdigest()
    if not folder.exists():
        part = Path(tempfile.mkdtemp(dir=_made(home)))
        for dist in wanted:
            for top in {Path(file).parts[0] for file in dist.files or ()} - {"..", "__pycache__"}:
                if not (part / top).exists():
                    (part / top).symlink_to(Path(str(dist.locate_file(top))))
        part.rename(folder)
    return folder


def _required(names: Iterable[str]) -> list[str]:
    """What distributions of the repository require from outside of it."""
    projects = [tomllib.loads((distributions()[n] / "pyproject.toml").read_text("utf-8"))["project"] for n in names]
    needs = {need for project in projects for need in project["dependencies"]}
    return sorted(need for need in needs if not Requirement(need).name.startswith("gencore"))


def _closure(names: Iterable[str]) -> list[Distribution]:
    """The installed distributions of `names` and all they require here."""
    found: dict[str, Distribution] = {}
    waiting, seen = [Requirement(name) for name in names], set[tuple[str, str]]()
    while waiting:
        need = waiting.pop()
        name = canonicalize_name(need.name)
        for extra in ("", *need.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found[name] = distribution(name)
            needs = map(Requirement, found[name].requires or ())
            waiting += [n for n in needs if n.marker is None or n.marker.evaluate({"extra": extra})]
    return list(found.values())


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def on_top_of(packages: Path, folder: Path) -> Environment:
    """A new environment in `folder` that sees what is installed in `packages`, its ``.pth`` files included."""
    _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    made = Environment(folder)
    (made.packages / "below.pth").write_text(f"import site; site.addsitedir({str(packages)!r})\n")
    return made


def installed(names: list[str], folder: Path) -> Environment:
    """A new environment with the wheels of `names` on top of their `base`, resolved without any index."""
    wheels = build(names, folder / "wheels")
    made = on_top_of(base(names), folder / "environment")
    made.pip("install", "--quiet", "--no-index", *map(str, wheels))
    return made


def _copy(source: Path, target: Path) -> None:
    """The files of one distribution that a build may read, as version control would hand them out."""
    listed = _run("git", "-C", str(source), "ls-files", "--cached", "--others", "--exclude-standard", "-z", ".")
    others = [folder for folder in distributions().values() if folder != source and source in folder.parents]
    for name in filter(None, listed.split("\0")):
        path = source / name
        if path.is_file() and not any(other in path.parents for other in others):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(path.read_bytes())


def _run(*words: str) -> str:
    """Run a command; its stdout.  A failure raises with all it said."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "GENCORE_PLUGINS")}
    done = subprocess.run(words, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1800)
    said = done.stdout[-3000:] + done.stderr[-3000:]
    assert done.returncode == 0, f"{' '.join(words)}: exit {done.returncode}\n{said}"
    return done.stdout
