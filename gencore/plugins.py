"""Finding plug-ins and loading what they provide, by name only.

`discover` reads manifests and imports no implementation; `resolve` imports the one that was asked for.
``GENCORE_PLUGINS=a,b`` restricts what is found (the core is always there, the empty string leaves it alone), so that a
fault can be traced to one plug-in.

An implementation is called by its plain name.  A name of the core always means the core's; a name that two other
plug-ins share must be written ``plugin/name``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, reduce
from importlib import import_module
from threading import Lock
from typing import Any

from gencore.errors import GencoreError, InputError, MissingDependency, PluginError, nearest, unknown
from gencore.first_party import PLUGINS
from gencore.installed import CORE, Plugin, installed, record, summary_line
from gencore.manifest import KINDS, Manifest

_installed = cache(installed)
_in_process: list[Plugin] = []
_lock = Lock()


def discover() -> list[Plugin]:
    """Every plug-in: the core first, then installed ones by name, then those of `registered`.

    Raises:
        InputError: ``GENCORE_PLUGINS`` names one that is not installed.
    """
    return [*_installed(os.environ.get("GENCORE_PLUGINS")), *_in_process]


def find(name: str) -> Plugin:
    """The working plug-in called `name`.

    Raises:
        PluginError: it is broken, or is published but not installed here; the text says what to do.
        InputError: nothing of that name is known.
    """
    plugins = discover()
    for plugin in plugins:
        if plugin.name == name:
            if plugin.manifest is None:
                raise PluginError(f"plug-in '{name}' is broken: {plugin.cause}")
            return plugin
    if name in PLUGINS:
        raise PluginError(f"plug-in '{name}' is not installed; pip install {PLUGINS[name]}")
    raise unknown("plug-in", name, [plugin.name for plugin in plugins])


def provided(kind: str) -> dict[str, Plugin]:
    """What can be asked for under `kind`: ``{name: plug-in}``, with ``plugin/name`` where the plain name is not enough.

    Raises:
        InputError: `kind` is not one of `gencore.manifest.KINDS`.

    >>> toy = Manifest(name="toy", summary="a metric", provides={"metric": {"toy-error": "toy.metrics:error"}})
    >>> with registered(toy): provided("metric")["toy-error"].name
    'toy'
    """
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    owners: dict[str, list[Plugin]] = {}
    for plugin in discover():
        for name in plugin.manifest.provides.get(kind, ()) if plugin.manifest else ():
            owners.setdefault(name, []).append(plugin)
    offers: dict[str, Plugin] = {}
    for name, plugins in owners.items():
        if len(plugins) == 1 or plugins[0].name == CORE:
            offers[name] = plugins.pop(0)
        offers |= {f"{plugin.name}/{name}": plugin for plugin in plugins}
    return offers


def resolve(kind: str, name: str) -> Any:
    """Import and return the implementation `name` of `kind`.

    Args:
        kind: one of `gencore.manifest.KINDS`.
        name: a plain name, or ``plugin/name``.

    Raises:
        InputError: no plug-in provides it; the nearest name is suggested.
        PluginError: it is provided twice, its plug-in is absent or broken, or importing it fails.
        MissingDependency: it needs a package that one of its distribution's extras installs.
    """
    owner, _, plain = name.rpartition("/")
    offers = provided(kind)
    plugin = offers.get(name)
    if plugin is None and owner:
        plugin = find(owner)
        if plain not in plugin_names(plugin, kind):
            raise unknown(kind, plain, plugin_names(plugin, kind))
    if plugin is None:
        raise _absent(kind, name, offers)
    return _load(plugin, kind, plain)


def plugin_names(plugin: Plugin, kind: str) -> list[str]:
    """The names `plugin` provides under `kind`, in its manifest's order."""
    return list(plugin.manifest.provides.get(kind, ())) if plugin.manifest else []


@contextmanager
def registered(manifest: Manifest) -> Iterator[Plugin]:
    """Make `manifest` a plug-in of this process for the length of a ``with`` block.

    Blocks may overlap across threads: each removes its own plug-in only.

    Raises:
        PluginError: the manifest is faulty, or its name is taken.
    """
    plugin = record(manifest, name=manifest.name, distribution="in-process", version="-")
    if plugin.manifest is None:
        raise PluginError(plugin.cause)
    with _lock:
        if any(other.name == plugin.name for other in discover()):
            raise PluginError(f"plug-in '{plugin.name}' exists already")
        _in_process.append(plugin)
    try:
        yield plugin
    finally:
        with _lock:
            _in_process[:] = [other for other in _in_process if other is not plugin]


def _absent(kind: str, name: str, offers: dict[str, Plugin]) -> GencoreError:
    """The error for a `name` that nothing provides, or that two plug-ins do."""
    rivals = {full: plugin for full, plugin in offers.items() if full.endswith(f"/{name}")}
    if rivals:
        both = " and ".join(f"{plugin.distribution} {plugin.version}" for plugin in rivals.values())
        return PluginError(f"{kind} '{name}' is provided by {both}; write {' or '.join(map(repr, rivals))}")
    if kind == "modality":
        broken = next((p for p in discover() if p.name == name and p.status == "broken"), None)
        if broken:
            return PluginError(f"plug-in '{name}' is broken: {broken.cause}")
        if name in PLUGINS:
            accepted = ", ".join(sorted(offers)) or "nothing is installed"
            return InputError(kind, f"'{name}', which is not installed", accepted, f"pip install {PLUGINS[name]}")
    error = unknown(kind, name, offers)
    broken = [plugin.name for plugin in discover() if plugin.status == "broken"]
    if broken and not nearest(name, offers):
        hint = f"broken plug-ins may provide it ({', '.join(broken)}); gencore doctor"
        return InputError(kind, error.given, error.accepted, hint)
    return error


def _load(plugin: Plugin, kind: str, name: str) -> Any:
    assert plugin.manifest is not None
    target = plugin.manifest.provides[kind][name]
    module, _, path = target.partition(":")
    what = f"{kind} '{name}' of {plugin.distribution} {plugin.version}"
    try:
        return reduce(getattr, path.split(".") if path else [], import_module(module))
    except GencoreError:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if requirement := plugin.manifest.extras.get(package):
            raise MissingDependency(package, what, requirement) from error
        raise PluginError(f"{what} cannot be imported: no module named '{error.name}'") from error
    except (Exception, SystemExit) as error:
        raise PluginError(f"{what} cannot be imported from {target}: {summary_line(error)}") from error


def versions(modality: str) -> dict[str, str]:
    """What a result of `modality` depends on: ``{distribution: version}``."""
    from importlib.metadata import PackageNotFoundError, version

    owner = provided("modality").get(modality)
    names = ["gencore", "torch", "numpy", *([owner.distribution] if owner else [])]
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
