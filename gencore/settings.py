"""``name:key=value,key=value``: how a component with settings is spelt, on the command line and in Python."""

from __future__ import annotations

from typing import Any

from gencore.errors import InputError


def parse(text: str, field: str) -> dict[str, Any]:
    """The component `text` names, as ``{"type": name, **settings}``.

    >>> parse("dpmpp:variant=2S,order=2", "sampler")
    {'type': 'dpmpp', 'variant': '2S', 'order': 2}

    Raises:
        InputError: a setting without a value.
    """
    name, _, rest = text.partition(":")
    settings: dict[str, Any] = {"type": name}
    for item in filter(None, rest.split(",")):
        key, sign, value = item.partition("=")
        if not sign or not key:
            raise InputError(field, f"'{text}'", "name, or name:key=value,key=value")
        settings[key.strip()] = _value(value.strip())
    return settings


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    if "/" in text:
        # A pair such as an interval: 0.1/0.8.
        return [_value(part) for part in text.split("/")]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def spell(settings: dict[str, Any]) -> str:
    """The text `parse` reads back.

    >>> spell({"type": "cfg", "scale": 2.0, "channels": None, "interval": [0.0, 0.9]})
    'cfg:scale=2.0,channels=none,interval=0.0/0.9'
    """

    def word(value: Any) -> str:
        if isinstance(value, list | tuple):
            return "/".join(map(word, value))
        return "none" if value is None else str(value)

    rest = ",".join(f"{k}={word(v)}" for k, v in settings.items() if k != "type")
    return f"{settings['type']}:{rest}" if rest else settings["type"]
