"""Finding plug-ins, naming what they provide, loading it, and what is said when that fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from threading import Event, Thread
from types import ModuleType

import pytest

from gencore.errors import GencoreError, InputError, MissingDependency, PluginError
from gencore.first_party import PLUGINS
from gencore.installed import record
from gencore.manifest import API_VERSION, Manifest, Option
from gencore.plugins import discover, find, provided, registered, resolve


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Manifest]:
    """A plug-in of this process with one of everything that can go wrong at import."""
    module = ModuleType("toy_parts")
    module.Walk = type("Walk", (), {"fast": "inner"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_parts", module)
    manifest = Manifest(
        name="toy",
        summary="a toy",
        provides={
            "sampler": {"toy-walk": "toy_parts:Walk", "toy-inner": "toy_parts:Walk.fast", "toy-gone": "toy_parts:Gone"},
            "metric": {"toy-module": "toy_parts", "toy-absent": "no_such_module_here.deep:X"},
            "tokenizer": {"toy-extra": "no_such_extra.deep:X"},
        },
        extras={"no_such_extra": "gencore-toy[more]"},
    )
    with registered(manifest):
        yield manifest


def snapshot(site) -> dict[str, dict]:
    """Plug-ins as a new interpreter finds them, by name and distribution."""
    code = (
        "import json\nfrom gencore.plugins import discover\n"
        "print(json.dumps([[p.name, p.distribution, p.version, p.status, p.cause] for p in discover()]))"
    )
    done = site.run("-c", code)
    assert done.returncode == 0, done.stderr
    return {f"{name} {dist}": dict(status=s, cause=c, version=v) for name, dist, v, s, c in json.loads(done.stdout)}


BROKEN = {
    "raising": ("raise RuntimeError('first line\\nsecond line')", "RuntimeError: first line"),
    "leaving": ("import sys; sys.exit('bye')", "SystemExit: bye"),
    "absent": ("import no_such_module_here", "ModuleNotFoundError: No module named 'no_such_module_here'"),
    "syntax": ("manifest = (", "SyntaxError"),
    "nameless": ("other = 1", "AttributeError"),
    "dictionary": ("manifest = {'name': 'dictionary'}", "its entry point gives a dict, not a gencore.Manifest"),
    "newer": (
        "from gencore.manifest import *\nmanifest = Manifest(name='newer', summary='', api=(9, 0))",
        f"needs gencore API 9.0, this is {API_VERSION[0]}.{API_VERSION[1]}; pip install --upgrade gencore",
    ),
}


def test_broken_plugins_keep_their_row_and_disturb_no_other(site) -> None:
    for name, (source, _) in BROKEN.items():
        site.install(f"lab-{name}", entry=f"{name} = lab_{name}:manifest", version="0.7", **{f"lab_{name}": source})
    site.plugin("healthy", '{"sampler": {"walk": "healthy_code:Walk"}}', code="class Walk: pass")
    found = snapshot(site)
    for name, (_, reason) in BROKEN.items():
        row = found[f"{name} lab-{name}"]
        assert row["status"] == "broken"
        assert row["cause"].startswith(f"lab-{name} 0.7: ")
        assert reason in row["cause"] and "\n" not in row["cause"]
    assert found["healthy gencore-healthy"]["status"] == found["core gencore"]["status"] == "ok"
    assert next(iter(found)) == "core gencore"


def test_a_name_taken_twice_stays_with_the_published_distribution(site) -> None:
    site.plugin("video", distribution="aaa-video")
    site.plugin("video", distribution="gencore-video")
    site.plugin("core", distribution="impostor")
    found = snapshot(site)
    assert found["video gencore-video"]["status"] == "ok"
    assert "the name 'video' is taken by gencore-video 1.2.3" in found["video aaa-video"]["cause"]
    assert "the name 'core' is taken by gencore" in found["core impostor"]["cause"]


def test_metadata_damaged_elsewhere_hides_no_plugin(site) -> None:
    site.install("lab-damaged", entry="this line has no equals sign")
    site.install("unrelated")
    (site.folder / "unrelated-1.2.3.dist-info" / "entry_points.txt").write_text("[console_scripts]\nbroken\n")
    site.plugin("healthy")
    found = snapshot(site)
    assert found["healthy gencore-healthy"]["status"] == "ok"
    assert found["images gencore-images"]["status"] == "ok"
    assert "entry_points.txt cannot be read" in found["lab-damaged lab-damaged"]["cause"]
    assert not [name for name in found if "unrelated" in name]


@pytest.mark.parametrize(
    ("selection", "names"), [("", ["core"]), ("healthy", ["core", "healthy"]), ("core, healthy,", ["core", "healthy"])]
)
def test_selection_restricts_to_what_it_names(site, selection: str, names: list[str]) -> None:
    site.plugin("healthy")
    site.install("lab-noisy", entry="noisy = lab_noisy:manifest", lab_noisy="print('imported'); manifest = None")
    code = "from gencore.plugins import discover\nprint(*[p.name for p in discover()])"
    done = site.run("-c", code, plugins=selection)
    assert done.stdout.split() == names


def test_a_selection_that_matches_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCORE_PLUGINS", "imagse")
    with pytest.raises(InputError, match=r"GENCORE_PLUGINS: got 'imagse'.*did you mean 'images'\?"):
        discover()


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (Manifest(name="toy", summary="", provides={"samplr": {}}), "unknown kind 'samplr'; did you mean 'sampler'?"),
        (Manifest(name="toy", summary="", provides={"sampler": {"a/b": "m:A"}}), "'a/b' holds a space or one of"),
        (Manifest(name="toy", summary="", provides={"sampler": {"a": "not a target"}}), "not 'module:Attribute'"),
        (Manifest(name="toy", summary="", provides={"sampler": {"a": object}}), "not 'module:Attribute'"),  # type: ignore[dict-item]
        (Manifest(name="toy", summary="", api=(0, 9)), "made for gencore API 0.9, this is 1.0; pip install --upgrade"),
        (Manifest(name="toy", summary="", api=(API_VERSION[0], API_VERSION[1] + 1)), "needs gencore API"),
        (Manifest(name="toy", summary="", api="1.0"), "api is '1.0', not (major, minor)"),  # type: ignore[arg-type]
        (Manifest(name="toys", summary=""), "entry point 'toy' gives a manifest named 'toys'"),
        (Manifest(name="toy", summary="", options=("label",)), "options hold a str"),  # type: ignore[arg-type]
    ],
)
def test_a_faulty_declaration_is_told(manifest: Manifest, reason: str) -> None:
    plugin = record(manifest, name="toy", distribution="gencore-toy", version="2")
    assert plugin.status == "broken" and plugin.manifest is None
    assert plugin.cause.startswith("gencore-toy 2: ") and reason in plugin.cause


def test_a_sound_declaration_is_kept() -> None:
    manifest = Manifest(name="toy", summary="", options=(Option(name="label", type="int", help="class"),))
    plugin = record(manifest, name="toy", distribution="gencore-toy", version="2")
    assert (plugin.status, plugin.cause, plugin.manifest, plugin.api) == ("ok", "", manifest, API_VERSION)


def test_resolve_imports_what_a_name_stands_for(toy: Manifest) -> None:
    walk = sys.modules["toy_parts"].Walk
    assert resolve("sampler", "toy-walk") is walk
    assert resolve("sampler", "toy/toy-walk") is walk
    assert resolve("sampler", "toy-inner") == "inner"
    assert resolve("metric", "toy-module") is sys.modules["toy_parts"]


@pytest.mark.parametrize(
    ("kind", "name", "error", "text"),
    [
        ("sampler", "toy-wolk", InputError, "did you mean 'toy-walk'?"),
        ("sampler", "toy/toy-wolk", InputError, "did you mean 'toy-walk'?"),
        ("sampler", "tyo/toy-walk", InputError, "plug-in: got 'tyo'"),
        (
            "sampler",
            "toy-gone",
            PluginError,
            "sampler 'toy-gone' of in-process - cannot be imported from toy_parts:Gone",
        ),
        ("metric", "toy-absent", PluginError, "no module named 'no_such_module_here'"),
        ("tokenizer", "toy-extra", MissingDependency, 'pip install "gencore-toy[more]"'),
        ("samplers", "toy-walk", InputError, "did you mean 'sampler'?"),
    ],
)
def test_resolve_says_what_to_do(toy: Manifest, kind: str, name: str, error: type[GencoreError], text: str) -> None:
    with pytest.raises(error) as caught:
        resolve(kind, name)
    assert text in str(caught.value) and len(str(caught.value).splitlines()) == 1
    if error in (PluginError, MissingDependency):
        assert isinstance(caught.value.__cause__, (ImportError, AttributeError))


def test_an_import_that_raises_names_distribution_and_version(site) -> None:
    site.plugin("sick", '{"sampler": {"walk": "sick_code:Walk"}}', code="raise ValueError('no GPU')")
    code = "from gencore.plugins import resolve\nresolve('sampler', 'walk')"
    done = site.run("-c", code)
    assert "ValueError: no GPU" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "sampler 'walk' of gencore-sick 1.2.3 cannot be imported from sick_code:Walk: ValueError: no GPU" in last


def test_a_name_that_two_plugins_share_must_be_qualified() -> None:
    one = Manifest(name="one", summary="", provides={"sampler": {"shared-walk": "json:loads"}})
    two = Manifest(name="two", summary="", provides={"sampler": {"shared-walk": "json:dumps"}})
    with registered(one), registered(two):
        assert "shared-walk" not in provided("sampler")
        assert {"one/shared-walk", "two/shared-walk"} <= provided("sampler").keys()
        with pytest.raises(PluginError, match="write 'one/shared-walk' or 'two/shared-walk'"):
            resolve("sampler", "shared-walk")
        assert resolve("sampler", "two/shared-walk") is json.dumps
    with registered(one):
        assert resolve("sampler", "shared-walk") is json.loads


def test_a_plugin_cannot_change_what_a_core_name_means(monkeypatch: pytest.MonkeyPatch) -> None:
    from gencore import plugins

    core = record(
        Manifest(name="core", summary="", provides={"sampler": {"shared-walk": "json:loads"}}),
        name="core",
        distribution="gencore",
        version="0",
    )
    monkeypatch.setattr(plugins, "_installed", lambda selection: [core])
    with registered(Manifest(name="other", summary="", provides={"sampler": {"shared-walk": "json:dumps"}})):
        assert resolve("sampler", "shared-walk") is json.loads
        assert resolve("sampler", "core/shared-walk") is json.loads
        assert resolve("sampler", "other/shared-walk") is json.dumps


def test_a_published_modality_that_is_absent_is_answered_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCORE_PLUGINS", "")
    for name, package in PLUGINS.items():
        with pytest.raises(GencoreError, match=f"pip install {package}$"):
            find(name)
        with pytest.raises(InputError, match=f"pip install {package}$"):
            resolve("modality", name)
    with pytest.raises(InputError) as caught:
        resolve("modality", "holograms")
    assert "pip install" not in str(caught.value)


def test_a_broken_plugin_is_named_when_something_of_it_is_asked_for(site) -> None:
    site.install("gencore-video", entry="video = lab_video:manifest", lab_video="raise OSError('no codec')")
    code = """
