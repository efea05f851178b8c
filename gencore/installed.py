"""Reading the manifests of installed distributions: one record each, whatever is wrong with it.

Only the modules that entry points of group ``gencore.plugins`` name are imported.  A distribution whose metadata or
manifest is at fault becomes a record with ``status="broken"`` and its cause; the others never notice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gencore.errors import nearest, unknown
from gencore.first_party import PLUGINS
from gencore.manifest import API_VERSION, KINDS, Manifest, Option

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

GROUP = "gencore.plugins"
CORE = "core"
_TARGET = re.compile(r"[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?")
_NAME = re.compile(r"[^\s/:,=]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One plug-in as found.

    Args:
        name: the manifest's name, or the entry point's where the manifest could not be read.
        api: what the manifest asks for; None if unread.
        status: ``"ok"`` or ``"broken"``.
        cause: one line naming distribution, version and reason when broken, else empty.
        manifest: None when broken.
    """

    name: str
    distribution: str
    version: str
    api: tuple[int, int] | None = None
    status: str = "ok"
    cause: str = ""
    manifest: Manifest | None = None
    editable: bool = False


def installed(selection: str | None) -> list[Plugin]:
    """Every installed plug-in, the core first, the rest by name.

    Args:
        selection: comma-separated names to restrict to; None takes all, ``""`` the core alone.

    Raises:
        InputError: `selection` names a plug-in that is not installed.
    """
    found = [_core()]
    rows = sorted(_rows(), key=_precedence)
    if selection is not None:
        wanted = {word.strip() for word in selection.split(",") if word.strip()} - {CORE}
        names = {row.name for row, _ in rows}
        for word in sorted(wanted - names):
            raise unknown("GENCORE_PLUGINS", word, names)
        rows = [(row, entry) for row, entry in rows if row.name in wanted]
    for row, entry in rows:
        owner = next((p for p in found if p.name == row.name), None)
        if entry is None:
            found.append(row)
        elif owner:
            found.append(_broken(row, f"the name '{row.name}' is taken by {owner.distribution} {owner.version}"))
        else:
            found.append(_read(row, entry))
    return found


def record(manifest: object, *, name: str, distribution: str, version: str, editable: bool = False) -> Plugin:
    """The plug-in that `manifest` declares; broken, with the cause, where the declaration does not hold."""
    row = Plugin(name=name, distribution=distribution, version=version, editable=editable)
    if not isinstance(manifest, Manifest):
        return _broken(row, f"its entry point gives a {type(manifest).__name__}, not a gencore.Manifest")
    if reason := _fault(manifest, row):
        return _broken(row, reason, manifest.api if _is_version(manifest.api) else None)
    return replace(row, api=manifest.api, manifest=manifest)


def summary_line(error: BaseException) -> str:
    """`error` as one line: its type and the first line of its text."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


def _core() -> Plugin:
    from importlib import metadata

    from gencore import __version__
    from gencore.builtin import manifest

    try:
        editable = _row(CORE, metadata.distribution("gencore")).editable
    except metadata.PackageNotFoundError:
        editable = False
    return record(manifest, name=CORE, distribution="gencore", version=__version__, editable=editable)


def _fault(manifest: Manifest, row: Plugin) -> str:
    """Why `manifest` cannot be used, or the empty string."""
    if not _is_version(manifest.api):
        return f"api is {manifest.api!r}, not (major, minor)"
    theirs, ours = (".".join(map(str, api)) for api in (manifest.api, API_VERSION))
    if manifest.api > API_VERSION:
        return f"needs gencore API {theirs}, this is {ours}; pip install --upgrade gencore"
    if manifest.api[0] < API_VERSION[0]:
        return f"made for gencore API {theirs}, this is {ours}; pip install --upgrade {row.distribution}"
    if manifest.name != row.name:
        return f"entry point '{row.name}' gives a manifest named '{manifest.name}'"
    for kind, names in manifest.provides.items():
        if kind not in KINDS:
            return f"provides the unknown kind '{kind}'; {nearest(kind, KINDS) or 'known: ' + ', '.join(KINDS)}"
        for name, target in names.items():
            if not _NAME.fullmatch(name):
                return f"{kind} name {name!r} holds a space or one of / : , ="
            if not (isinstance(target, str) and _TARGET.fullmatch(target)):
                return f"{kind} '{name}' is {target!r}, not 'module:Attribute'"
    for check, reason in manifest.expected_failures.items():
        if not (isinstance(reason, str) and reason.strip()):
            return f"expected failure '{check}' gives no reason"
    for option in manifest.options:
        if not isinstance(option, Option):
            return f"options hold a {type(option).__name__}, not a gencore.Option"
    return ""


def _is_version(api: object) -> bool:
    return isinstance(api, tuple) and len(api) == 2 and all(type(part) is int for part in api)


def _broken(row: Plugin, reason: str, api: tuple[int, int] | None = None) -> Plugin:
    return replace(row, api=api, status="broken", cause=f"{row.distribution} {row.version}: {reason}")


def _read(row: Plugin, entry: EntryPoint) -> Plugin:
    try:
        manifest = entry.load()
        return record(
            manifest, name=row.name, distribution=row.distribution, version=row.version, editable=row.editable
        )
    except (Exception, SystemExit) as error:
        return _broken(row, f"{entry.value} fails with {summary_line(error)}")


def _precedence(pair: tuple[Plugin, EntryPoint | None]) -> tuple[str, bool, str]:
    row, _ = pair
    return row.name, PLUGINS.get(row.name) != row.distribution, row.distribution


def _rows() -> Iterator[tuple[Plugin, EntryPoint | None]]:
    """Each entry point with what its distribution says of itself; no entry point where that cannot be read."""
    from importlib import metadata

    try:
        entries: Iterable[EntryPoint] = metadata.entry_points(group=GROUP)
    except Exception:
        # One malformed entry_points.txt anywhere makes the joint scan raise; then each is read apart.
        yield from _rows_one_by_one()
        return
    for entry in entries:
        yield _row(entry.name, entry.dist), entry


def _rows_one_by_one() -> Iterator[tuple[Plugin, EntryPoint | None]]:
    from importlib import metadata

    seen: set[str] = set()
    for dist in metadata.distributions():
        row = _row("?", dist)
        if row.distribution in seen:
            continue
        seen.add(row.distribution)
        try:
            for entry in dist.entry_points.select(group=GROUP):
                yield _row(entry.name, dist), entry
        except Exception as error:
            if GROUP in (dist.read_text("entry_points.txt") or ""):
                row = _row(row.distribution, dist)
                yield _broken(row, f"entry_points.txt cannot be read: {summary_line(error)}"), None


def _row(name: str, dist: Distribution | None) -> Plugin:
    try:
        if dist is None:
            return Plugin(name=name, distribution="?", version="?")
        origin = json.loads(dist.read_text("direct_url.json") or "{}")
        editable = bool(origin.get("dir_info", {}).get("editable", False))
        return Plugin(name=name, distribution=dist.metadata["Name"], version=dist.version, editable=editable)
    except Exception:
        # Metadata damaged on disk: the row stays, so that a person sees there is something to reinstall.
        return Plugin(name=name, distribution="?", version="?")
