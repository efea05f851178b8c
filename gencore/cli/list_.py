"""``gencore list``: installed plug-ins, read from their manifests; nothing is imported but those."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from contextlib import redirect_stdout

from gencore import __version__
from gencore.cli.parser import Parser
from gencore.cli.table import line, widths
from gencore.installed import Plugin
from gencore.manifest import API_VERSION
from gencore.plugins import discover, plugin_names

_SHOWN = ("preset", "sampler", "importer")


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore list``."""
    parser.description = "Installed plug-ins, their state, and the names of what they provide."
    parser.add_argument("--json", action="store_true", help="one JSON object with everything every manifest declares")


def run(args: Namespace) -> int:
    """Print the list; 0 whatever the state of the plug-ins."""
    # A manifest that prints while it is imported must not get into the result.
    with redirect_stdout(sys.stderr):
        plugins = discover()
    if args.json:
        rows = [as_data(plugin) for plugin in plugins]
        print(json.dumps({"gencore": __version__, "api": list(API_VERSION), "plugins": rows}, indent=2))
        return 0
    head = ("name", "version", "api", "distribution", "default model", "status")
    rows = [head, *(_row(plugin) for plugin in plugins)]
    columns = widths(rows)
    for row in rows:
        print(line(row, columns))
    for plugin in plugins:
        offers = [(kind, plugin_names(plugin, kind)) for kind in _SHOWN]
        if any(names for _, names in offers):
            print(f"\n{plugin.name}")
            for kind, names in offers:
                if names:
                    print(f"  {kind + 's':<10} {' '.join(names)}")
    return 0


def as_data(plugin: Plugin) -> dict[str, object]:
    """`plugin` as plain data for JSON."""
    manifest = plugin.manifest
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "editable": plugin.editable,
        "api": list(plugin.api) if plugin.api else None,
        "status": plugin.status,
        "cause": plugin.cause,
        "summary": manifest.summary if manifest else "",
        "default": manifest.default if manifest else "",
        "provides": {kind: list(names) for kind, names in manifest.provides.items()} if manifest else {},
    }


def version_text(plugin: Plugin) -> str:
    """The version as people read it, saying whether it is an editable install."""
    return f"{plugin.version} (editable)" if plugin.editable else plugin.version


def api_text(plugin: Plugin) -> str:
    """``1.0``, or a dash where the manifest could not be read."""
    return ".".join(map(str, plugin.api)) if plugin.api else "-"


def _row(plugin: Plugin) -> tuple[str, ...]:
    default = "yes" if plugin.manifest and plugin.manifest.default else "-"
    status = f"broken: {plugin.cause}" if plugin.cause else plugin.status
    return plugin.name, version_text(plugin), api_text(plugin), plugin.distribution, default, status