from gencore.errors import GencoreError
from gencore.plugins import find, resolve
for ask in (lambda: find("video"), lambda: resolve("modality", "video"), lambda: resolve("sampler", "zzzzz")):
    try:
        ask()
    except GencoreError as error:
        print(error)
"""
    first, second, third = site.run("-c", code).stdout.splitlines()
    assert first == second
    assert "plug-in 'video' is broken: gencore-video 1.2.3: lab_video:manifest fails with OSError: no codec" in first
    assert "broken plug-ins may provide it (video); gencore doctor" in third


def test_registered_plugins_leave_with_their_block_whatever_the_order() -> None:
    before = [plugin.name for plugin in discover()]
    both_in, first_out = Event(), Event()
    seen: list[set[str]] = []

    def first() -> None:
        with registered(Manifest(name="first", summary="")):
            both_in.wait(10)
        seen.append({plugin.name for plugin in discover()})
        first_out.set()

    thread = Thread(target=first)
    thread.start()
    with registered(Manifest(name="second", summary="")):
        seen.append({plugin.name for plugin in discover()})
        both_in.set()
        first_out.wait(10)
    thread.join()
    together, afterwards = seen
    assert "second" in together and "second" in afterwards and "first" not in afterwards
    assert [plugin.name for plugin in discover()] == before


def test_registered_refuses_what_would_be_broken_or_ambiguous(toy: Manifest) -> None:
    with pytest.raises(PluginError, match="plug-in 'toy' exists already"), registered(toy):
        pass
    with pytest.raises(PluginError, match="needs gencore API"), registered(Manifest(name="x", summary="", api=(9, 0))):
        pass
    with pytest.raises(ZeroDivisionError), registered(Manifest(name="brief", summary="")):
        raise ZeroDivisionError
    assert "brief" not in [plugin.name for plugin in discover()]
