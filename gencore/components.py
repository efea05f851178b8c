"""Parts of a pipeline written down as JSON and built again, by the names plug-ins give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from gencore import plugins
from gencore.errors import InputError


def describe(kind: str, part: Any) -> dict[str, Any]:
    """``{"type": name, **arguments}`` of a part whose class is provided under `kind`.

    Raises:
        InputError: no plug-in provides its class, so nobody could build it again.
    """
    where = f"{type(part).__module__}:{type(part).__qualname__}"
    for name, plugin in plugins.provided(kind).items():
        if plugin.manifest and plugin.manifest.provides[kind].get(name.rpartition("/")[2]) == where:
            return {"type": name, **part.config()}
    raise InputError(kind, where, "a class some installed plug-in provides", "add it to a manifest's provides")


def build(kind: str, config: Mapping[str, Any]) -> Any:
    """The part `describe` wrote down.

    Raises:
        InputError: an unknown type, or an argument it does not take.
    """
    arguments = dict(config)
    name = arguments.pop("type", "")
    if not isinstance(name, str):
        raise InputError(kind, f"type {name!r}", "the name of one")
    cls = cast(Any, plugins.resolve(kind, name))
    make = getattr(cls, "from_config", None)
    try:
        return make(arguments) if make else cls(**arguments)
    except TypeError as fault:
        raise InputError(kind, f"{config.get('type')} with {', '.join(arguments)}", str(fault)) from fault
