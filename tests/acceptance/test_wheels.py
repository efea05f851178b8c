"""Every modality from its wheels alone: it generates its default, and nothing comes along that it does not need."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import wheelhouse

pytestmark = pytest.mark.acceptance

HEAVY = ("lightning", "tensorboard", "trimesh", "open3d", "scipy", "diffusers", "transformers", "sklearn")
OTHERS = ("av", "mujoco", "gymnasium", "h5py", "sentencepiece")
SETS = [
    (("gencore", "gencore-images"), "images -o out.png", (*HEAVY, *OTHERS, "gencore_kernels")),
    (("gencore", "gencore-images", "gencore-kernels"), "images -o out.png", (*HEAVY, *OTHERS)),
    (("gencore", "gencore-text"), "text -o out.txt", (*HEAVY, "av", "mujoco", "gymnasium", "h5py")),
    (("gencore", "gencore-video"), "video -o out.mp4", (*HEAVY, "mujoco", "gymnasium", "h5py", "sentencepiece")),
    (("gencore", "gencore-robot"), "robot --state=0,-0.9 --env-state=-0.6,0.5,0.6,0.5 -o out.npz",
     (*HEAVY, "av", "mujoco", "sentencepiece")),
]  # fmt: skip
"""(wheels, words of ``gencore generate`` that end in the file, what must be absent besides every other modality)."""

GENERATE = """
import json, sys
from importlib.util import find_spec
from pathlib import Path
from gencore.cli import main
import gencore
code = main(["generate", *sys.argv[1].split(), "--seed", "0"])
tops = sorted({name.partition(".")[0] for name in sys.modules})
found = [name for name in sys.argv[2:] if find_spec(name)]
print(json.dumps({"code": code, "loaded": tops, "found": found, "home": str(Path(gencore.__file__).parents[1])}))
"""


def modality_packages() -> set[str]:
    """Import names of every modality of the repository."""
    return {name.replace("-", "_") for name in wheelhouse.distributions()} - {"gencore", "gencore_kernels"}


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> wheelhouse.Environment:
    """An environment with gencore and gencore-images."""
    return wheelhouse.installed(["gencore", "gencore-images"], tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(("names", "words", "absent"), SETS, ids=["+".join(names) for names, _, _ in SETS])
def test_a_modality_from_its_wheels(
    names: tuple[str, ...], words: str, absent: tuple[str, ...], tmp_path: Path
) -> None:
    environment = wheelhouse.installed(list(names), tmp_path)
    assert "No broken requirements" in environment.pip("check")
    listed = json.loads(run(*environment.command, "list", "--json", cwd=tmp_path).stdout)["plugins"]
    assert {plugin["distribution"] for plugin in listed} == set(names)
    assert {plugin["status"] for plugin in listed} == {"ok"}
    others = sorted(modality_packages() - {name.replace("-", "_") for name in names})
    done = run(environment.python, "-c", GENERATE, words, *absent, *others, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    out = words.split()[-1]
    assert told["code"] == 0 and (tmp_path / out).stat().st_size > 0
    assert Path(told["home"]).is_relative_to(environment.folder), "the source tree was used"
    assert told["found"] == []
    assert not set(told["loaded"]) & {*absent, *others}
    again = run(*environment.command, "reproduce", out, cwd=tmp_path)
    assert "1 of 1 samples bit-equal" in again.stdout, again.stderr


def test_training_names_its_extra(plain: wheelhouse.Environment, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    done = run(*plain.command, "train", "images", "--data", "photos", "-o", "r", cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert 'pip install "gencore[train]"' in done.stderr
    assert not (tmp_path / "r").exists()


def test_a_verb_of_another_package_names_it(plain: wheelhouse.Environment, tmp_path: Path) -> None:
    done = run(*plain.command, "rollout", "robot", cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "no verb 'rollout' installed" in done.stderr and "gencore-robot" in done.stderr


def test_every_distribution_is_in_some_set() -> None:
    assert set(wheelhouse.distributions()) == {name for names, _, _ in SETS for name in names}


@pytest.mark.parametrize("name", sorted(wheelhouse.distributions()))
def test_a_wheel_holds_one_package_and_its_metadata(name: str, tmp_path: Path) -> None:
    import zipfile

    (wheel,) = wheelhouse.build([name], tmp_path)
    package = name.replace("-", "_")
    inside = zipfile.ZipFile(wheel).namelist()
    tops = {entry.split("/")[0] for entry in inside}
    assert tops == {package, f"{package}-{wheel.name.split('-')[1]}.dist-info"}
    assert f"{package}/py.typed" in inside and any(entry.endswith("licenses/LICENSE") for entry in inside)
    folder = wheelhouse.distributions()[name]
    home = folder / package if name == "gencore" else folder / "src" / package
    sources = {f"{package}/{path.relative_to(home)}" for path in home.rglob("*.py")}
    assert sources <= set(inside), f"not in the wheel: {sorted(sources - set(inside))}"
